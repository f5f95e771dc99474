"""``chardata.mat``: both orders, and one line for everything that is not in order."""

import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omniglot_files import mat_arrays, write_mat

from parmesan_cagem.data import omniglot_mat
from parmesan_cagem.data.omniglot_mat import read
from parmesan_cagem.errors import UserError

Arrays = dict[str, np.ndarray]


def refused(path: Path, unverified: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        read(path, unverified)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "fix" in message
    return message


@pytest.mark.parametrize("compress", [True, False])
def test_images_are_turned_upright_and_targets_become_labels(compress: bool, tmp_path: Path) -> None:
    arrays = mat_arrays()
    arrays["data"][:] = 0
    arrays["data"][5 * 28 + 2, 7] = 0.25  # column 5, row 2 of image 7: pixels run down the columns
    (images, labels, test_images, test_labels), verified = read(write_mat(tmp_path / "a.mat", arrays, compress), True)
    assert not verified
    assert (images.shape, images.dtype, labels.dtype) == ((60, 784), np.float32, np.int64)
    assert np.argwhere(images.reshape(60, 28, 28)).tolist() == [[7, 2, 5]]
    assert images.max() == 0.25
    for name, found in (("target", labels), ("testtarget", test_labels)):
        assert [np.flatnonzero(column).tolist() for column in arrays[name].T] == [[label] for label in found]
    for i, column in enumerate(arrays["testdata"].T):
        assert np.array_equal(test_images[i].reshape(28, 28), column.reshape(28, 28, order="F").astype(np.float32))


@pytest.mark.parametrize("turned", [("data", "testdata"), ("target", "testtarget"), ("targetchar", "testtargetchar")])
def test_both_orders_and_all_number_types_are_one(turned: tuple[str, str], tmp_path: Path) -> None:
    arrays = mat_arrays()
    arrays["data"], arrays["testdata"] = arrays["data"].round(), arrays["testdata"].round()
    expected, _ = read(write_mat(tmp_path / "a.mat", arrays), True)
    others: Arrays = {key: value.T if key in turned else value for key, value in arrays.items()}
    others["data"] = others["data"].astype(np.uint8)
    others["testdata"] = others["testdata"].astype(np.float32)
    others["target"] = others["target"].astype(bool)
    found, _ = read(write_mat(tmp_path / "b.mat", others), True)
    for one, other in zip(expected, found, strict=True):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())


def test_as_many_images_as_pixels_stand_in_columns(tmp_path: Path) -> None:
    arrays = mat_arrays(train=784)
    (images, *_), _ = read(write_mat(tmp_path / "a.mat", arrays), True)
    assert np.array_equal(images[3].reshape(28, 28), arrays["data"][:, 3].reshape(28, 28).T.astype(np.float32))


def test_as_many_images_as_classes_stand_in_columns(tmp_path: Path) -> None:
    arrays = mat_arrays(train=50)
    (_, labels, *_), _ = read(write_mat(tmp_path / "a.mat", arrays), True)
    assert labels.tolist() == arrays["target"].argmax(axis=0).tolist()


@pytest.mark.parametrize("known_by", ["MD5", "git blob"])
def test_burdas_file_is_known_by_either_digest(known_by: str, tmp_path: Path, monkeypatch) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays())
    tools = {"MD5": ["md5sum", str(path)], "git blob": ["git", "hash-object", str(path)]}  # not our arithmetic
    if not shutil.which(tools[known_by][0]):
        pytest.skip(f"needs {tools[known_by][0]}")
    digest = subprocess.run(tools[known_by], capture_output=True, text=True, check=True).stdout.split()[0]
    monkeypatch.setattr(omniglot_mat, "MD5" if known_by == "MD5" else "GIT_BLOB", digest)
    monkeypatch.setattr(omniglot_mat, "read_matrices", None)  # our own reader cannot refuse the file itself
    assert [read(path, unverified)[1] for unverified in (False, True)] == [True, True]


def test_another_file_needs_leave(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays())
    message = refused(path, unverified=False)
    assert "wrong checksum: MD5 " in message
    assert omniglot_mat.MD5 in message
    assert "--unverified-data" in message


def test_the_digests_are_those_of_the_sources() -> None:
    assert omniglot_mat.MD5 == "21ecaf34373511aa7691cf2e0802aa3d"
    assert omniglot_mat.GIT_BLOB == "016a3536ffe5e1d38e42563a18d7a78bfaf643ec"


def at(key: str, index: tuple, value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[key][index] = value

    return change


def replace(key: str, make: Callable[[np.ndarray], object]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[key] = make(arrays[key])  # type: ignore[assignment]

    return change


CHANGES: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "a value above 1": (at("data", (3, 4), 1.01), "data spans .* 1.01; must be probabilities"),
    "bytes": (replace("data", lambda a: np.round(a * 255)), "data spans 0 .. 255; must be probabilities"),
    "a value below 0": (at("testdata", (3, 4), -0.1), "testdata spans -0.1 .. "),
    "NaN": (at("data", (3, 4), np.nan), "data spans nan .. nan"),
    "inf": (at("data", (3, 4), np.inf), "data spans .* inf"),
    "27x28": (replace("data", lambda a: a[:756]), r"data has shape \(756, 60\); must be 784 x images or images x 784"),
    "no images": (replace("testdata", lambda a: a[:, :0]), r"testdata has shape \(784, 0\)"),
    "an image less": (replace("data", lambda a: a[:, 1:]), r": target has shape \(50, 60\); must be 50 x 59 or 59"),
    "a class less": (replace("target", lambda a: a[:49]), r"target has shape \(49, 60\); must be 50 x 60 or 60 x 50"),
    "numbers as targets": (replace("target", lambda a: a.argmax(0)), r"target has shape \(1, 60\)"),
    "two ones": (replace("target", lambda a: np.minimum(a + np.roll(a, 1, 0), 1)), "target is not one-hot"),
    "no one": (at("testtarget", (slice(None), 2), 0), "testtarget is not one-hot"),
    "halves": (replace("target", lambda a: a / 2 + np.roll(a, 1, 0) / 2), "target is not one-hot"),
    "a two": (replace("target", lambda a: a * 2), "target is not one-hot"),
    "NaN as target": (at("target", (0, 0), np.nan), "target is not one-hot"),
    "character 0": (at("targetchar", (0, 3), 0), ": targetchar must hold whole numbers from 1"),
    "half a character": (at("testtargetchar", (0, 3), 1.5), "testtargetchar must hold whole numbers from 1"),
    "an infinite character": (at("targetchar", (0, 3), np.inf), "targetchar must hold whole numbers"),
    "no character": (at("targetchar", (0, 3), np.nan), "targetchar must hold whole numbers"),
    "characters of others": (replace("targetchar", lambda a: a[:, 1:]), r"targetchar has shape \(1, 59\); must be 1 x"),
    "text": (replace("data", lambda a: "some words"), "data is no matrix of real numbers"),
    "a cell array": (replace("data", lambda a: np.array([[1], "x"], object)), "data is no matrix of real numbers"),
    "a struct": (replace("data", lambda a: {"a": 1}), "data is no matrix of real numbers"),
    "complex": (replace("data", lambda a: a + 1j), "data is no matrix of real numbers"),
    "three axes": (replace("data", lambda a: a.reshape(28, 28, -1)), "data is no matrix of real numbers"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_wrong_content_is_refused(case: str, tmp_path: Path) -> None:
    change, words = CHANGES[case]
    arrays = mat_arrays()
    change(arrays)
    path = write_mat(tmp_path / "a.mat", arrays)
    with pytest.raises(UserError, match=words):
        read(path, True)
    refused(path)


@pytest.mark.parametrize("key", list(mat_arrays(1, 1)))
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    arrays = mat_arrays()
    del arrays[key]
    assert f"lacks {key}; chardata.mat has the keys data, " in refused(write_mat(tmp_path / "a.mat", arrays))


def test_other_keys_are_passed_over(tmp_path: Path) -> None:
    arrays = {"more": "words", **mat_arrays(), "cells": np.array([[1], "x"], object)}
    read(write_mat(tmp_path / "a.mat", arrays), True)


# Files that are none

KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda c: b"", "not a MAT file of version 5"),
    "HTML": (lambda c: b"<html>Sign in", "looks like an HTML page"),
    "HDF5": (lambda c: b"\x89HDF\r\n\x1a\n" + bytes(2000), r"version 7.3 \(HDF5\), only version 5 .* save it with -v7"),
    "version 7.3": (
        lambda c: b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n",
        r"version 7.3 \(HDF5\)",
    ),
    "text": (lambda c: b"words " * 100, "not a MAT file of version 5"),
    "the head only": (lambda c: c[:128], "lacks data, target"),
    "half": (lambda c: c[: len(c) // 2], "damaged MAT file"),
    "the last bytes missing": (lambda c: c[:-20], "damaged MAT file"),
    "rubbish": (lambda c: c[:128] + bytes(range(256)) * 20, "damaged MAT file|lacks data"),
    "packed rubbish": (lambda c: c[:140] + bytes(200) + c[340:], "damaged MAT file"),
}


@pytest.mark.parametrize("case", KINDS)
def test_a_file_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    damage, words = KINDS[case]
    path = write_mat(tmp_path / "a.mat", mat_arrays())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=words):
        read(path, True)
    refused(path)


def test_version_4_is_refused(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays(), compress=False, format="4")
    assert "not a MAT file of version 5" in refused(path)


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch) -> None:
    path = write_mat(tmp_path / "a.mat", {**mat_arrays(), "more": np.zeros((1000, 1000))})
    monkeypatch.setattr(omniglot_mat, "LIMIT", 4 << 20)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    assert "it unpacks to more than is allowed" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_a_shape_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays(), compress=False)
    content, shape = path.read_bytes(), np.array([784, 60], "<i4").tobytes()
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, np.array([2**31 - 1, 2**31 - 1], "<i4").tobytes()))
    assert "data has 376320 bytes, which do not fill its shape (2147483647, 2147483647)" in refused(path)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with path.open("wb") as stream:
        stream.truncate(omniglot_mat.LIMIT + 1)  # sparse: takes no room
    assert f"has more than {omniglot_mat.LIMIT} bytes" in refused(path)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mat")
    assert "not a regular file" in refused(tmp_path / "a.mat")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(omniglot_mat, "read_bytes", refuse)  # root could not be refused by chmod
    assert "cannot be read (Permission denied)" in refused(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 255)), min_size=1, max_size=4),
    compress=st.booleans(),
)
def test_a_damaged_byte_gives_one_line_or_valid_data(damage: list, compress: bool, tmp_path: Path) -> None:
    path = write_mat(tmp_path / "a.mat", mat_arrays(2, 1), compress)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        (images, labels, *_), _ = read(path, True)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 it need not raise
        return
    assert (images.shape, labels.shape) == ((len(images), 784), (len(images),))
    assert images.min() >= 0
    assert images.max() <= 1
