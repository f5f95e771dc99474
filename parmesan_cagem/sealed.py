"""Named arrays and plain values in one HDF5 file that is checked when read.

A file begins with a seal of 512 bytes (HDF5 calls it a user block and skips it): format version, length and SHA-256 of
what follows. So the HDF5 library, which may crash on damaged input, never sees a byte that is not as it was written.
Inside, every dataset carries a SHA-256 of its own, so that what other tools copy can be checked too.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parmesan_cagem import files
from parmesan_cagem.errors import words

if TYPE_CHECKING:
    import h5py

FORMAT = 1

_MAGIC = b"parmesan_cagem checkpoint\n"
_SEAL_BYTES = 512  # the smallest user block of HDF5
_VALUES = "attributes_json"  # the dataset that holds the attributes and the list of arrays
# Longer floats are left out: their padding bytes are arbitrary, and differ between machines.
_DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])


class Damaged(Exception):
    """Why a file cannot be used, in words that follow its name."""


class Unreadable(Damaged):
    """The system does not let it be read now: what is in it may be whole, and worth keeping."""


def digest(name: str, array: np.ndarray) -> str:
    """SHA-256 over name, dtype, shape and bytes: what the attribute ``sha256`` of a dataset holds."""
    head = json.dumps([name, array.dtype.str, list(array.shape)]) + "\n"
    total = hashlib.sha256(head.encode())
    total.update(array.data if array.size else b"")
    return total.hexdigest()


def seal(body: bytes) -> bytes:
    """The 512 bytes that come before ``body``."""
    text = f"format {FORMAT}\nbytes {len(body)}\nsha256 {hashlib.sha256(body).hexdigest()}\n"
    return (_MAGIC + text.encode()).ljust(_SEAL_BYTES, b"\0")


def read(path: Path) -> bytes:
    """The bytes after the seal, checked against it.

    Raises
    ------
    Damaged
    """
    try:
        # Opening anything but a file could block (a pipe) or never end (a device).
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Damaged("is not a file")
        with open(path, "rb") as file:
            found = file.read(_SEAL_BYTES)
            size = os.fstat(file.fileno()).st_size
            if not found.startswith(_MAGIC):
                raise Damaged("is not a checkpoint of parmesan_cagem")
            if size < _SEAL_BYTES:
                raise Damaged(f"is cut short: {size} bytes")
            version, length = (_word(line) for line in [*found.split(b"\n"), b"", b""][1:3])
            if version != str(FORMAT):
                raise Damaged(f"has format version {version!a}, this program reads version {FORMAT}")
            if length != str(size - _SEAL_BYTES):
                raise Damaged(f"has {size - _SEAL_BYTES} bytes after its seal, which says {length!a}")
            body = file.read()
    except FileNotFoundError:
        raise Damaged("is missing") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {files.cause(error)}") from None
    if found != seal(body):
        raise Damaged("is damaged: its SHA-256 is not the one it was sealed with")
    return body


def _word(line: bytes) -> str:
    return line.partition(b" ")[2][:20].decode("ascii", "replace")


def encode(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    """The HDF5 file, built in memory: a full disk then fails a plain write, not the HDF5 library.

    Raises
    ------
    ValueError, TypeError
        A name, dtype or attribute that the format does not hold: the caller's mistake.
    """
    import h5py  # a tenth of a second that --help and a refused flag should not wait for

    values = json.dumps({"arrays": list(arrays), "attributes": dict(attributes)})
    with h5py.File(_VALUES, "w", driver="core", backing_store=False, block_size=1 << 24) as file:
        file.attrs["format_version"] = FORMAT
        _put(file, _VALUES, np.asarray(values.encode()))
        for name, values_of_name in arrays.items():
            array = np.asarray(values_of_name, order="C")
            if array.dtype.str[1:] not in _DTYPES:
                raise TypeError(f"{name}: a checkpoint holds no arrays of dtype {array.dtype}")
            if not _is_name(name) or name in file:
                raise ValueError(f"{name!r}: not a name for an array, or taken")
            _put(file, name, array)
        file.flush()
        return file.id.get_file_image()


def holds(dtype: Any) -> bool:
    """Whether a file can hold arrays of the dtype of that name, as ``<f4``."""
    return isinstance(dtype, str) and dtype[:1] in "<>|" and dtype[1:] in _DTYPES


def _is_name(name: str) -> bool:
    return name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/"))


def _put(file: h5py.File, name: str, array: np.ndarray) -> None:
    dataset = file.create_dataset(name, data=array)
    dataset.attrs["sha256"] = np.bytes_(digest(name, array))


def decode(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes of a file whose seal holds; trusts nothing else: anyone can compute a seal."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            room = len(data)
            values = _get(file, _VALUES, room)
            tree = json.loads(values.item())
            arrays = {}
            for name in tree["arrays"]:
                arrays[name] = _get(file, name, room)
                room -= arrays[name].nbytes  # datasets that share their bytes could fill the memory
            return arrays, dict(tree["attributes"])
    except Damaged:
        raise
    except Exception as error:  # h5py raises nearly every kind
        raise Damaged(f"is not in order inside: {type(error).__name__}: {words(error)}") from None


def _get(file: h5py.File, name: str, room: int) -> np.ndarray:
    """The array ``name``, if it is plain data in this file, of at most ``room`` bytes, and its sum holds."""
    import h5py

    if not _is_name(name):
        raise Damaged(f"lists an array under the name {name!a}")
    item = file
    for part in name.split("/"):
        # Links of other kinds and external storage would read other files of the user's.
        if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            raise Damaged(f"holds no data of its own for {name!a} (absent, or a link)")
        item = item[part]
    layout = item.id.get_create_plist()
    plain = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count() == 0
    if not plain or (item.dtype.str[1:] not in _DTYPES and name != _VALUES) or item.dtype.hasobject:
        raise Damaged(f"holds {name!a} in a form that is not read here")
    if math.prod(item.shape) * item.dtype.itemsize > room:
        raise Damaged(f"says that {name!a} is larger than the file")
    array = np.empty(item.shape, item.dtype)
    if array.size:
        item.id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    kept = item.attrs.get_id("sha256")
    if kept.shape != () or kept.dtype.str != "|S64" or item.attrs["sha256"] != digest(name, array).encode():
        raise Damaged(f"holds a damaged {name!a}: its SHA-256 is wrong")
    return array
