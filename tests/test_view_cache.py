"""What a run's folder keeps of its pictures: made anew when damaged, of another key or of an older version."""

import numpy as np
import pytest

from parmesan_cagem import view_cache


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
        lambda raw: b"no zip",
    ],
    ids=["empty", "cut", "a bit", "other"],
)
def test_a_damaged_file_is_made_anew(tmp_path, harm):
    def big():
        return {"a": np.arange(5000.0)}

    view_cache.cached(tmp_path, "view", {"k": 1}, big)
    path = tmp_path / view_cache.NAME
    sound = path.read_bytes()
    path.write_bytes(harm(sound))
    calls = []
    arrays = view_cache.cached(tmp_path, "view", {"k": 1}, lambda: calls.append(1) or big())
    assert calls == [1]
    assert arrays["a"].tolist() == big()["a"].tolist()
    assert path.read_bytes() == sound


def test_another_key_replaces_a_view_and_leaves_the_others(tmp_path):
    make = iter(range(10))

    def cached(name, **key):
        return int(view_cache.cached(tmp_path, name, key, lambda: {"n": np.array(next(make))})["n"])

    assert [cached("one", k=1), cached("two", k=1), cached("one", k=1)] == [0, 1, 0]
    assert [cached("one", k=2), cached("one", k=1), cached("two", k=1)] == [2, 3, 1]


def test_a_folder_that_cannot_be_written_still_gives_arrays(tmp_path):
    arrays = view_cache.cached(tmp_path / "absent", "view", {}, lambda: {"n": np.array(1)})
    assert arrays["n"] == 1


def test_a_new_version_makes_views_anew(tmp_path, monkeypatch):
    view_cache.cached(tmp_path, "view", {}, lambda: {"n": np.array(1)})
    monkeypatch.setattr(view_cache, "VERSION", view_cache.VERSION + 1)
    assert view_cache.cached(tmp_path, "view", {}, lambda: {"n": np.array(2)})["n"] == 2
