"""Files known by size and SHA-256: fetched from mirrors that may be dead or lying, read with distrust."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from parmesan_cagem.data.mirror import BadMirror, Limits, blocks, looks_like_html
from parmesan_cagem.errors import UserError
from parmesan_cagem.files import cause, put_in_place, sweep_folder, temporary

_log = logging.getLogger(__name__)

_BLOCK, _GZIP_MEMBERS = 1 << 16, 10_000  # of a gzip file: one that is packed in parallel has some hundreds


@dataclass(frozen=True)
class RemoteFile:
    """A file known before it is fetched: its name under a mirror's address, bytes, and SHA-256 (hex).

    Where only an MD5 is known, `sha256` is empty and `size` an upper bound.
    """

    name: str
    size: int
    sha256: str
    md5: str = ""

    def digest_of(self, path: Path) -> str:
        """What ``sha256`` or ``md5`` would have to be for the file at `path`; empty if it cannot be read."""
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256" if self.sha256 else "md5").hexdigest()
        except OSError:
            return ""


def user_cache() -> Path:
    """Name the folder: ``$XDG_CACHE_HOME/cagem``, or ``~/.cache/cagem``."""
    # A relative $XDG_CACHE_HOME is to be ignored (its specification); a container's user may have no home.
    candidates = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache"), tempfile.gettempdir()
    return Path(next(base for base in candidates if os.path.isabs(base))) / "cagem"


def fetch(
    files: Sequence[RemoteFile], mirrors: Sequence[str], folder: Path, fix: str, limits: Limits | None = None
) -> None:
    """Make `folder` hold all `files`, downloading those which it lacks or holds damaged.

    A file appears under its name only when whole and checked: it is written beside, its digest compared, renamed. So
    any number of processes may fetch at once, and none waits for another. What dead ones left is removed. Each failure
    of a mirror is logged as a warning, and the next mirror tried.

    Parameters
    ----------
    files : sequence of RemoteFile
    mirrors : sequence of str
        Addresses to which a file's name is appended, in order of preference.
    folder : Path
    fix : str
        What the user can do when every mirror fails; ends the message.
    limits : Limits, optional
        What is waited for.

    Raises
    ------
    UserError
        If no mirror gives one of the files, or `folder` cannot be written.
    """
    order = list(mirrors)
    sweep_folder(folder)
    for file in files:
        path, failures = folder / file.name, []
        if file.digest_of(path) == (file.sha256 or file.md5):
            continue
        for mirror in tuple(order):
            failure = _fetch_one(file, mirror, path, fix, limits or Limits())
            if failure is None:
                break
            _log.warning("mirror %s: %s", mirror, failure)
            failures.append(f"{mirror}: {failure}")
            # Last in line for the next files, so a dead mirror costs its timeout once.
            order.remove(mirror)
            order.append(mirror)
        else:
            raise UserError(f"no mirror gave {file.name} ({'; '.join(failures)}); {fix}")


def _fetch_one(file: RemoteFile, mirror: str, path: Path, fix: str, limits: Limits) -> str | None:
    """Fetch one file from one mirror; return what was wrong with the mirror, or None."""
    digest, received = hashlib.new("sha256" if file.sha256 else "md5"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path) as (descriptor, name), open(descriptor, "wb", closefd=False) as stream:
            for block in blocks(mirror.rstrip("/") + "/" + file.name, file.name, file.size, limits):
                received += len(block)
                digest.update(block)
                stream.write(block)
            if received < file.size and file.sha256:
                return f"{file.name} ends after {received} of {file.size} bytes"
            if digest.hexdigest() != (file.sha256 or file.md5):
                return f"{file.name} has the wrong {'SHA-256' if file.sha256 else 'MD5'}"
            stream.flush()
            os.fsync(descriptor)
            put_in_place({name: path})
    except BadMirror as error:
        return str(error)
    except OSError as error:
        raise UserError(f"{path}: cannot write the cache ({cause(error)}); {fix}") from error
    return None


def read_gz(path: Path, size: int, sha256: str) -> bytes:
    """Unpack one gzip file and check its content, whatever the compression, in memory bounded by `size`.

    Parameters
    ----------
    path : Path
    size : int
        Bytes of the unpacked content.
    sha256 : str
        Of the unpacked content, hex.

    Raises
    ------
    UserError
        Saying which of these it is: unreadable, not gzip, truncated, damaged, of the wrong length or content.
    """
    fix = "fix: fetch it again"
    try:
        if not path.is_file():  # a pipe would block, a device never end
            raise UserError(f"{path}: not a regular file; {fix}")
        with path.open("rb") as stream:
            head = stream.read(512)
            stream.seek(0)
            if not head:
                raise UserError(f"{path}: truncated: the file is empty; {fix}")
            if not head.startswith(b"\x1f\x8b"):
                if looks_like_html(head):
                    raise UserError(f"{path}: not a gzip file but looks like an HTML page; {fix}")
                if head.startswith(b"\0\0\x08"):
                    raise UserError(f"{path}: not a gzip file but looks like an IDX file; fix: gzip it")
                raise UserError(f"{path}: not a gzip file; {fix}")
            content = _gunzip(stream, size)
    except EOFError as error:
        raise UserError(f"{path}: truncated gzip file; {fix}") from error
    except zlib.error as error:
        raise UserError(f"{path}: damaged gzip file ({error}); {fix}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({cause(error)}); fix its permissions") from error
    check_content(content, size, sha256, str(path))
    return content


def _gunzip(stream: IO[bytes], size: int) -> bytes:
    """At most one byte more than `size`, which shows a wrong length, however long.

    Not gzip.GzipFile, which takes minutes for a long name in a header, or for a million empty members.

    Raises
    ------
    EOFError, zlib.error
        The file ends early, or is damaged.
    """
    unpacked, room, packed, left = [], size + 1, b"", 2 * size + (1 << 20)

    def more() -> bytes:
        nonlocal left
        block = stream.read(_BLOCK)
        left -= len(block)
        if left < 0:
            raise zlib.error("it is far larger than what it should unpack to")
        return block

    for _ in range(_GZIP_MEMBERS):
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with a gzip header, and its CRC checked
        while not inflate.eof:
            if not packed and not (packed := more()):
                raise EOFError
            block = inflate.decompress(packed, room)
            packed = inflate.unconsumed_tail
            unpacked.append(block)
            room -= len(block)
            if not room:
                return b"".join(unpacked)
        packed = inflate.unused_data.lstrip(b"\0")  # zeros may pad a member
        while not packed and (block := more()):
            packed = block.lstrip(b"\0")
        if not packed:
            return b"".join(unpacked)
    raise zlib.error(f"it has more than {_GZIP_MEMBERS} members")


def check_content(content: bytes, size: int, sha256: str, given: str) -> None:
    """Compare content with its known size and SHA-256; raise UserError, its message begun by `given`."""
    if len(content) != size:
        got = f"only {len(content)}" if len(content) < size else "more"
        raise UserError(f"{given}: wrong length: unpacks to {got} bytes, not {size}; fix: fetch it again")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise UserError(f"{given}: wrong checksum: SHA-256 {digest}, not {sha256}; fix: fetch it again")
