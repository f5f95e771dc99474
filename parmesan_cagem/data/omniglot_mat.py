"""Burda's OMNIGLOT at 28x28, ``chardata.mat``: a MAT file of version 5, known by its digests or read with distrust."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.data.fetch import RemoteFile, looks_like_html
from parmesan_cagem.data.resize import SMALL
from parmesan_cagem.errors import UserError

NAME = "chardata.mat"
MD5 = "21ecaf34373511aa7691cf2e0802aa3d"
GIT_BLOB = "016a3536ffe5e1d38e42563a18d7a78bfaf643ec"  # of yburda/iwae's datasets/OMNIGLOT/chardata.mat
CLASSES, PIXELS = 50, SMALL**2
LIMIT = 512 << 20  # bytes of the file, and of what it unpacks to; Burda's arrays are 216 MB as float64
MIRRORS = ("https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/",)
FILE = RemoteFile(NAME, LIMIT, sha256="", md5=MD5)  # nobody states its size or its SHA-256

_KEYS = ("data", "target", "targetchar", "testdata", "testtarget", "testtargetchar")
_COMPRESSED = 15  # type of an element of the file
_FIX = "fix: fetch it again"


def read(path: Path, unverified: bool) -> tuple[list[NDArray[Any]], bool]:
    """Read the images and the alphabets of both sets.

    Arrays may be stored with one image a column (as Burda's are) or one a row; the pixels of an image run down its
    columns.

    Parameters
    ----------
    path : Path
    unverified : bool
        Accept a file of the same layout and other content.

    Returns
    -------
    arrays : list
        Training images (N, 784) float32, row by row, and labels (N,) int64; the same for the test set.
    verified : bool
        Whether the file is Burda's.

    Raises
    ------
    UserError
        Says which of these it is: unreadable, another file, no MAT file of version 5, too large, a key missing, or a
        key's shape or values wrong.
    """
    try:
        if not path.is_file():  # a pipe would block
            raise UserError(f"{path}: not a regular file; {_FIX}")
        if (size := path.stat().st_size) > LIMIT:
            raise UserError(f"{path}: has {size} bytes, {NAME} has less than {LIMIT}; {_FIX}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    verified = md5 == MD5 or blob == GIT_BLOB
    if not verified:
        _check_kind(path, content[:1024])
        if not unverified:
            raise UserError(
                f"{path}: wrong checksum: MD5 {md5}, not {MD5}: not Burda's {NAME}; fix: fetch it again, or use it "
                "all the same with --unverified-data (the record will say so)"
            )
        _check_size(path, content)
    values = _load(path, content)
    arrays: list[NDArray[Any]] = []
    for prefix in ("", "test"):
        images = _images(f"{path}: {prefix}data", values[f"{prefix}data"])
        arrays += [images, _labels(f"{path}: {prefix}target", values[f"{prefix}target"], len(images))]
        _check_characters(f"{path}: {prefix}targetchar", values[f"{prefix}targetchar"], len(images))
    return arrays, verified


def _check_kind(path: Path, head: bytes) -> None:
    """Refuse what is no MAT file of version 5."""
    if looks_like_html(head):
        raise UserError(f"{path}: not a MAT file but looks like an HTML page; {_FIX}")
    if b"\x89HDF\r\n\x1a\n" in head or head.startswith(b"MATLAB 7.3"):
        raise UserError(f"{path}: a MAT file of version 7.3 (HDF5), only version 5 is read; fix: save it with -v7")
    if head[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):  # version 5 and byte order
        raise UserError(f"{path}: not a MAT file of version 5; {_FIX}")


def _check_size(path: Path, content: bytes) -> None:
    """Refuse a file that would fill the memory, before SciPy believes what it declares."""
    order = "<" if content[126:128] == b"IM" else ">"
    place, total = 128, 0
    while place + 8 <= len(content) and total <= LIMIT:
        kind, size = struct.unpack_from(order + "II", content, place)
        place += 8
        if kind == _COMPRESSED:
            inflate, rest = zlib.decompressobj(), memoryview(content)[place : place + size]
            try:
                while rest and total <= LIMIT and not inflate.eof:
                    total += len(inflate.decompress(rest, 1 << 20))
                    rest = memoryview(inflate.unconsumed_tail)
            except zlib.error as error:
                raise UserError(f"{path}: damaged MAT file ({error}); {_FIX}") from error
        place += size
    if total > LIMIT:
        raise UserError(f"{path}: unpacks to more than {LIMIT} bytes; {_FIX}")
    for key, shape, kind in _scipy(path, "whosmat", content):
        if key in _KEYS and not (kind in _NUMBERS and np.prod(shape, dtype=object) <= LIMIT // 8):
            raise UserError(
                f"{path}: {key} is declared as {kind} of shape {shape}; must be numbers, at most {LIMIT // 8}; {_FIX}"
            )


_NUMBERS = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def _load(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    values = _scipy(path, "loadmat", content, variable_names=list(_KEYS))
    if missing := [key for key in _KEYS if key not in values]:
        raise UserError(f"{path}: lacks {', '.join(missing)}; {NAME} has the keys {', '.join(_KEYS)}; {_FIX}")
    for key in _KEYS:
        array = values[key]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.ndim != 2:
            raise UserError(f"{path}: {key} is no matrix of real numbers; {_FIX}")
    return {key: values[key] for key in _KEYS}


def _scipy(path: Path, function: str, content: bytes, **options: Any) -> Any:
    from scipy import io as scipy_io  # half a second, and most runs do not need it

    try:
        return getattr(scipy_io, function)(io.BytesIO(content), **options)
    except Exception as error:  # SciPy's reader has an exception for every kind of damage
        raise UserError(f"{path}: damaged MAT file ({type(error).__name__}: {_line(error)}); {_FIX}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _images(given: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if PIXELS not in array.shape or 0 in array.shape:
        raise UserError(f"{given} has shape {array.shape}; must be {PIXELS} x images or images x {PIXELS}; {_FIX}")
    columns = array if len(array) == PIXELS else array.T  # (784, N)
    upright = columns.T.reshape(-1, SMALL, SMALL).transpose(0, 2, 1)  # (N, 28, 28)
    images = upright.astype(np.float32).reshape(-1, PIXELS)
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise UserError(f"{given} spans {low:g} .. {high:g}; must be probabilities in 0 .. 1; {_FIX}")
    return images


def _labels(given: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    if array.shape not in ((CLASSES, count), (count, CLASSES)):
        raise UserError(
            f"{given} has shape {array.shape}; must be {CLASSES} x {count} or {count} x {CLASSES}, as there are "
            f"{count} images; {_FIX}"
        )
    columns = array if array.shape == (CLASSES, count) else array.T
    if not (((columns == 0) | (columns == 1)).all() and (columns.sum(axis=0) == 1).all()):
        raise UserError(f"{given} is not one-hot: each image needs one 1 and {CLASSES - 1} zeros; {_FIX}")
    return columns.argmax(axis=0).astype(np.int64)


def _check_characters(given: str, array: NDArray[Any], count: int) -> None:
    """Character within the alphabet: of no use here, but a file without sense there is not the file."""
    if array.shape not in ((1, count), (count, 1)):
        raise UserError(f"{given} has shape {array.shape}; must be 1 x {count} or {count} x 1; {_FIX}")
    if not (np.isfinite(array).all() and (array >= 1).all() and (array == np.floor(array)).all()):
        raise UserError(f"{given} must hold whole numbers from 1; {_FIX}")
