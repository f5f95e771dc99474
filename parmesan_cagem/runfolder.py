"""A run's folder: its settings, its log, the names of its other files, and the lock that keeps others out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from parmesan_cagem import checkpoint, files, plain_json
from parmesan_cagem.errors import UserError

LOG_BYTES = 32 << 20  # a thousand epochs take two million

_ABSENT = object()


class RunFolder:
    """``<out>/<name>/`` with config.json, log.jsonl, checkpoint.h5 and record.json, for one process at a time.

    Made by :meth:`create` or :meth:`open`; a context manager. The kernel's lock vanishes with its owner.
    """

    def __init__(self, path: Path, otherwise: str = "give another --name") -> None:
        self.path = Path(path)
        try:
            self._lock = files.lock(self.path / "lock", otherwise=otherwise)
        except OSError as error:
            raise _cannot_write(self.path / "lock", error) from error
        files.sweep_folder(self.path)  # of a killed owner; what the last save of a run left would stay for ever

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def log_path(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def record_path(self) -> Path:
        return self.path / "record.json"

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> RunFolder:
        """Make the folder of a new run and write its settings.

        Raises
        ------
        UserError
            ``path`` holds a run already, belongs to another process, or cannot be written.
        """
        path = Path(path)
        _refuse_a_run(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(path, error) from error
        run = cls(path)
        with run._closed_on_error():
            _refuse_a_run(path)  # again: another process may have been quicker
            files.write_json(run.config_path, dict(config))
        return run

    @classmethod
    def open(
        cls, path: Path, config: Mapping[str, Any], may_change: frozenset[str], later: Mapping[str, Any] | None = None
    ) -> RunFolder:
        """Open the folder of a run to go on with it.

        Parameters
        ----------
        path : Path
            The run's folder.
        config : mapping
            The settings of now; they replace config.json.
        may_change : frozenset of str
            The keys in which they may differ from those the run began with.
        later : mapping, optional
            Keys that a run of an older version lacks, and what their absence means.

        Raises
        ------
        UserError
            No run is there, another process has it, or other keys differ: names each with both values.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise UserError(f"--resume: no run in {path} (no config.json); check --out and --name, or omit --resume")
        run = cls(path)
        with run._closed_on_error():
            written = run.read_config()
            before = {**(later or {}), **written}
            now = json.loads(files.to_json(dict(config)))  # tuples are lists in config.json
            changed = [
                f"{key} was {_show(before, key)}, now {_show(now, key)}"
                for key in sorted({*before, *now} - may_change)
                if before.get(key, _ABSENT) != now.get(key, _ABSENT)
            ]
            if changed:
                raise UserError(
                    f"--resume: {path} began with other settings: {'; '.join(changed)}; give the former "
                    f"values, or another --name"
                )
            if now != written:
                files.write_json(run.config_path, now)
            run._cut_torn_line()
        return run

    def read_config(self) -> dict[str, Any]:
        """The settings in config.json; UserError when it is damaged."""
        return files.read_json(self.config_path, "restore it from a copy, or train again under another --name")

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl and wait until the disk has it. Floats return exactly.

        Raises
        ------
        ValueError
            A number is NaN or infinite.
        UserError
            The file cannot be written; the log is as it was.
        """
        line = (files.to_json(dict(entry)) + "\n").encode(errors="backslashreplace")  # as files.write_json does
        try:
            descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    files.write_and_sync(descriptor, line)
                    if size == 0:
                        files.sync_folder(self.path)
                except OSError:
                    with contextlib.suppress(OSError):  # half a line would spoil the next one; --resume cuts it too
                        os.ftruncate(descriptor, size)
                        if size == 0:
                            os.unlink(self.log_path)
                    raise
            finally:
                files.close(descriptor)
        except OSError as error:
            raise _cannot_write(self.log_path, error) from error

    def log_size(self) -> int:
        """Bytes in log.jsonl: what a checkpoint keeps to cut the log to."""
        try:
            return self.log_path.stat().st_size
        except FileNotFoundError:
            return 0

    def truncate_log(self, size: int) -> None:
        """Cut log.jsonl to its first ``size`` bytes: a resumed run logs anew what came after its checkpoint.

        Raises
        ------
        UserError
            The log is shorter than that, or no line ends there: it is not the log of that checkpoint.
        """
        data = self._log_bytes()
        if not 0 <= size <= len(data) or (size and data[size - 1 : size] != b"\n"):
            raise UserError(
                f"{self.log_path}: no line ends at byte {size} of {len(data)}, where the checkpoint says; "
                f"restore the log from a copy, or train again under another --name"
            )
        if size < len(data):
            self._cut(size)

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl: :func:`read_log`."""
        return read_log(self.path)

    def close(self) -> None:
        """Give the folder free; harmless when repeated."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            files.close(descriptor)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_lock", -1) >= 0:
            self.close()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _log_bytes(self) -> bytes:
        return _bytes_of(self.log_path)

    def _cut_torn_line(self) -> None:
        data = self._log_bytes()
        if not data.endswith(b"\n") and data:
            self._cut(data.rfind(b"\n") + 1)

    def _cut(self, size: int) -> None:
        try:
            descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
            finally:
                files.close(descriptor)
        except OSError as error:
            raise _cannot_write(self.log_path, error) from error


def is_held(folder: Path) -> bool:
    """Whether a process has the run in ``folder`` at this moment, for training or evaluation."""
    try:
        descriptor = os.open(Path(folder) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks on this file system
        return False
    finally:
        files.close(descriptor)
    return False


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl in order; a last line without its end (a crash) is left out.

    Without the folder's lock: a run in training can be looked at.

    Raises
    ------
    UserError
        A line is damaged: names it.
    """
    path, entries = Path(folder) / "log.jsonl", []
    for number, line in enumerate(_bytes_of(path).split(b"\n")[:-1], start=1):
        try:
            entry = plain_json.parse(line)
            if not isinstance(entry, dict):
                raise ValueError("not an object")
            if "epoch" in entry:
                _check_epoch(entry)
        except ValueError as error:
            raise UserError(
                f"{path}: line {number} is damaged ({error}); restore the log from a copy, or remove that line"
            ) from error
        entries.append(entry)
    return entries


def _check_epoch(entry: Mapping[str, Any]) -> None:
    """An epoch's line holds numbers, lists of numbers, and numbers by name: whoever draws it adds and compares them."""
    if type(entry["epoch"]) is not int or entry["epoch"] < 0:
        raise ValueError("epoch: not a number of epochs")
    for name, value in entry.items():
        inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        if not all(type(one) in (int, float) for one in inner):
            raise ValueError(f"{name}: not a number")


def _bytes_of(log: Path) -> bytes:
    try:
        return files.read_bytes(log, LOG_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{log}: cannot read: {files.cause(error)}") from error


def _refuse_a_run(path: Path) -> None:
    names = ("config.json", "log.jsonl", "record.json", checkpoint.NEWEST, checkpoint.PREVIOUS)
    held = [name for name in names if os.path.lexists(path / name)]
    if held:
        raise UserError(
            f"{path} exists and holds a run ({held[0]}): pass --resume to go on with it, or --out/--name for another"
        )


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"--out {path}: cannot write: {files.cause(error)}; name another folder, or free some space")


def _show(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key]) if key in config else "absent"
