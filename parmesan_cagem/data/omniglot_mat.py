"""Burda's OMNIGLOT at 28x28, ``chardata.mat``: a MAT file of version 5, known by its digests or read with distrust."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from parmesan_cagem.data.fetch import RemoteFile
from parmesan_cagem.data.matfile import is_version_5, read_matrices
from parmesan_cagem.data.mirror import looks_like_html
from parmesan_cagem.data.resize import SMALL
from parmesan_cagem.errors import UserError
from parmesan_cagem.files import cause, read_bytes

NAME = "chardata.mat"
MD5 = "21ecaf34373511aa7691cf2e0802aa3d"
GIT_BLOB = "016a3536ffe5e1d38e42563a18d7a78bfaf643ec"  # of yburda/iwae's datasets/OMNIGLOT/chardata.mat
CLASSES, PIXELS = 50, SMALL**2
LIMIT = 256 << 20  # bytes of the file, and of what it unpacks to; Burda's arrays are 216 MB as float64
IMAGES = 100_000  # of one set; Burda's two have 32,415: pixels of a byte become float32, four times their size
MIRRORS = ("https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/",)
FILE = RemoteFile(NAME, LIMIT, sha256="", md5=MD5)  # nobody states its size or its SHA-256

_KEYS = ("data", "target", "targetchar", "testdata", "testtarget", "testtargetchar")
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
        content = read_bytes(path, LIMIT)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({cause(error)}); {_FIX}, or mend its permissions") from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if verified := md5 == MD5 or blob == GIT_BLOB:
        values = scipy.io.loadmat(io.BytesIO(content))
    else:
        _check_kind(path, content[:1024])
        if not unverified:
            raise UserError(
                f"{path}: wrong checksum: MD5 {md5}, not {MD5}: not Burda's {NAME}; fix: fetch it again, or use it "
                "all the same with --unverified-data (the record will say so)"
            )
        try:
            values = read_matrices(content, _KEYS, LIMIT)
        except ValueError as error:
            raise UserError(f"{path}: damaged MAT file: {error}; {_FIX}") from error
    if missing := [key for key in _KEYS if key not in values]:
        raise UserError(f"{path}: lacks {', '.join(missing)}; {NAME} has the keys {', '.join(_KEYS)}; {_FIX}")
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
    if b"\x89HDF\r\n\x1a\n" in head:
        raise UserError(f"{path}: a MAT file of version 7.3 (HDF5), only version 5 is read; fix: save it with -v7")
    if not is_version_5(head):
        raise UserError(f"{path}: not a MAT file of version 5; {_FIX}")


def _images(given: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if PIXELS not in array.shape or 0 in array.shape:
        raise UserError(f"{given} has shape {array.shape}; must be {PIXELS} x images or images x {PIXELS}; {_FIX}")
    columns = array if len(array) == PIXELS else array.T  # (784, N)
    if columns.shape[1] > IMAGES:
        raise UserError(f"{given} has {columns.shape[1]} images; at most {IMAGES} are read; {_FIX}")
    upright = columns.T.reshape(-1, SMALL, SMALL).transpose(0, 2, 1)  # (N, 28, 28)
    with np.errstate(over="ignore"):  # inf is refused below
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
