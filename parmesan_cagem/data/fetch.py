"""Files known by size and SHA-256: fetched from mirrors that may be dead or lying, read with distrust."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from parmesan_cagem.errors import UserError

_log = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS = 10, 30
_BLOCK, _GZIP_MEMBERS = 1 << 16, 10_000  # of a gzip file: one that is packed in parallel has some hundreds
FILE_SECONDS = 600  # for one file from one mirror: a mirror that trickles is as good as dead


@dataclass(frozen=True)
class RemoteFile:
    """A file known before it is fetched: its name under a mirror's address, bytes, and SHA-256 (hex).

    Where only an MD5 is known, `sha256` is empty and `size` an upper bound.
    """

    name: str
    size: int
    sha256: str
    md5: str = ""


def user_cache() -> Path:
    """Name the folder: ``$XDG_CACHE_HOME/cagem``, or ``~/.cache/cagem``."""
    # A relative $XDG_CACHE_HOME is to be ignored (its specification); a container's user may have no home.
    candidates = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache"), tempfile.gettempdir()
    return Path(next(base for base in candidates if os.path.isabs(base))) / "cagem"


def fetch(files: Sequence[RemoteFile], mirrors: Sequence[str], folder: Path, fix: str) -> None:
    """Make `folder` hold all `files`, downloading those which it lacks or holds damaged.

    A file appears under its name only when whole and checked: pooch writes beside it, compares the SHA-256,
    and renames. Each failure of a mirror is logged as a warning, and the next mirror tried.

    Parameters
    ----------
    files : sequence of RemoteFile
    mirrors : sequence of str
        Addresses to which a file's name is appended, in order of preference.
    folder : Path
    fix : str
        What the user can do when every mirror fails; ends the message.

    Raises
    ------
    UserError
        If no mirror gives one of the files, or `folder` cannot be written.
    """
    order = list(mirrors)
    for file in files:
        failures = []
        for mirror in tuple(order):
            failure = _fetch_one(file, mirror, folder, fix)
            if failure is None:
                break
            _log.warning("mirror %s: %s", mirror, failure)
            failures.append(f"{mirror}: {failure}")
            # Last in line for the next files, so a dead mirror costs its timeout once.
            order.remove(mirror)
            order.append(mirror)
        else:
            raise UserError(f"no mirror gave {file.name} ({'; '.join(failures)}); {fix}")


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page: what proxies and dead mirrors like to send."""
    return head.lstrip().lower().startswith((b"<!doctype", b"<html"))


class _BadMirror(Exception):
    """What a mirror sent is not the file."""


def _fetch_one(file: RemoteFile, mirror: str, folder: Path, fix: str) -> str | None:
    """Fetch one file from one mirror; return what was wrong with the mirror, or None."""
    import pooch  # these only here: importing them takes half a second, and most runs have their data
    import requests
    import urllib3

    def download(url: str, output: str, _pooch: object) -> None:
        # pooch's own downloader bounds neither bytes nor total time, and unpacks a .gz served as encoded.
        stop = time.monotonic() + FILE_SECONDS
        received = 0
        with (
            requests.get(
                url,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                stream=True,
                headers={"Accept-Encoding": "identity"},
            ) as answer,
            open(output, "wb") as stream,
        ):
            if answer.status_code != 200:
                raise _BadMirror(f"HTTP status {answer.status_code} for {file.name}")
            while block := answer.raw.read1(1 << 16):  # read() would wait for a full block
                if received == 0 and looks_like_html(block):
                    raise _BadMirror(f"sent an HTML page as {file.name}")
                received += len(block)
                if received > file.size:
                    raise _BadMirror(f"{file.name} is longer than its {file.size} bytes")
                if time.monotonic() > stop:
                    raise _BadMirror(f"{file.name} took more than {FILE_SECONDS} s")
                stream.write(block)
        if received < file.size and file.sha256:
            raise _BadMirror(f"{file.name} ends after {received} of {file.size} bytes")

    url = mirror.rstrip("/") + "/" + file.name
    try:
        known = f"sha256:{file.sha256}" if file.sha256 else f"md5:{file.md5}"
        pooch.retrieve(url, known, fname=file.name, path=folder, downloader=download)
    except _BadMirror as error:
        return str(error)
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        return f"no answer in time for {file.name}"
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        return f"connection failed for {file.name} ({type(error).__name__})"
    except ValueError:  # pooch's, after comparing them
        return f"{file.name} has the wrong {'SHA-256' if file.sha256 else 'MD5'}"
    except OSError as error:
        raise UserError(f"{folder}: cannot write the cache ({error.strerror or error}); {fix}") from error
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
        raise UserError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
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
