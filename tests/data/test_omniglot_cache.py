"""The cache of OMNIGLOT's rebuilt arrays: what it saves, what it never vouches for, and how it fails."""

import errno
from pathlib import Path

import numpy as np
import omniglot_files
import pytest
from omniglot_files import (
    ZIPS,
    Files,
    cache_of,
    drawing,
    png,
    warnings,
    write_zips,
)

from parmesan_cagem import files as package_files
from parmesan_cagem.data import load, omniglot, omniglot_zip
from parmesan_cagem.errors import UserError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    omniglot_files.alone(monkeypatch, tmp_path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return omniglot_files.known_release(monkeypatch)


def count_rebuilds(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    original = omniglot_zip.read_ink
    monkeypatch.setattr(omniglot_zip, "read_ink", lambda *given: (calls.append(None), original(*given))[1])
    return calls


def test_arrays_are_rebuilt_once(files: Files, tmp_path: Path, monkeypatch) -> None:
    rebuilds = count_rebuilds(monkeypatch)
    folder = write_zips(tmp_path / "d", files)
    first, second = (load("omniglot", folder) for _ in range(2))
    assert len(rebuilds) == 1
    assert (first.sha256, first.source) == (second.sha256, second.source)
    assert np.array_equal(first.test_images, second.test_images)
    assert load("omniglot", None).source == f"rebuilt from {ZIPS}, in the user cache"  # without any zip
    assert len(rebuilds) == 1


@pytest.mark.parametrize("how", ["changed", "zipped anew"])
def test_the_cache_does_not_vouch_for_other_zips(how: str, files: Files, tmp_path: Path, monkeypatch) -> None:
    rebuilds = count_rebuilds(monkeypatch)
    load("omniglot", write_zips(tmp_path / "d", files))
    name, path = "images_background", "images_background/Alpha/character01/1001_01.png"
    if how == "changed":
        write_zips(tmp_path / "d", {**files, name: {**files[name], path: png(~drawing(0, 1, 1))}})
        with pytest.raises(UserError, match="wrong checksum: the images"):
            load("omniglot", tmp_path / "d")
    else:
        write_zips(tmp_path / "d", files, omniglot_files.zipfile.ZIP_DEFLATED)
        load("omniglot", tmp_path / "d")
    assert len(rebuilds) == 2


@pytest.mark.parametrize("damage", ["empty", "half", "a byte", "text", "other arrays"])
def test_a_damaged_cache_is_reported_and_made_anew(
    damage: str, files: Files, tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_zips(tmp_path / "d", files)
    expected = load("omniglot", folder).sha256
    (path,) = cache_of(tmp_path).iterdir()
    content = path.read_bytes()
    half = len(content) // 2
    damaged = {
        "empty": b"",
        "half": content[:half],
        "a byte": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
        "text": b"words",
    }
    if damage == "other arrays":  # whole, but not what belongs there
        with np.load(path) as stored:
            arrays = dict(stored)
        arrays["test_labels"] = arrays["test_labels"][::-1]
        with path.open("wb") as stream:
            np.savez(stream, **arrays)
    else:
        path.write_bytes(damaged[damage])
    rebuilds = count_rebuilds(monkeypatch)
    assert load("omniglot", folder).sha256 == expected
    (warning,) = warnings(caplog)
    assert f"{path}: damaged (" in warning
    assert "\n" not in warning
    assert (len(rebuilds), load("omniglot", folder).sha256, len(rebuilds)) == (1, expected, 1)


def test_no_pickle_is_loaded_from_the_cache(files: Files, tmp_path: Path, caplog) -> None:
    folder = write_zips(tmp_path / "d", files)
    load("omniglot", folder)
    (path,) = cache_of(tmp_path).iterdir()
    with path.open("wb") as stream:
        np.savez(stream, made_from=np.array([print], object))
    load("omniglot", folder)
    assert "holds objects" in warnings(caplog)[0]


@pytest.mark.parametrize("where", ["mkdir", "write"])
def test_a_cache_that_cannot_be_written_costs_only_time(
    where: str, files: Files, tmp_path: Path, monkeypatch, caplog
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = write_zips(tmp_path / "d", files)
    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "mkdir", full) if where == "mkdir" else (package_files, "write_and_sync", full)))
        assert load("omniglot", folder).sha256 == omniglot.REBUILT_SHA256
    (warning,) = warnings(caplog)
    assert "No space left on device" in warning
    assert "rebuilt at every start" in warning


def test_a_damaged_download_in_the_cache_is_reported_and_fetched_again(
    files: Files, tmp_path: Path, monkeypatch, caplog
) -> None:
    cache = write_zips(cache_of(tmp_path), files)
    (cache / "images_background.zip").write_bytes(b"")
    monkeypatch.setattr(omniglot, "fetch", lambda wanted, mirrors, to, fix: write_zips(to, files))
    assert load("omniglot", None).source.endswith("downloaded")
    assert "images_background.zip: truncated" in warnings(caplog)[0]


def test_a_damaged_mat_file_in_the_cache_is_reported_and_the_next_source_taken(
    files: Files, tmp_path: Path, caplog
) -> None:
    cache = write_zips(cache_of(tmp_path), files)
    (cache / "chardata.mat").write_bytes(b"words")
    assert load("omniglot", None).source == f"rebuilt from {ZIPS} in the user cache"
    assert load("omniglot", None).source == f"rebuilt from {ZIPS}, in the user cache"
    assert all("chardata.mat: not a MAT file" in warning for warning in warnings(caplog))
