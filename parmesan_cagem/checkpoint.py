"""Checkpoints: named arrays and plain values in one HDF5 file, written atomically and checked when read.

``checkpoint.h5`` is the newest, ``checkpoint.previous.h5`` the one before. A file begins with a seal of 512
bytes (HDF5 calls it a user block and skips it): format version, length and SHA-256 of what follows. So the
HDF5 library, which may crash on damaged input, never sees a byte that is not as it was written. Inside, every
dataset carries a SHA-256 of its own, so that what other tools copy can be checked too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parmesan_cagem import files
from parmesan_cagem.errors import UserError

FORMAT = 1
NEWEST, PREVIOUS = "checkpoint.h5", "checkpoint.previous.h5"

_MAGIC = b"parmesan_cagem checkpoint\n"
_SEAL_BYTES = 512  # the smallest user block of HDF5
_VALUES = "attributes_json"  # the dataset that holds the attributes and the list of arrays
# Longer floats are left out: their padding bytes are arbitrary, and differ between machines.
_DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])


class CheckpointError(UserError):
    """A checkpoint cannot be written or read; one line, with the fix."""


class _Damaged(Exception):
    """Why one file cannot be used; not an error while the other one can."""


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`load` found: ``path`` says in which file, ``warnings`` why not in the newest."""

    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]
    path: Path
    warnings: tuple[str, ...] = ()


def exists(folder: Path) -> bool:
    """Whether ``folder`` holds a checkpoint file, sound or not."""
    return any((Path(folder) / name).is_file() for name in (NEWEST, PREVIOUS))


def save(folder: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Path:
    """Write a checkpoint; the one that was there becomes the previous one.

    At every instant one of the two names holds a sound checkpoint; a failed save leaves both as they were.

    Parameters
    ----------
    folder : Path
        Made when absent.
    arrays : mapping of str to ndarray
        Booleans, integers, floats up to 64 bits, complex numbers; any shape. Slashes in names make groups.
    attributes : mapping
        What JSON can hold, NaN included; floats return exactly. (As in JSON, tuples return as lists.)

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        The file cannot be written: names file and cause.
    ValueError, TypeError
        A name, dtype or attribute that the format does not hold: the caller's mistake.
    """
    path = Path(folder) / NEWEST
    try:
        body = _encode(arrays, attributes)
        path.parent.mkdir(parents=True, exist_ok=True)
        _store(path, body)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot save the checkpoint: {files.cause(error)}; the last saved state is intact; "
            f"free some space or make the folder writable, then go on with --resume"
        ) from error
    return path


def load(folder: Path) -> Checkpoint:
    """Read the newest checkpoint of ``folder``, or the previous one when the newest is damaged.

    Raises
    ------
    CheckpointError
        Neither can be used: names both, the reasons and the fix.
    """
    folder = Path(folder)
    if not exists(folder):
        raise CheckpointError(
            f"{folder}: no checkpoint ({NEWEST} or {PREVIOUS}); name the run's folder, or omit --resume"
        )
    reasons = []
    for name in (NEWEST, PREVIOUS):
        path = folder / name
        try:
            arrays, attributes = _decode(_read(path))
        except _Damaged as reason:
            reasons.append(f"{name} {reason}")
        else:
            warnings = tuple(f"{folder}: {reason}; using {name}, the save before" for reason in reasons)
            return Checkpoint(arrays, attributes, path, warnings)
    raise CheckpointError(
        f"{folder}: no usable checkpoint: {'; '.join(reasons)}; restore one of them from a copy, or train "
        f"again under another --name"
    )


def digest(name: str, array: np.ndarray) -> str:
    """SHA-256 over name, dtype, shape and bytes: what the attribute ``sha256`` of a dataset holds."""
    head = json.dumps([name, array.dtype.str, list(array.shape)]) + "\n"
    total = hashlib.sha256(head.encode())
    total.update(array.data if array.size else b"")
    return total.hexdigest()


def _store(path: Path, body: bytes) -> None:
    """Write and rotate. The old file gets a second name first, so that the new one replaces it in one go."""
    previous = path.with_name(PREVIOUS)
    files.sweep(path)
    files.sweep(previous)
    with files.temporary(path) as (descriptor, new):
        files.write_and_sync(descriptor, _seal(body), body)
        if not _is_sound(path):  # absent, or not worth more than the previous one
            os.replace(new, path)
            files.sync_folder(path.parent)
            return
        spare = files.temporary_name(previous)
        try:
            files.give_second_name(path, spare)
            os.replace(new, path)
            try:
                files.sync_folder(path.parent)  # the new one is safe on disk before the oldest goes
                os.replace(spare, previous)
            except OSError:
                os.replace(spare, path)
                raise
        finally:
            with contextlib.suppress(OSError):
                os.unlink(spare)


def _seal(body: bytes) -> bytes:
    text = f"format {FORMAT}\nbytes {len(body)}\nsha256 {hashlib.sha256(body).hexdigest()}\n"
    return (_MAGIC + text.encode()).ljust(_SEAL_BYTES, b"\0")


def _is_sound(path: Path) -> bool:
    try:
        _read(path)
    except _Damaged:
        return False
    return True


def _read(path: Path) -> bytes:
    """The bytes after the seal, checked against it."""
    try:
        # Opening anything but a file could block (a pipe) or never end (a device).
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _Damaged("is not a file")
        with open(path, "rb") as file:
            seal = file.read(_SEAL_BYTES)
            size = os.fstat(file.fileno()).st_size
            if not seal.startswith(_MAGIC):
                raise _Damaged("is not a checkpoint of parmesan_cagem")
            version, length = (_word(line) for line in [*seal.split(b"\n"), b"", b""][1:3])
            if version != str(FORMAT):
                raise _Damaged(f"has format version {version!a}, this program reads version {FORMAT}")
            if length != str(size - _SEAL_BYTES):
                raise _Damaged(f"has {size - _SEAL_BYTES} bytes after its seal, which says {length!a}")
            body = file.read()
    except FileNotFoundError:
        raise _Damaged("is missing") from None
    except OSError as error:
        raise _Damaged(f"cannot be read: {files.cause(error)}") from None
    if seal != _seal(body):
        raise _Damaged("is damaged: its SHA-256 is not the one it was sealed with")
    return body


def _word(line: bytes) -> str:
    return line.partition(b" ")[2][:20].decode("ascii", "replace")


def _encode(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    """The HDF5 file, built in memory: a full disk then fails a plain write, not the HDF5 library."""
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


def _is_name(name: str) -> bool:
    return name.isprintable() and all(part not in ("", ".", "..") for part in name.split("/"))


def _put(file: h5py.File, name: str, array: np.ndarray) -> None:
    dataset = file.create_dataset(name, data=array)
    dataset.attrs["sha256"] = np.bytes_(digest(name, array))


def _decode(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes of a file whose seal holds; trusts nothing else: anyone can compute a seal."""
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
    except _Damaged:
        raise
    except Exception as error:  # h5py raises nearly every kind
        text = " ".join(str(error).split())[:200]
        raise _Damaged(f"is not in order inside: {type(error).__name__}: {text}") from None


def _get(file: h5py.File, name: str, room: int) -> np.ndarray:
    """The array ``name``, if it is plain data in this file, of at most ``room`` bytes, and its sum holds."""
    if not _is_name(name):
        raise _Damaged(f"lists an array under the name {name!a}")
    item = file
    for part in name.split("/"):
        # Links of other kinds and external storage would read other files of the user's.
        if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            raise _Damaged(f"holds no data of its own for {name!a} (absent, or a link)")
        item = item[part]
    layout = item.id.get_create_plist()
    plain = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count() == 0
    if not plain or (item.dtype.str[1:] not in _DTYPES and name != _VALUES) or item.dtype.hasobject:
        raise _Damaged(f"holds {name!a} in a form that is not read here")
    if math.prod(item.shape) * item.dtype.itemsize > room:
        raise _Damaged(f"says that {name!a} is larger than the file")
    array = np.empty(item.shape, item.dtype)
    if array.size:
        item.id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    kept = item.attrs.get_id("sha256")
    if kept.shape != () or kept.dtype.str != "|S64" or item.attrs["sha256"] != digest(name, array).encode():
        raise _Damaged(f"holds a damaged {name!a}: its SHA-256 is wrong")
    return array
