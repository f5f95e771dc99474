"""The original release of OMNIGLOT: two zips of PNG files, read with distrust, known by a digest over all files."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parmesan_cagem.data.fetch import RemoteFile
from parmesan_cagem.data.mirror import looks_like_html
from parmesan_cagem.data.resize import LARGE
from parmesan_cagem.errors import UserError
from parmesan_cagem.files import cause, read_bytes

# Name of the alphabet: characters, by zip; labels 0 .. 49 in this order.
ALPHABETS = {
    "images_background": {
        "Alphabet_of_the_Magi": 20,
        "Anglo-Saxon_Futhorc": 29,
        "Arcadian": 26,
        "Armenian": 41,
        "Asomtavruli_(Georgian)": 40,
        "Balinese": 24,
        "Bengali": 46,
        "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
        "Braille": 26,
        "Burmese_(Myanmar)": 34,
        "Cyrillic": 33,
        "Early_Aramaic": 22,
        "Futurama": 26,
        "Grantha": 43,
        "Greek": 24,
        "Gujarati": 48,
        "Hebrew": 22,
        "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16,
        "Japanese_(hiragana)": 52,
        "Japanese_(katakana)": 47,
        "Korean": 40,
        "Latin": 26,
        "Malay_(Jawi_-_Arabic)": 40,
        "Mkhedruli_(Georgian)": 41,
        "N_Ko": 33,
        "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14,
        "Sanskrit": 42,
        "Syriac_(Estrangelo)": 23,
        "Tagalog": 17,
        "Tifinagh": 55,
    },
    "images_evaluation": {
        "Angelic": 20,
        "Atemayar_Qelisayer": 26,
        "Atlantean": 26,
        "Aurek-Besh": 26,
        "Avesta": 26,
        "Ge_ez": 26,
        "Glagolitic": 45,
        "Gurmukhi": 45,
        "Kannada": 41,
        "Keble": 26,
        "Malayalam": 47,
        "Manipuri": 40,
        "Mongolian": 30,
        "Old_Church_Slavonic_(Cyrillic)": 45,
        "Oriya": 46,
        "Sylheti": 28,
        "Syriac_(Serto)": 23,
        "Tengwar": 25,
        "Tibetan": 42,
        "ULOG": 26,
    },
}
DRAWERS = 20
# Over the lines "<SHA-256 of the file>  <path>\n", sorted by path: the 32,460 PNG files of the release.
PNG_SHA256 = "8745d3284205c70953ebeacd9061b7dfdadc5961afab7b71a1553c9aa5bcb1af"
# The authors' zips (tensorflow-datasets 4.9.10); copies zipped anew are as good, see PNG_SHA256.
FILES = (
    RemoteFile("images_background.zip", 9464212, "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640"),
    RemoteFile("images_evaluation.zip", 6462886, "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee"),
)
MIRRORS = ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",)

ZIP_BYTES = 32 << 20  # limits: the authors' larger zip has 9.5 MB,
MEMBERS = 60_000  # 19,280 images (and a Mac adds a shadow of each),
PNG_BYTES = 4096  # its largest image 522 bytes: no ratio of compression makes more than MEMBERS times that
_PATH = re.compile(r"[^/]+/([^/]+)/character(\d\d)/\d{4}_(\d\d)\.png")
_FIX = "fix: fetch it again"

Key = tuple[int, int, int]  # label from 0, character and drawer from 1


def read_files(folder: Path) -> dict[str, bytes]:
    """Read both zips of a folder: their content by the names of `ALPHABETS`.

    Raises
    ------
    UserError
        Names the zip: missing, unreadable, or too large.
    """
    contents = {}
    for name in ALPHABETS:
        path = folder / f"{name}.zip"
        try:
            contents[name] = read_bytes(path, ZIP_BYTES)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({cause(error)}); {_FIX}, or mend its permissions") from error
    return contents


def read_ink(folder: Path, contents: dict[str, bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Unpack and check every image of both zips.

    Parameters
    ----------
    folder : Path
        Where they came from, for messages.
    contents : dict
        As `read_files` returns it.

    Returns
    -------
    keys : (N, 3) int64
        Label (from 0), character within the alphabet and drawer (from 1); in ascending order.
    ink : (N, 105, 105) bool
        True where there is ink.

    Raises
    ------
    UserError
        Names the zip, and the file in it where there is one: no zip, a bomb, a path that leads elsewhere, damaged,
        incomplete; or the images are not the release's.
    """
    images: dict[Key, tuple[str, bytes]] = {}
    for name, content in contents.items():
        images |= _images(folder / f"{name}.zip", name, content)
    digests = sorted((path, hashlib.sha256(content).hexdigest()) for path, content in images.values())
    digest = hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in digests).encode()).hexdigest()
    if digest != PNG_SHA256:
        raise UserError(
            f"{folder}: wrong checksum: the images in {' and '.join(f'{name}.zip' for name in ALPHABETS)} are not "
            f"OMNIGLOT's: SHA-256 over all files {digest}, not {PNG_SHA256}; fix: fetch both again"
        )
    keys = sorted(images)
    return np.array(keys, np.int64), np.stack([_decode(*images[key]) for key in keys])


def _images(path: Path, name: str, content: bytes) -> dict[Key, tuple[str, bytes]]:
    """The images of one zip, by key: path within the zip and content. Complete, and none besides."""
    labels = {alphabet: label for label, alphabet in enumerate(a for part in ALPHABETS.values() for a in part)}
    expected = {
        (labels[alphabet], character, drawer): alphabet
        for alphabet, characters in ALPHABETS[name].items()
        for character in range(1, characters + 1)
        for drawer in range(1, DRAWERS + 1)
    }
    images: dict[Key, tuple[str, bytes]] = {}
    for member, png in _members(path, content):
        match = _PATH.fullmatch(member)
        key = (labels.get(match[1], -1), int(match[2]), int(match[3])) if match else (-1, 0, 0)
        if key not in expected or not member.startswith(f"{name}/"):
            raise UserError(f"{path}: {member!r} is no file of OMNIGLOT's {name}; {_FIX}")
        if key in images:
            raise UserError(f"{path}: {member!r} and {images[key][0]!r} are the same drawing; {_FIX}")
        images[key] = member, png
    if missing := expected.keys() - images.keys():
        label, character, drawer = min(missing)
        raise UserError(
            f"{path}: lacks {len(missing)} of {len(expected)} images, "
            f"the first {expected[label, character, drawer]}/character{character:02} of drawer {drawer}; {_FIX}"
        )
    return images


def _members(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file in a zip, its CRC checked, in bounded memory; what a Mac adds is passed over."""
    if looks_like_html(content[:512]):
        raise UserError(f"{path}: not a zip file but looks like an HTML page; {_FIX}")
    # Before zipfile makes an object of each, a hundred times its size in the directory.
    if (count := content.count(b"PK\x01\x02")) > MEMBERS:
        raise UserError(f"{path}: has {count} members, at most {MEMBERS} are allowed; {_FIX}")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OverflowError, RuntimeError, struct.error) as error:
        raise UserError(f"{path}: truncated, damaged or no zip file ({error}); {_FIX}") from error
    infos = archive.infolist()
    for info in infos:
        given, parts = f"{path}: member {info.filename!r}", info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename or ":" in parts[0]:
            raise UserError(f"{given} leads out of its folder; do not use this file, fetch OMNIGLOT's")
        if info.filename.endswith("/") or parts[0] == "__MACOSX" or parts[-1] == ".DS_Store":
            continue
        if info.file_size > PNG_BYTES:
            raise UserError(f"{given} unpacks to {info.file_size} bytes, OMNIGLOT's have less than {PNG_BYTES}; {_FIX}")
        # Of the other methods' readers, some unpack without a bound.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{given} is neither stored nor deflated; zip the files anew")
        try:
            # Not read(): it believes the header's size only after it has inflated up to a gigabyte.
            with archive.open(info) as file:
                png = file.read(PNG_BYTES)
        # RuntimeError: encrypted, or of a version that zipfile does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error, OSError) as error:
            raise UserError(f"{given} is damaged ({error or type(error).__name__}); {_FIX}") from error
        yield info.filename, png


def _decode(member: str, content: bytes) -> NDArray[np.bool_]:
    """One PNG's ink: black is drawn on white. (105, 105)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                mode, (width, height) = picture.mode, picture.size
                if (mode, width, height) == ("1", LARGE, LARGE):
                    return ~np.asarray(picture)
    except Exception as error:  # Pillow has one for every kind of damage
        raise UserError(f"{member}: no PNG that can be read ({error}); fix: fetch the zips again") from error
    raise UserError(
        f"{member}: an image of {width}x{height} pixels, mode {mode}; must be {LARGE}x{LARGE}, black and white; "
        "fix: fetch the zips again"
    )
