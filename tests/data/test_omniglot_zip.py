"""The original release: what is good is read whatever zipped it; what is not is told in one line."""

import os
import random
import re
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omniglot_files import Files, drawing, png, release, use, write_zips

from parmesan_cagem.data import omniglot_zip
from parmesan_cagem.data.omniglot_zip import read_files, read_ink
from parmesan_cagem.errors import UserError

BACKGROUND = "images_background"
FIRST = f"{BACKGROUND}/Alpha/character01/1001_01.png"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    files = release()
    use(monkeypatch, files)
    return files


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return read_ink(folder, read_files(folder))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message or "fetch the zips again" in message
    return message


def test_every_image_in_canonical_order(files: Files, tmp_path: Path) -> None:
    keys, ink = read(write_zips(tmp_path, files))
    expected = [(a, c, d) for a, c in ((0, 1), (0, 2), (1, 1), (2, 1)) for d in range(1, 21)]
    assert keys.tolist() == [list(key) for key in expected]
    assert np.array_equal(ink, [drawing(*key) for key in expected])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zipped_anew_on_a_mac_the_images_are_the_same(compression: int, files: Files, tmp_path: Path) -> None:
    keys, ink = read(write_zips(tmp_path / "a", files))
    shuffled: Files = {}
    for name, members in files.items():
        paths = list(members)
        random.Random(1).shuffle(paths)
        extra = {f"{name}/": b"", f"{name}/.DS_Store": b"x" * 9000, f"__MACOSX/{name}/._a.png": b"shadow"}
        shuffled[name] = {**extra, **{path: members[path] for path in paths}}
    other_keys, other_ink = read(write_zips(tmp_path / "b", shuffled, compression))
    assert np.array_equal(keys, other_keys)
    assert np.array_equal(ink, other_ink)


def without(files: Files, part: str) -> None:
    for path in [path for path in files[BACKGROUND] if part in path]:
        del files[BACKGROUND][path]


def rename(files: Files, new: str) -> None:
    files[BACKGROUND][new] = files[BACKGROUND].pop(FIRST)


# What is done to the members; the words that the line must have.
CHANGES: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "parent": (lambda f: f[BACKGROUND].update({"../evil.png": b"x"}), ["'../evil.png' leads out"]),
    "parent, within": (
        lambda f: f[BACKGROUND].update({f"{BACKGROUND}/../../evil.png": b"x"}),
        ["evil.png' leads out of its folder", "do not use this file"],
    ),
    "absolute": (lambda f: f[BACKGROUND].update({"/etc/evil.png": b"x"}), ["'/etc/evil.png' leads out"]),
    "drive": (lambda f: f[BACKGROUND].update({"C:/evil.png": b"x"}), ["'C:/evil.png' leads out"]),
    "backslash": (lambda f: f[BACKGROUND].update({"..\\evil.png": b"x"}), ["leads out"]),
    "escape in a shadow": (lambda f: f[BACKGROUND].update({"__MACOSX/../../x": b"x"}), ["leads out"]),
    "bomb": (lambda f: f[BACKGROUND].update({FIRST: bytes(20 << 20)}), [FIRST, "unpacks to 20971520 bytes", "4096"]),
    "one image changed": (
        lambda f: f[BACKGROUND].update({FIRST: png(~drawing(0, 1, 1))}),
        ["wrong checksum", "not OMNIGLOT's", "fetch both again"],
    ),
    "one number changed": (lambda f: rename(f, FIRST.replace("1001", "1009")), ["wrong checksum"]),
    "an alphabet missing": (lambda f: without(f, "/Beta/"), ["lacks 20 of 60 images", "Beta/character01 of drawer 1"]),
    "an image missing": (lambda f: without(f, "1002_07"), ["lacks 1 of 60 images", "Alpha/character02 of drawer 7"]),
    "all missing": (lambda f: f[BACKGROUND].clear(), ["lacks 60 of 60 images"]),
    "another alphabet": (lambda f: rename(f, FIRST.replace("Alpha", "Klingon")), ["Klingon", "is no file of"]),
    "another set's alphabet": (lambda f: rename(f, FIRST.replace("Alpha", "Gamma")), ["Gamma", "is no file of"]),
    "another folder": (lambda f: rename(f, FIRST.replace(BACKGROUND, "images")), ["images/Alpha", "is no file of"]),
    "a drawer too many": (lambda f: rename(f, FIRST.replace("_01.png", "_21.png")), ["_21.png", "is no file of"]),
    "a character too many": (lambda f: rename(f, FIRST.replace("r01", "r03")), ["character03", "is no file of"]),
    "a stray file": (lambda f: f[BACKGROUND].update({"README": b"x"}), ["'README' is no file of"]),
    "a drawing twice": (
        lambda f: f[BACKGROUND].update({FIRST.replace("1001", "1009"): f[BACKGROUND][FIRST]}),
        ["are the same drawing", "1009_01", "1001_01"],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_other_members_are_refused(case: str, compression: int, files: Files, tmp_path: Path) -> None:
    change, words = CHANGES[case]
    change(files)
    message = refused(write_zips(tmp_path, files, compression))
    assert all(word in message for word in words), message


def central(content: bytes) -> int:
    """Where the first member's entry begins in the directory at the end."""
    return content.index(b"PK\x01\x02")


def with_bytes(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


# What is done to the bytes of the stored zip; the words that the line must have.
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], list[str]]] = {
    "empty": (lambda c: b"", ["truncated, damaged or no zip"]),
    "HTML": (lambda c: b"<!DOCTYPE html><p>Sign in", ["looks like an HTML page"]),
    "truncated": (lambda c: c[: len(c) // 2], ["truncated, damaged or no zip"]),
    "no directory": (lambda c: c[:-30], ["truncated, damaged or no zip"]),
    "CRC": (lambda c: with_bytes(c, c.index(b"IDAT") + 6, b"\x00\xff\x00"), [FIRST, "is damaged", "Bad CRC-32"]),
    "local header": (lambda c: with_bytes(c, 0, b"ABCD"), [FIRST, "is damaged"]),
    "size declared too small": (lambda c: with_bytes(c, central(c) + 24, b"\x09\0\0\0"), [FIRST, "is damaged"]),
    "size declared too large": (lambda c: with_bytes(c, central(c) + 24, b"\xff\xff\xff\x7f"), [FIRST, "2147483647"]),
    "no name": (lambda c: with_bytes(c, central(c) + 46, b"\0"), ["member ''", "is damaged"]),
    "encrypted": (
        lambda c: with_bytes(with_bytes(c, central(c) + 8, b"\x01"), 6, b"\x01"),
        [FIRST, "is damaged", "encrypted"],
    ),
    "method": (lambda c: with_bytes(c, central(c) + 10, b"\x63"), [FIRST, "neither stored nor deflated"]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_zip_is_refused(case: str, files: Files, tmp_path: Path) -> None:
    damage, words = DAMAGE[case]
    path = write_zips(tmp_path, files) / f"{BACKGROUND}.zip"
    path.write_bytes(damage(path.read_bytes()))
    message = refused(tmp_path)
    assert str(path) in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_refused(compression: int, files: Files, tmp_path: Path) -> None:
    assert "neither stored nor deflated; zip the files anew" in refused(write_zips(tmp_path, files, compression))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(drawing(0, 1, 1)[:104]), "105x104 pixels, mode 1; must be 105x105"),
        (png(drawing(0, 1, 1), mode="L"), "105x105 pixels, mode L; must be 105x105, black and white"),
        (b"no picture", "no PNG that can be read"),
        (b"GIF89a" + bytes(50), "no PNG that can be read"),
        (png(drawing(0, 1, 1))[:60], "no PNG that can be read"),
    ],
    ids=["size", "mode", "text", "GIF", "truncated"],
)
def test_a_wrong_picture_is_refused_though_the_digest_agrees(
    content: bytes, words: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[BACKGROUND][FIRST] = content
    use(monkeypatch, files)
    message = refused(write_zips(tmp_path, files))
    assert message.startswith(f"{FIRST}: ")
    assert words in message


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MEMBERS", 59, "has 60 members, at most 59"),
        ("ZIP_BYTES", 5000, "(has more than 5000 bytes); fix: fetch"),
    ],
)
def test_limits(limit: str, value: int, words: str, files: Files, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(omniglot_zip, limit, value)
    assert words in refused(write_zips(tmp_path, files))


def test_what_is_no_file_is_not_opened(files: Files, tmp_path: Path) -> None:
    path = write_zips(tmp_path, files) / f"{BACKGROUND}.zip"
    path.unlink()
    os.mkfifo(path)  # opening it would block
    assert f"{path}: cannot be read (not a regular file)" in refused(tmp_path)


def test_a_zip_that_may_not_be_read_is_named(files: Files, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(omniglot_zip, "read_bytes", refuse)  # root could not be refused by chmod
    assert "cannot be read (Permission denied)" in refused(write_zips(tmp_path, files))


def test_the_release_as_it_is_known() -> None:
    parts = omniglot_zip.ALPHABETS
    names = [name for part in parts.values() for name in part]
    assert [len(part) for part in parts.values()] == [30, 20]
    assert [sum(part.values()) * 20 for part in parts.values()] == [19280, 13180]
    assert len(set(names)) == 50
    assert all(list(part) == sorted(part) for part in parts.values())
    assert all(re.fullmatch(r"[\w()-]+", name) for name in names)
    assert [file.name for file in omniglot_zip.FILES] == [f"{name}.zip" for name in parts]


def test_a_header_that_lies_about_the_size_cannot_fill_the_memory(tmp_path: Path, files: Files) -> None:
    """Python's zipfile believes a header's size only after it has inflated the member."""
    bomb = bytes(64 << 20)
    files[BACKGROUND][FIRST] = bomb
    path = write_zips(tmp_path, files, zipfile.ZIP_DEFLATED) / f"{BACKGROUND}.zip"
    content = path.read_bytes()
    for true, lie in ((len(bomb), 500), (zlib.crc32(bomb), zlib.crc32(bomb[:500]))):
        assert content.count(true.to_bytes(4, "little")) == 2  # of the member and in the directory
        content = content.replace(true.to_bytes(4, "little"), lie.to_bytes(4, "little"))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert "wrong checksum" in refused(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
