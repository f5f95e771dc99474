"""What malicious files are made of: bombs, calls, more bytes than there are; each must be refused, in one line."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture.damage_worker import Format

Case = tuple[str, bytes, Callable[[Path], Any]]  # name, content, and the loader that must refuse it
MIB = 1 << 20


def as_format(case: Case) -> Format:
    """For a worker, which reads the sound file of no format first, and then this one."""
    name, content, load = case

    def once(path: Path) -> Any:
        data = path.read_bytes() if path.stat().st_size < 10 else b""
        return "sound" if data == b"sound" else load(path)

    return Format(name, lambda _: content, once, b"sound")


class Call:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def sparse(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``load`` of a file of 3 GiB, which takes no room on the disk."""

    def grown(path: Path) -> Any:
        os.truncate(path, 3 << 30)
        return load(path)

    return grown


def zeros(mib: int, before: bytes = b"") -> bytes:
    """Deflated: the bytes before, and so many MiB of zeros, made in a moment."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * mib + b"\x03\0"


def zlib_bomb(mib: int) -> bytes:
    """Its checksum is wrong, but comes after the harm."""
    return b"\x78\x9c" + zeros(mib) + bytes(4)


def gzip_bomb(mib: int, before: bytes = b"") -> bytes:
    """The same as a gzip file."""
    return b"\x1f\x8b\x08" + bytes(7) + zeros(mib, before) + bytes(8)


def zip_with(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of those members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()
