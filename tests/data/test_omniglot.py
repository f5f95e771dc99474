"""OMNIGLOT's arrays, from the small release and the original one, and data that nobody can verify."""

import os
from pathlib import Path

import numpy as np
import omniglot_files
import pytest
from omniglot_files import ZIPS, Files, drawing, expected_arrays, mat_arrays, png, write_mat, write_zips

from parmesan_cagem.data import Dataset, load, omniglot, omniglot_zip
from parmesan_cagem.errors import UserError

# Over all four arrays of the original release: the record's dataset.sha256.
SHA256 = "d260ef0bc4d72b83a8078d5ce8997cace092deed558062d04cf8e8fac0af9e3f"
REAL = next(
    (
        folder
        for folder in (Path(os.environ.get("CAGEM_DATA") or "/nowhere"), Path(__file__).parents[2] / "../shared/data")
        if (folder / "omniglot" / "images_background.zip").exists()
    ),
    None,
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    omniglot_files.alone(monkeypatch, tmp_path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return omniglot_files.known_release(monkeypatch)


# Arrays


def test_the_arrays_of_the_small_release(files: Files, tmp_path: Path) -> None:
    data = load("omniglot", write_zips(tmp_path / "d", files))
    found = [data.train_images, data.train_labels, data.test_images, data.test_labels]
    for array, expected in zip(found, expected_arrays(), strict=True):
        assert np.array_equal(array, expected)
        assert not array.flags.writeable
    assert (data.name, data.classes, data.verified) == ("omniglot", 50, True)
    assert [array.dtype for array in found] == [np.float32, np.int64] * 2
    assert [len(array) for array in found] == [60, 60, 20, 20]


def test_the_digest_is_of_the_arrays_in_any_order_of_memory() -> None:
    arrays = expected_arrays()
    other = [np.asfortranarray(a).astype(a.dtype.newbyteorder(">")) for a in arrays]
    assert omniglot._digest(other) == omniglot._digest(arrays)
    for i in range(4):
        changed = [array.copy() for array in arrays]
        changed[i].flat[7] += 1
        assert omniglot._digest(changed) != omniglot._digest(arrays)


@pytest.mark.skipif(REAL is None, reason="needs the original release in $CAGEM_DATA")
def test_the_original_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omniglot, "REBUILT_SHA256", SHA256)
    data = load("omniglot", REAL)
    assert (data.sha256, data.source) == (SHA256, f"rebuilt from {ZIPS} in --data-dir")
    assert (data.train_images.shape, data.test_images.shape) == ((24345, 784), (8115, 784))
    both = np.concatenate([data.train_images, data.test_images])
    assert (both.min(), both.max()) == (0, 1)
    assert both.mean(dtype=np.float64) == pytest.approx(0.082758, abs=1e-6)
    characters = [count for part in omniglot_zip.ALPHABETS.values() for count in part.values()]
    assert np.bincount(data.train_labels).tolist() == [15 * count for count in characters]
    assert np.bincount(data.test_labels).tolist() == [5 * count for count in characters]
    korean = data.train_images[np.flatnonzero(data.train_labels == 20)[8 * 15]].reshape(28, 28)  # its 9th letter
    assert korean[14:].sum() > korean[:14].sum()  # a T upside down
    assert korean.sum(axis=1).max() > 1.5 * korean.sum(axis=0).max()  # a long horizontal stroke

    monkeypatch.setattr(omniglot_zip, "read_ink", None)  # the second time, only the cache can know
    assert load("omniglot", REAL).sha256 == SHA256
    assert load("omniglot", None).sha256 == SHA256


# Unverified data


def test_an_unknown_mat_file_needs_leave_and_is_marked(files: Files, tmp_path: Path) -> None:
    write_mat(write_zips(tmp_path / "d", files) / "chardata.mat", mat_arrays())
    with pytest.raises(UserError, match=r"wrong checksum: MD5 .* --unverified-data"):
        load("omniglot", tmp_path / "d")
    data = load("omniglot", tmp_path / "d", unverified=True)
    assert (data.verified, data.source) == (False, "chardata.mat (unverified, not Burda's) in --data-dir")
    assert len(data.train_images) == 60
    with pytest.raises(ValueError, match="read-only"):
        data.train_images[0] = 0


def test_leave_does_not_make_zips_unverified_nor_lets_bad_ones_in(files: Files, tmp_path: Path) -> None:
    assert load("omniglot", write_zips(tmp_path / "d", files), unverified=True).verified
    name, path = "images_background", "images_background/Alpha/character01/1001_01.png"
    changed = {**files, name: {**files[name], path: png(~drawing(0, 1, 1))}}
    with pytest.raises(UserError, match="wrong checksum: the images"):
        load("omniglot", write_zips(tmp_path / "e", changed), unverified=True)


def test_mnist_has_no_unverified_data() -> None:
    with pytest.raises(UserError, match=r"^--unverified-data: the files of mnist are always verified; leave it out"):
        load("mnist", None, unverified=True)


def test_a_dataset_is_verified_unless_it_says_otherwise() -> None:
    nothing = np.zeros((0, 784), np.uint8), np.zeros(0, np.int64)
    assert Dataset("mnist", 10, *nothing, *nothing, source="toy", sha256="0" * 64).verified
