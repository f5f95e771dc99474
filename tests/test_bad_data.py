"""Bad data files: exit status 2 and one line that names the file and the fix."""

import gzip

import pytest
from refusals import REAL_MNIST, Begun, flipped, refuser, says

from parmesan_cagem import pipeline
from parmesan_cagem.data import mnist


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    return refuser(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Four sound files, quickly packed."""
    folder = tmp_path_factory.mktemp("data")
    for name, content in mnist.read_wheel().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return folder


@pytest.fixture
def copied_data(data_folder, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in data_folder.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_sound_data_are_not_refused(copied_data, refused):
    with pytest.raises(Begun):
        refused("--data-dir", copied_data)


def put(path, content):
    path.unlink()
    path.write_bytes(content)


TRAIN, LABELS, TEST = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"


DAMAGE = {
    "missing": (LABELS, lambda path: path.unlink(), ["lacks " + LABELS]),
    "truncated": (LABELS, lambda path: put(path, path.read_bytes()[:1000]), ["truncated"]),
    "empty": (LABELS, lambda path: put(path, b""), ["truncated", "empty"]),
    "HTML": (TRAIN, lambda path: put(path, b"<!DOCTYPE html><title>404</title>"), ["HTML"]),
    "corrupt": (LABELS, lambda path: put(path, flipped(path.read_bytes())), ["damaged"]),
    "not packed": (LABELS, lambda path: put(path, gzip.decompress(path.read_bytes())), ["IDX", "gzip it"]),
    "another content": (
        LABELS,
        lambda path: put(path, gzip.compress(flipped(gzip.decompress(path.read_bytes())))),
        ["wrong checksum"],
    ),
    "another file": (TEST, lambda path: put(path, path.with_name(LABELS).read_bytes()), ["wrong length"]),
    "a folder": (LABELS, lambda path: (path.unlink(), path.mkdir()), ["not a regular file"]),
}


@pytest.mark.parametrize(
    ("how", "case"), [*(("--data-dir", case) for case in DAMAGE), ("CAGEM_DATA", "missing"), ("CAGEM_DATA", "corrupt")]
)
def test_bad_data_are_refused_in_one_line(how, case, copied_data, refused, monkeypatch, tmp_path):
    name, damage, words = DAMAGE[case]
    damage(copied_data / name)
    if how == "--data-dir":
        line = refused("--data-dir", copied_data)
    else:
        monkeypatch.setattr(pipeline, "load", REAL_MNIST)
        monkeypatch.setenv("CAGEM_DATA", str(copied_data))
        line = refused()
    assert says(line, [name, str(copied_data), "fix: ", *words])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["absent", "a file"])
def test_a_data_folder_that_is_none_is_refused(kind, refused, tmp_path):
    path = tmp_path / "nowhere"
    if kind == "a file":
        path.write_text("")
    assert says(refused("--data-dir", path), [f"--data-dir {path}:", "not a folder", "train-images-idx3-ubyte.gz"])
