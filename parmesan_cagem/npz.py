"""Arrays from a file that ``np.savez`` wrote, read with distrust: nothing in it can be larger than the file."""

from __future__ import annotations

import math
import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.errors import words

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MEMBERS = 10_000


def load(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    """The arrays by name, read-only.

    Parameters
    ----------
    stream : binary file
        At its beginning, and seekable.

    Raises
    ------
    ValueError
        The file is damaged or is something else; NumPy, zipfile and zlib have an exception for every kind of damage.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            return _arrays(archive)
    except Exception as error:
        raise ValueError(words(error)) from error


def _arrays(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    infos, found = archive.infolist(), {}
    if archive.fp is None:
        raise ValueError("is closed")
    room = archive.fp.seek(0, 2)
    if len(infos) > _MEMBERS:
        raise ValueError(f"has {len(infos)} arrays")
    for info in infos:
        # savez compresses nothing: what claims to be larger than the file, alone or with the others, is a bomb.
        room -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or room < 0:
            raise ValueError(f"{info.filename[:50]!r} is compressed, or larger than the file")
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"{name[:50]!r} is there twice")
        with archive.open(info) as member:
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
            if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{name[:50]!r} holds objects, or has a shape that it does not fill")
            content = member.read()  # to its end, where zipfile compares its CRC
        array = np.frombuffer(content, dtype) if dtype.itemsize and content else np.empty(0, dtype)
        found[name] = array.reshape(shape, order="F" if fortran else "C")
    return found
