"""Our reader of MAT files against SciPy's writer and reader; what MATLAB writes otherwise, byte by byte."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from parmesan_cagem.data.matfile import is_version_5, read_matrices

TYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
LIMIT = 1 << 20
# Part of some builds of SciPy: files that MATLAB wrote.
MATLABS = [
    path
    for path in sorted((Path(scipy.io.__file__).parent / "matlab" / "tests" / "data").glob("test*.mat"))
    if path.stem.startswith(("testdouble", "testmatrix", "testminus", "testmulti", "testbool"))
    and is_version_5(path.read_bytes())
]


def written(variables, compress=False):
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compress)
    return stream.getvalue()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(TYPES).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6))
    ),
    st.sampled_from(["a", "abcd", "abcde", "a_long_name_of_a_variable"]),
    st.booleans(),
)
def test_what_scipy_writes_is_read_as_scipy_reads_it(array, name, compress):
    content = written({"before": np.ones((2, 2)), name: array, "text": "words"}, compress)
    found = read_matrices(content, [name], LIMIT)
    expected = scipy.io.loadmat(io.BytesIO(content))[name]
    assert list(found) == [name]
    assert found[name].shape == expected.shape
    np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("path", MATLABS, ids=lambda path: path.stem)
def test_what_matlab_wrote_is_read_as_scipy_reads_it(path):
    content = path.read_bytes()
    expected = {
        name: value
        for name, value in scipy.io.loadmat(path, spmatrix=False).items()
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "biuf"
    }
    found = read_matrices(content, expected, LIMIT)
    assert found
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def element(kind, content, order="<"):
    return struct.pack(order + "II", kind, len(content)) + content + bytes(-len(content) % 8)


def small(kind, content, order="<"):
    return struct.pack(order + "I", len(content) << 16 | kind) + content.ljust(4, b"\0")


def head(order="<"):
    return b"MATLAB 5.0 MAT-file".ljust(124) + (b"\x00\x01IM" if order == "<" else b"\x01\x00MI")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("write", [element, small])
def test_matlabs_own_ways(order, packed, write):
    """Either byte order; a double matrix whose values fit into bytes is stored as bytes; small elements."""
    body = element(6, struct.pack(order + "II", 6, 0), order)
    body += element(5, struct.pack(order + "ii", 2, 2), order)
    body += write(1, b"ab", order) + write(2, bytes([1, 2, 3, 250]), order)
    whole = element(14, body, order)
    content = head(order) + (
        struct.pack(order + "II", 15, len(zlib.compress(whole))) + zlib.compress(whole) if packed else whole
    )
    found = read_matrices(content, ["ab"], LIMIT)["ab"]
    assert found.tolist() == [[1, 3], [2, 250]]
    np.testing.assert_array_equal(found, scipy.io.loadmat(io.BytesIO(content))["ab"])


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("text", "no matrix of real numbers"),
        (np.array([[1], "x"], object), "no matrix of real numbers"),
        ({"a": 1}, "no matrix of real numbers"),
        (np.ones((2, 2)) * 1j, "no matrix of real numbers"),
        (np.ones((2, 2, 2)), "no matrix of real numbers"),
        (scipy.sparse.csc_array(np.eye(3)), "no matrix of real numbers"),
    ],
    ids=["text", "cell", "struct", "complex", "three axes", "sparse"],
)
def test_other_variables_are_refused_only_when_asked_for(variable, words):
    content = written({"a": variable, "b": np.ones((1, 1))})
    assert list(read_matrices(content, ["b"], LIMIT)) == ["b"]
    with pytest.raises(ValueError, match=words):
        read_matrices(content, ["a"], LIMIT)


def test_a_variable_that_is_there_twice_is_refused():
    content = written({"a": np.ones((1, 1))})
    with pytest.raises(ValueError, match="a is there twice"):
        read_matrices(content + content[128:], ["a"], LIMIT)


def test_the_limit_is_over_all_variables():
    content = written({name: np.zeros((100, 100)) for name in "abc"}, compress=True)
    assert len(read_matrices(content, "abc", 3 * 80_100)) == 3
    with pytest.raises(ValueError, match="more than is allowed"):
        read_matrices(content, "abc", 2 * 80_100)


@pytest.mark.parametrize("compress", [False, True])
def test_every_beginning_of_a_file_is_refused_or_lacks_the_variable(compress):
    content = written({"a": np.arange(4.0).reshape(2, 2)}, compress)
    for size in range(128, len(content)):
        try:
            assert read_matrices(content[:size], ["a"], LIMIT) == {}
            assert size == 128  # nothing but the head
        except ValueError as error:
            assert re.search("ends early|not complete", str(error))  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(128, 400), st.integers(0, 255)), min_size=1, max_size=5), st.booleans())
def test_damage_gives_a_value_error_or_a_matrix(damage, compress):
    content = bytearray(written({"a": np.arange(6.0).reshape(2, 3), "b": np.ones((3, 1), "u1")}, compress))
    for place, value in damage:
        content[place % (len(content) - 128) + 128] = value
    try:
        found = read_matrices(bytes(content), ["a", "b"], LIMIT)
    except ValueError:
        return
    assert all(matrix.ndim == 2 for matrix in found.values())


def test_a_packed_variable_without_its_end_is_refused():
    packed = zlib.compress(written({"a": np.ones((2, 2))})[128:])[:-4]  # the checksum
    with pytest.raises(ValueError, match="ends early"):
        read_matrices(head() + struct.pack("<II", 15, len(packed)) + packed, ["a"], LIMIT)


@pytest.mark.parametrize("shape", [(-1, -4), (-2, -2), (-1, 4), (2, 3)])
def test_a_shape_that_cannot_be_is_refused(shape):
    body = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", *shape))
    body += element(1, b"a") + element(2, bytes(4))
    with pytest.raises(ValueError, match=r"shape|negative|unknown"):
        read_matrices(head() + element(14, body), ["a"], LIMIT)


def test_a_small_element_that_is_not_small_is_refused():
    body = small(6, bytes(4))[:2] + b"\x05\0" + bytes(12)
    with pytest.raises(ValueError, match="impossible size"):
        read_matrices(head() + element(14, body), ["a"], LIMIT)


@pytest.mark.parametrize("content", [b"", b"words", head()[:-1], head()[:-4] + b"\x00\x02IM"])
def test_other_files_are_told_by_their_head(content):
    assert not is_version_5(content)
    assert is_version_5(head())
