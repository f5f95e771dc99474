"""OMNIGLOT's zips and the PNGs in them, damaged at random, and made to do harm."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from parmesan_cagem import data
from parmesan_cagem.data import omniglot_zip
from torture.damage_malicious import MIB, Case, zip_with, zlib_bomb
from torture.damage_mutate import png_of, zip_of
from torture.damage_shared import digest
from torture.damage_worker import Format

Image.init()  # here: its plugins, imported at the first damaged picture, would look like code that the file runs
ALPHABETS = {"images_background": {"Alpha": 1, "Beta": 1}, "images_evaluation": {"Gamma": 1}}


def members(zip_name: str) -> dict[str, bytes]:
    """Path -> PNG, of a zip of the small release."""
    found = {}
    for number, (alphabet, characters) in enumerate(ALPHABETS[zip_name].items()):
        for character in range(1, characters + 1):
            for drawer in range(1, 21):
                stream, ink = io.BytesIO(), np.zeros((105, 105), bool)
                ink[number * 20 + drawer : number * 20 + drawer + 3, character : 60 + drawer] = True
                Image.fromarray(~ink).save(stream, "PNG")
                found[f"{zip_name}/{alphabet}/character{character:02}/{1000 + number}_{drawer:02}.png"] = (
                    stream.getvalue()
                )
    return found


def formats() -> list[Format]:
    """The two zips of a small release, and a picture."""
    release = {name: members(name) for name in ALPHABETS}
    first, second = (zip_of(one) for one in release.values())
    sound = {name: _zipped(one) for name, one in release.items()}
    lines = sorted((path, hashlib.sha256(png).hexdigest()) for one in release.values() for path, png in one.items())
    known = hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()).hexdigest()
    (png, *_) = release["images_background"].values()

    def use() -> None:
        omniglot_zip.ALPHABETS = ALPHABETS
        omniglot_zip.PNG_SHA256 = known

    def run(path: Path) -> Any:
        use()
        path.rename(path.parent / "images_background.zip")
        (path.parent / "images_evaluation.zip").write_bytes(sound["images_evaluation"])
        found = data.load("omniglot", path.parent)
        return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

    def members_of(path: Path) -> Any:
        use()
        return digest({name: np.frombuffer(png, "u1") for name, png in omniglot_zip._members(path, path.read_bytes())})

    def picture(path: Path) -> Any:
        return digest(omniglot_zip._decode("member.png", path.read_bytes()))

    return [
        Format("zip of PNGs, a run's", first, run, sound["images_background"], share=1000, exact=True, public=True),
        Format("zip", second, members_of, sound["images_evaluation"], share=10000),
        Format("PNG", png_of(png), picture, png, share=12000),
    ]


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with omniglot_zip.zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def cases() -> list[Case]:
    """Names that lead out, bombs, and directories that lie; then pictures."""

    def load(path: Path) -> Any:
        omniglot_zip.ALPHABETS = {"images_background": {"Alpha": 1}}
        return omniglot_zip.read_ink(path.parent, {"images_background": path.read_bytes()})

    good = "images_background/Alpha/character01/1000_01.png"
    escapes = ("../harm", "/tmp/harm", "a/../../harm", "..\\harm", "C:/harm", "__MACOSX/../../harm", "\\\\host\\harm")
    link = zipfile.ZipInfo(good)
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    twice = zip_with({good: b"a", good.replace("01.png", "02.png"): b"b"}).replace(b"_02.png", b"_01.png")
    bomb = zip_with({good: bytes(64 * MIB)})
    lying = bomb.replace((64 * MIB).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    return [
        *((f"zip: {name}", zip_with({name: b"x"}), load) for name in escapes),
        ("zip: symlink", stream.getvalue(), load),
        ("zip: the same name twice", twice, load),
        ("zip: encrypted", _flagged(zip_with({good: b"x"}), 1), load),
        ("zip: bomb", bomb, load),
        ("zip: bomb that lies about its size", lying, load),
        ("zip: nested", zip_with({good: zip_with({"inner.zip": zip_with({"x": bytes(MIB)})})}), load),
        ("zip: overlapping members", _overlapping(good, 50_000), load),
        ("zip: overlapping, too many", _overlapping(good, 400_000), load),
        ("zip: bzip2", zip_with({good: bytes(10 * MIB)}, zipfile.ZIP_BZIP2), load),
        ("zip: a directory without members", b"PK\x05\x06" + b"\xff" * 16 + b"\0\0", load),
        *_png_cases(),
    ]


def _flagged(content: bytes, flag: int) -> bytes:
    found = bytearray(content)
    found[6] |= flag
    found[content.index(b"PK\x01\x02") + 8] |= flag
    return bytes(found)


def _overlapping(name: str, count: int) -> bytes:
    """A directory of many names for one member: every name unpacks the same bytes."""
    whole = zip_with({name: bytes(4000)})
    start = whole.index(b"PK\x01\x02")
    entry = whole[start : whole.index(b"PK\x05\x06")]
    size = len(entry) * count
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, start, 0)
    return whole[:start] + entry * count + end


def _png_cases() -> list[Case]:
    def load(path: Path) -> Any:
        return omniglot_zip._decode("member.png", path.read_bytes())

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def made(width: int, height: int, *more: bytes, depth: int = 1) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
        return (
            b"\x89PNG\r\n\x1a\n"
            + head
            + b"".join(more)
            + chunk(b"IDAT", zlib.compress(bytes(20)))
            + chunk(b"IEND", b"")
        )

    packed = zlib_bomb(200)
    return [
        ("PNG: huge", made(1 << 30, 1 << 30), load),
        ("PNG: large", made(12_000, 9_000), load),
        ("PNG: too large for Pillow", made(20_000, 20_000), load),
        ("PNG: no pixels", made(105, 0), load),
        ("PNG: bomb in iCCP", made(105, 105, chunk(b"iCCP", b"a\0\0" + packed)), load),
        ("PNG: bomb in zTXt", made(105, 105, chunk(b"zTXt", b"a\0\0" + packed)), load),
        ("PNG: bomb in iTXt", made(105, 105, chunk(b"iTXt", b"a\0\x01\0\0\0" + packed)), load),
        ("PNG: a chunk of 2 GiB", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR" + bytes(30), load),
    ]
