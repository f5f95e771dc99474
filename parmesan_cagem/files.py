"""Files that are written whole or not at all, for records, settings and checkpoints."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import plain_json
from parmesan_cagem.errors import UserError

JSON_BYTES = 1 << 20  # of a file of JSON: our largest has 64 kB; parsed, text takes up to thirty times its size


def cause(error: OSError) -> str:
    """What went wrong, in the system's words, without a path or a number.

    Examples
    --------
    >>> cause(PermissionError(13, "Permission denied", "x"))
    'Permission denied'
    """
    return " ".join((error.strerror or str(error) or type(error).__name__).split())


def where(error: OSError) -> str | None:
    """What to tell a user of an error that names a file; None of one that names none.

    Examples
    --------
    >>> where(PermissionError(13, "Permission denied", "runs/x"))
    'runs/x: Permission denied; name another, or mend that one'
    """
    named = error.filename2 or error.filename
    return None if named is None else f"{os.fsdecode(named)}: {cause(error)}; name another, or mend that one"


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON text; NumPy scalars become numbers of the same value.

    Raises
    ------
    ValueError
        If a number is NaN or infinite: JSON has no word for it, and a reader elsewhere would choke.
    """
    return json.dumps(value, indent=indent, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False, default=_plain)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically: sorted keys, indented by two, a newline at the end."""
    # Of a folder's name, a byte that is no text is a lone surrogate: JSON has an escape for it, the same as Python's.
    write_atomically(path, (to_json(value, indent=2, sort_keys=True) + "\n").encode(errors="backslashreplace"))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at ``path`` by ``data``: a crash at any instant leaves the old file or the new one.

    Raises
    ------
    UserError
        Names the file and the cause; the old file is unchanged.
    """
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Replace files of one folder. All are on the disk before the first one gets its name, and they get them in order.

    Raises
    ------
    UserError
        Names the file and the cause; every old file is unchanged.
    """
    names: dict[Path, Path] = {}
    with contextlib.ExitStack() as stack:
        try:
            for path, data in contents.items():
                sweep(path)
                descriptor, name = stack.enter_context(temporary(path))
                write_and_sync(descriptor, data)
                names[name] = path
            put_in_place(names)
        except OSError as error:
            path = Path(os.fsdecode(error.filename2 or path))
            raise UserError(
                f"{path}: cannot write: {cause(error)}; free some space or name another folder with --out"
            ) from error


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes: a pipe would block, a device never end.

    Raises
    ------
    OSError
        It cannot be read, is something else, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block here
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(descriptor, "rb", closefd=False) as file:  # Python makes room for all that is asked for
            data = file.read(min(facts.st_size, limit) + 1)
            if facts.st_size < len(data):  # it grows, or tells no size, as those in /proc
                data += file.read(limit + 1 - len(data))
    except OSError as error:
        error.filename = str(path)  # which reading from a descriptor does not know
        raise
    finally:
        close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit} bytes", str(path))
    return data


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """The JSON object in the file at ``path``.

    Raises
    ------
    UserError
        One line, which ends in ``fix``: the file cannot be read or holds something else.
    """
    try:
        value = plain_json.parse(read_bytes(path, JSON_BYTES))
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except OSError as error:
        raise UserError(f"{path}: cannot read: {cause(error)}; {fix}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON as expected ({error}); {fix}") from error
    return value


def lock(path: Path, what: str = "", otherwise: str = "give another --name") -> int:
    """Lock the file at ``path`` for this process; it then tells PID and host.

    Parameters
    ----------
    path : Path
    what : str
        What the lock stands for, for the refusal; the folder, when empty.
    otherwise : str
        What somebody refused can do besides waiting.

    Returns
    -------
    int
        The descriptor to close. The kernel frees the lock of a process that dies.

    Raises
    ------
    UserError
        Another process holds it: names that process.
    OSError
        The file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)  # whoever has just locked it may not have written yet who it is
        owner = " ".join(os.pread(descriptor, 300, 0).decode(errors="replace").split())
        os.close(descriptor)
        raise UserError(
            f"{what or path.parent} is in use by {owner or 'another process'}; wait for it, stop it, or {otherwise}"
        ) from None
    except OSError as error:
        warnings.warn(f"{path}: no locks here ({cause(error)}); start one run at a time", stacklevel=2)
    with contextlib.suppress(OSError):  # a full disk: the lock holds, only its label is missing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"PID {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
    return descriptor


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that nobody uses and that :func:`sweep` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[tuple[int, Path]]:
    """Open a new file beside ``path`` for writing; on leaving, it is gone unless it was renamed.

    Yields
    ------
    (descriptor, name) : tuple of int and Path
        The file is locked while this process lives: that is how :func:`sweep` knows which files are stray.
        (A PID in the name would not do: containers reuse PIDs, and hosts share folders.)
    """
    while True:
        name = temporary_name(path)
        # 0o666 less the umask, as other files of the user; tempfile's 0o600 would hide results from a group.
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: nothing is ever swept there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink == 0:  # swept between open and flock
                continue
            yield descriptor, name
            return
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)
            close(descriptor)


def put_in_place(files: Mapping[Path, Path]) -> None:
    """Rename new files, all in one folder, to the names that they are to have, and wait until the disk has those.

    Raises
    ------
    OSError
        Then every name holds what it held before (where the file system has hard links: else perhaps the new file).
    """
    done: list[tuple[Path, Path]] = []
    with contextlib.ExitStack() as stack:
        spares: dict[Path, Path] = {}  # a second name of what a file replaces
        for path in files.values():
            if (spare := stack.enter_context(_second_name(path))) is not None:
                spares[path] = spare
        try:
            for new, path in files.items():
                lone = path not in spares and not os.path.lexists(path)
                os.replace(new, path)
                if lone or path in spares:
                    done.append((new, path))
            sync_folder(path.parent)
        except OSError:
            for new, path in done:
                with contextlib.suppress(OSError):
                    if path in spares:
                        os.link(path, new)  # whose it is may want to keep it
                        os.replace(spares[path], path)
                    else:
                        os.replace(path, new)
            raise


@contextlib.contextmanager
def _second_name(path: Path) -> Iterator[Path | None]:
    """A second name of the file at ``path`` while this lasts; None where nothing is, or the file system has no links.

    The file is locked before it gets that name, so that no :func:`sweep` takes it: shared, for the lock is the file's
    and not the name's, and another writer may hold its own second name of it.
    """
    spare, linked = temporary_name(path), False
    descriptor: int | None = None
    try:
        with contextlib.suppress(OSError):  # not there; or not ours to read, and a sweep cannot open it either
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # refused: who wrote it still has it locked
        with contextlib.suppress(OSError):
            os.link(path, spare)
            linked = True
        yield spare if linked else None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(spare)
        if descriptor is not None:
            close(descriptor)


def close(descriptor: int) -> None:
    """Close what is on disk, or was only read: a failure has nothing to tell that fsync has not told."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def give_second_name(path: Path, name: Path) -> None:
    """Make ``name`` a second name of the file at ``path``; a copy where the file system has no hard links."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)
        with open(name, "rb") as copy:
            os.fsync(copy.fileno())


def sweep(path: Path) -> None:
    """Remove what dead writers of ``path`` left behind; a living writer's file is locked and stays."""
    _sweep(path.parent, rf"\.{re.escape(path.name)}\..*\.tmp")


def sweep_folder(folder: Path) -> None:
    """Remove what dead writers of any file in ``folder`` left behind: some files are never written again."""
    _sweep(folder, r"\..+\.[0-9a-f]{16}\.tmp")


def write_and_sync(descriptor: int, *parts: bytes | memoryview) -> None:
    """Write all of ``parts``, one after the other, and wait until the disk has them."""
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in ``folder``: a rename is only durable then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot, and need not
            raise
    finally:
        close(descriptor)


def _sweep(folder: Path, pattern: str) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(pattern, entry.name, re.DOTALL):
                with contextlib.suppress(OSError):
                    _remove_unlocked(entry.path)


def _remove_unlocked(name: str) -> None:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, os.O_RDWR | flags)  # NFS gives an exclusive lock only to who may write
    except PermissionError:  # of another user, in a folder of both
        descriptor = os.open(name, os.O_RDONLY | flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)
    finally:
        close(descriptor)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON-able: {value!r}")
