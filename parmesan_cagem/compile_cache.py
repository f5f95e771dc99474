"""Theano's compile folder, one for each process, and a store of compiled modules that all share without a lock.

Theano would have one folder for all processes and a lock that whoever compiles holds: others wait, and fail after two
minutes. Here each process has a folder of its own (its lock is never contended, nor left behind for anybody), takes
what others have compiled out of the store by a hard link, and gives what it has compiled to the store by another. A
name appears in the store with all of its content, or not at all.

``<base>/processes/TOKEN/`` is the folder of a process, ``TOKEN.lock`` is locked by the kernel while that lives and
names its host, and ``<base>/store/<machine>/`` holds ``HASH/NAME.so``: Theano's hash of all that a module is compiled
from, and the name that the module has inside.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parmesan_cagem.files import give_second_name

KEPT_SECONDS = 60 * 24 * 3600.0  # a module that nobody has used for so long leaves the store
STRANGER_SECONDS = 24 * 3600.0  # a lock of another host counts as held for so long, whatever the kernel here says
# What Theano compiles into folders with fixed names, some of it while it is imported.
_FIXED = ("cutils_ext", "lazylinker_ext", "scan_perform")

_mine: tuple[Path, int] | None = None  # the folder of this process and the PID for which it was made


def private_folder(base: Path) -> Path:
    """Make the folder of this process; the same one when called again. It is removed at exit; a killed process's, here.

    Raises
    ------
    OSError
        `base` cannot be written.
    """
    global _mine
    if _mine is None:
        processes = base / "processes"
        processes.mkdir(parents=True, exist_ok=True)
        sweep(processes)
        folder = processes / secrets.token_hex(8)
        _hold(_lock_of(folder))
        folder.mkdir()
        _mine = folder, os.getpid()
        atexit.register(_remove)  # before Theano's own, which runs earlier then
    return _mine[0]


def sweep(processes: Path) -> None:
    """Remove the folders of dead processes."""
    with contextlib.suppress(OSError), os.scandir(processes) as entries:
        for entry in entries:
            if entry.name.endswith(".lock"):
                with contextlib.suppress(OSError):
                    _remove_if_dead(Path(entry.path))


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _hold(path: Path) -> None:
    """Lock the file for as long as this process lives."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is ever swept there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            with contextlib.suppress(OSError):  # a full disk: then it is a stranger's to all
                os.pwrite(descriptor, _host(), 0)
            return
        os.close(descriptor)  # swept between open and flock


def _host() -> bytes:
    return socket.gethostname().encode(errors="replace")


def _remove_if_dead(lock: Path) -> None:
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)  # NFS gives an exclusive lock only to who may write
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locks may hold on one host only (NFS with nolock, Lustre with localflock): there nobody seems to have it.
        young = time.time() - os.fstat(descriptor).st_mtime < STRANGER_SECONDS
        if young and os.pread(descriptor, 300, 0) != _host():
            return
        folder = lock.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():  # a compiler of the dead one may still be writing: next time
            lock.unlink()
    finally:
        os.close(descriptor)


def _remove() -> None:
    if _mine is not None and _mine[1] == os.getpid():  # not in a fork
        shutil.rmtree(_mine[0], ignore_errors=True)
        if not _mine[0].exists():
            with contextlib.suppress(OSError):
                _lock_of(_mine[0]).unlink()


class Store:
    """The modules that all processes on machines like this one share.

    Parameters
    ----------
    base : Path
        Above the stores of all machines.
    compiledir : Path
        Of this process.
    """

    def __init__(self, base: Path, compiledir: Path) -> None:
        self.folder, self.compiledir = base / "store" / _machine(), compiledir

    def take_fixed(self) -> None:
        """Put what has a fixed name into the compile folder, before Theano looks for it."""
        for name in _FIXED:
            with contextlib.suppress(OSError):
                shutil.copytree(self.folder / name, self.compiledir / name)

    def give_fixed(self) -> None:
        """Store what has a fixed name, unless it is there."""
        for name in _FIXED:
            ours, theirs = self.compiledir / name, self.folder / name
            if any(ours.glob("*.so")) and not theirs.exists():
                with contextlib.suppress(OSError), _beside(theirs) as new:
                    shutil.copytree(ours, new, ignore=shutil.ignore_patterns("__pycache__", ".lock"))
                    new.rename(theirs)  # fails where another process was quicker

    def take(self, module_hash: str) -> Path | None:
        """A module out of the store, in a folder of its own in the compile folder; None if it is not there."""
        stored, folder = self.folder / module_hash, self.compiledir / f"tmp{secrets.token_hex(6)}"
        try:
            name = next((name for name in os.listdir(stored) if name.endswith(".so")), None)
            if name is None:  # being removed
                return None
            folder.mkdir()
            (folder / "__init__.py").touch()
            give_second_name(stored / name, folder / name)
        except OSError:  # not there, or gone meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(stored)  # it was used today
        return folder / name

    def give(self, module_hash: str, ours: Path) -> None:
        """Store a module that this process has compiled."""
        with contextlib.suppress(OSError):  # there already, or a full disk: the next process compiles it again
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(ours, "rb") as stream:
                os.fsync(stream.fileno())
            with _beside(self.folder / module_hash) as new:
                new.mkdir()
                give_second_name(ours, new / ours.name)
                new.rename(self.folder / module_hash)  # fails where another process was quicker

    def drop_old(self) -> None:
        """Remove what nobody has used for long, and what was left half given."""
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    age = now - entry.stat().st_mtime
                    if entry.name.endswith(".new") and age > 3600:
                        shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
                    elif entry.name.endswith(".so"):  # of an earlier version of the store
                        os.unlink(entry.path)
                    elif entry.name not in _FIXED and age > KEPT_SECONDS:
                        shutil.rmtree(entry.path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name for what shall be renamed to `path`; on leaving, nothing has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.new")
    try:
        yield new
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(new) if new.is_dir() else new.unlink()


def _machine() -> str:
    """System, Python, NumPy and Theano, and a digest of what the processor can: modules are compiled for just that."""
    import platform  # both take a while to import, and most commands need no Theano
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:  # imported from a checkout; the hash of a module covers its source
            return "unknown"

    versions = [version(name) for name in ("numpy", "theano-pymc")]
    cpu = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
        cpu = "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features")))
    kind = hashlib.sha256(cpu.encode()).hexdigest()[:8]
    return "-".join([platform.platform(), platform.python_version(), *versions, kind])


def share(store: Store, cmodule: Any) -> None:
    """Let Theano's cache of modules (``theano.link.c.cmodule``) use the store."""
    cache = cmodule.ModuleCache
    store.give_fixed()
    atexit.register(store.give_fixed)  # scan_perform, if it was needed
    store.drop_old()
    from_hash, to_cache = cache._get_from_hash, cache._add_to_cache

    def look_up(self: Any, module_hash: str, key: Any) -> Any:
        # key[0] is the version of the Ops' code: without one, a module is not for others.
        if key[0] and module_hash not in self.module_hash_to_key_data and (found := store.take(module_hash)):
            key_pkl = str(found.with_name("key.pkl"))
            self.module_hash_to_key_data[module_hash] = cmodule.KeyData(set(), module_hash, key_pkl, str(found))
            self.loaded_key_pkl.add(key_pkl)
        return from_hash(self, module_hash, key)

    def add(self: Any, module: Any, key: Any, module_hash: str) -> Any:
        data = to_cache(self, module, key, module_hash)
        if key[0]:
            store.give(module_hash, Path(module.__file__))
        return data

    cache._get_from_hash, cache._add_to_cache = look_up, add
