"""The format of a sealed file to the byte, and every reason to refuse one to the letter."""

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
from checkpoints import assert_equal

from parmesan_cagem import sealed

BODY = sealed.encode({"a/b": np.arange(3, dtype="<i4")}, {"step": 1})


def reason(action):
    with pytest.raises(sealed.Damaged) as error:
        action()
    return str(error.value)


# ---- the format, in words of our own


def test_the_seal_is_a_head_of_512_bytes():
    text = (
        b"parmesan_cagem checkpoint\nformat 1\nbytes 4\nsha256 " + hashlib.sha256(b"body").hexdigest().encode() + b"\n"
    )
    assert sealed.seal(b"body") == text + b"\0" * (512 - len(text))


@pytest.mark.parametrize(
    ("array", "head"),
    [
        (np.arange(6, dtype="<f4").reshape(2, 3), '["w/x", "<f4", [2, 3]]\n'),
        (np.array(7, "<i8"), '["w/x", "<i8", []]\n'),
        (np.zeros((0, 3), ">u2"), '["w/x", ">u2", [0, 3]]\n'),
    ],
)
def test_the_sum_of_an_array_is_over_name_dtype_shape_and_bytes(array, head):
    assert sealed.digest("w/x", array) == hashlib.sha256(head.encode() + array.tobytes()).hexdigest()


def test_the_body_is_hdf5_with_a_version_and_a_list():
    with h5py.File(io.BytesIO(BODY)) as file:
        assert file.attrs["format_version"] == 1
        assert json.loads(file["attributes_json"][()]) == {"arrays": ["a/b"], "attributes": {"step": 1}}
        assert file["a/b"].attrs["sha256"] == sealed.digest("a/b", np.arange(3, dtype="<i4")).encode()
        assert list(file) == ["a", "attributes_json"]
    assert len(BODY) < 20_000  # grown in large blocks, cut to what is used


def test_the_body_is_made_in_memory_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sealed.encode({"a/b": np.arange(3, dtype="<i4")}, {"step": 1}) == BODY
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_what_was_sealed(tmp_path):
    (tmp_path / "x").write_bytes(sealed.seal(BODY) + BODY)
    assert sealed.read(tmp_path / "x") == BODY
    arrays, attributes = sealed.decode(BODY)
    assert_equal(arrays, {"a/b": np.arange(3, dtype="<i4")})
    assert attributes == {"step": 1}


# ---- refusals when reading


def other_seal(old, new):
    return sealed.seal(BODY).replace(old, new, 1)[:512].ljust(512, b"\0") + BODY


FILES = {
    "empty": (b"", "is not a checkpoint of parmesan_cagem"),
    "another program's": (b"parmesan_cagem checkpoin?\n" + b"\0" * 600, "is not a checkpoint of parmesan_cagem"),
    "head only": (b"parmesan_cagem checkpoint\n", "is cut short: 26 bytes"),
    "seal less a byte": (sealed.seal(BODY)[:-1], "is cut short: 511 bytes"),
    "seal only": (sealed.seal(BODY), f"has 0 bytes after its seal, which says '{len(BODY)}'"),
    "newer": (other_seal(b"format 1\n", b"format 2\n"), "has format version '2', this program reads version 1"),
    "no ASCII": (
        other_seal(b"format 1\n", b"format \xff\n"),
        "has format version '\\ufffd', this program reads version 1",
    ),
    "endless version": (
        other_seal(b"format 1\n", b"format " + b"7" * 99 + b"\n"),
        f"has format version '{'7' * 20}', this program reads version 1",
    ),
    "words": (other_seal(b"format 1\n", b"format 1 2\n"), "has format version '1 2', this program reads version 1"),
    "short": (sealed.seal(BODY) + BODY[:-1], f"has {len(BODY) - 1} bytes after its seal, which says '{len(BODY)}'"),
    "long": (sealed.seal(BODY) + BODY + b"\0", f"has {len(BODY) + 1} bytes after its seal, which says '{len(BODY)}'"),
    "bit": (
        sealed.seal(BODY) + BODY[:-1] + bytes([BODY[-1] ^ 1]),
        "is damaged: its SHA-256 is not the one it was sealed with",
    ),
    "seal": (
        sealed.seal(BODY)[:-1] + b"x" + BODY,
        "is damaged: its SHA-256 is not the one it was sealed with",
    ),
}


@pytest.mark.parametrize("which", FILES)
def test_a_file_is_refused_with_its_reason(tmp_path, which):
    content, expected = FILES[which]
    (tmp_path / "x").write_bytes(content)
    assert reason(lambda: sealed.read(tmp_path / "x")) == expected


def test_what_is_no_file_is_refused(tmp_path):
    assert reason(lambda: sealed.read(tmp_path / "x")) == "is missing"
    assert reason(lambda: sealed.read(tmp_path)) == "is not a file"
    assert reason(lambda: sealed.read(tmp_path / ("x" * 300))) == "cannot be read: File name too long"


# ---- refusals when writing: the caller's mistakes


@pytest.mark.parametrize(
    ("name", "array", "kind", "text"),
    [
        ("x", np.zeros(1, np.longdouble), TypeError, "x: a checkpoint holds no arrays of dtype float128"),
        ("a\nb", np.zeros(1), ValueError, r"'a\nb': not a name for an array, or taken"),
        ("a/./b", np.zeros(1), ValueError, "'a/./b': not a name for an array, or taken"),
        ("a/b/", np.zeros(1), ValueError, "'a/b/': not a name for an array, or taken"),
    ],
)
def test_what_the_format_does_not_hold_is_named(name, array, kind, text):
    with pytest.raises(kind) as error:
        sealed.encode({name: array}, {})
    assert str(error.value) == text


# ---- refusals of what a seal cannot know


def tampered(change, listed=("a/b",), text=None):
    """A body that ``change`` has tampered with, with a list of our own."""
    buffer = io.BytesIO(BODY)
    with h5py.File(buffer, "r+") as file:
        change(file)
        del file["attributes_json"]
        words = json.dumps({"arrays": list(listed), "attributes": {}}) if text is None else text
        sealed._put(file, "attributes_json", np.asarray(words.encode()))
    return buffer.getvalue()


def changed(*arguments, **options):
    """The reason to refuse that body."""
    return reason(lambda: sealed.decode(tampered(*arguments, **options)))


def put(name, data, **options):
    def change(file):
        file.create_dataset(name, data=data, **options).attrs["sha256"] = np.bytes_(sealed.digest(name, data))

    return change


def unsealed(value):
    def change(file):
        del file["a/b"].attrs["sha256"]
        file["a/b"].attrs["sha256"] = value

    return change


def through_a_link(file):
    file["g"] = h5py.SoftLink("/a")


RIGHT = sealed.digest("a/b", np.arange(3, dtype="<i4"))
WRONG_SUM = "holds a damaged 'a/b': its SHA-256 is wrong"
BODIES = {
    "name": (lambda file: None, ["a/../b"], "lists an array under the name 'a/../b'"),
    "unprintable name": (lambda file: None, ["\x07"], "lists an array under the name '\\x07'"),
    "absent": (lambda file: None, ["a/c"], "holds no data of its own for 'a/c' (absent, or a link)"),
    "through a link": (through_a_link, ["g/b"], "holds no data of its own for 'g/b' (absent, or a link)"),
    "below an array": (lambda file: None, ["a/b/c"], "holds no data of its own for 'a/b/c' (absent, or a link)"),
    "chunks": (put("c", np.zeros(3), chunks=(3,)), ["c"], "holds 'c' in a form that is not read here"),
    "bytes": (put("c", np.array([b"ab"])), ["c"], "holds 'c' in a form that is not read here"),
    "sum of another form": (unsealed(np.bytes_(RIGHT + " ")), ["a/b"], WRONG_SUM),
    "sums": (unsealed(np.array([RIGHT.encode()])), ["a/b"], WRONG_SUM),
    "text for a sum": (unsealed(RIGHT), ["a/b"], WRONG_SUM),
    "another sum": (unsealed(np.bytes_("0" * 64)), ["a/b"], WRONG_SUM),
}


@pytest.mark.parametrize("which", BODIES)
def test_a_body_is_refused_with_its_reason(which):
    change, listed, expected = BODIES[which]
    assert changed(change, listed) == expected


def test_an_array_may_be_as_large_as_the_file_and_no_larger():
    def body(*shape):  # HDF5 writes nothing for an array that nobody has filled
        return tampered(lambda file: file.create_dataset("c", shape=shape, dtype="u2"), ["c"])

    size = len(body(2))
    assert size == len(body(size)) == len(body(2, size))
    larger = "says that 'c' is larger than the file"
    assert reason(lambda: sealed.decode(body(size // 2))).startswith("is not in order inside: KeyError")  # no sum
    assert reason(lambda: sealed.decode(body(size // 2 + 1))) == larger
    assert reason(lambda: sealed.decode(body(1 << 10, size))) == larger


def test_what_hdf5_or_json_say_is_one_short_line():
    assert changed(lambda file: None, text="{") == (
        "is not in order inside: JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)"
    )
    assert changed(lambda file: None, text="[]").startswith("is not in order inside: TypeError: ")
    long = changed(lambda file: None, text=json.dumps({"arrays": [["x" * 500]], "attributes": {}}))
    assert long.startswith("is not in order inside: AttributeError: ")
    assert changed(lambda file: None, text='{"arrays": []}') == "is not in order inside: KeyError: 'attributes'"


def test_the_words_of_an_error_are_cut_at_200_characters(monkeypatch):
    def fail(*arguments):
        raise ValueError("long \n" * 100)

    monkeypatch.setattr(sealed, "_get", fail)
    assert reason(lambda: sealed.decode(BODY)) == f"is not in order inside: ValueError: {('long ' * 40)[:200]}"


# ---- which dtypes a file can hold


@pytest.mark.parametrize("kind", ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_plain_numbers_of_any_byte_order_can_be_held(kind):
    assert all(sealed.holds(order + kind) for order in "<>|")
    assert not sealed.holds(kind)
    assert not sealed.holds("=" + kind)
    assert not sealed.holds("X" + kind)


@pytest.mark.parametrize("dtype", ["<U3", "|S4", "|O", "<M8[ns]", "|V8", "<f16", "<", "", "<>f4", "<<f4", "f4f4"])
def test_other_dtypes_cannot(dtype):
    assert not sealed.holds(dtype)


@pytest.mark.parametrize("dtype", [None, 4, ["<f4"], {}, np.dtype("<f4"), b"<f4", ("<", "f4")], ids=repr)
def test_what_is_no_name_of_a_dtype_cannot(dtype):
    assert sealed.holds(dtype) is False
