"""A command line in this process, the work itself left out: did it begin, was it refused in one line, or neither?"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import io
import os
import shutil
import signal
import stat
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from unittest import mock

import numpy as np

from parmesan_cagem import cli, data, models, pipeline
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from torture import flags_lines
from torture.flags_lines import RUNS, Command, shown

HUNG = 30.0  # seconds: a line that has neither begun nor ended by then never will
ANSWERS = {0: "done", 2: "refused"}
# What they say besides: that a cell lacks a record, that a queue is not finished.
UNFINISHED = {"cagem tables", "cagem queue"}
# They print a line for each thing that they could not read, and then their own.
TALKATIVE = {"cagem report", "cagem figures", "cagem units", "cagem queue"}


class Begun(BaseException):
    """Everything was checked and the work would begin."""


class Fault(AssertionError):
    """A line that neither began nor was refused as promised."""


class _Hung(BaseException):
    pass


@contextlib.contextmanager
def world(run: Path) -> Iterator[Judge]:
    """A current folder with everything that the lines name; small data, and nothing that computes."""
    before, top = Path.cwd(), Path(tempfile.mkdtemp(prefix="torture-flags-"))
    real = data.load

    def load(name: str, data_dir: Path | None, unverified: bool = False) -> Dataset:
        if (name == "mnist" and unverified) or data_dir is not None:
            return real(name, data_dir, unverified)
        return small[name]

    def begin(*_: Any, **__: Any) -> NoReturn:
        raise Begun

    # No model computes here: what a run script asks for begins, what a run's folder holds is built once.
    built = functools.cache(lambda settings, pixels: real_build(Experiment.from_dict(dict(settings)), pixels))
    real_build = models.build

    def build(e: Experiment, pixels: int) -> Any:
        return built(tuple(e.to_dict().items()), pixels)

    small = {"mnist": _every_tenth(real("mnist", None)), "omniglot": _strokes()}
    with contextlib.ExitStack() as stack:
        # parmesan_cagem.data last: a module first imported after it would keep the false `load` for good.
        for place in ("parmesan_cagem.pipeline", "parmesan_cagem.data.commands", "parmesan_cagem.data"):
            stack.enter_context(mock.patch(f"{place}.load", load))
        for place in (
            *("run_queue._run", "data.commands.fetch", "commands.figures._Studio.draw", "report.decode.section"),
            *("recording.finish", "shards.compute", "units.top_divergence", "pricing.finish"),
        ):
            stack.enter_context(mock.patch(f"parmesan_cagem.{place}", begin))
        stack.enter_context(mock.patch("parmesan_cagem.models.build", build))
        for name in ("check_data", "check_data_of"):  # fewer images than the run was trained on
            stack.enter_context(mock.patch(f"parmesan_cagem.trained.{name}", return_value=None))
        stack.enter_context(mock.patch("parmesan_cagem.provenance.versions", begin))  # a run script's first look
        stack.enter_context(mock.patch.dict(os.environ, {"HOME": str(top), "XDG_CACHE_HOME": str(top / "cache")}))
        for name in ("CAGEM_DATA", "CAGEM_RESULTS", "COLUMNS"):
            os.environ.pop(name, None)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # shutil's, of a folder that is gone
        try:
            with without_privileges():
                yield Judge(top, run)
        finally:
            os.chdir(before)
            _remove(top)


class Judge:
    """Tries lines in a furnished folder, which is made anew whenever one has changed it."""

    def __init__(self, top: Path, run: Path) -> None:
        self._top, self._run = top, run
        self._number = 0
        self._furnish()

    def __call__(self, command: Command, line: Sequence[str], encoding: str = "utf-8") -> tuple[str, str]:
        """``begun``, ``done``, ``unfinished`` or ``refused``, and what stderr got.

        Raises
        ------
        Fault
            It was none of these, or was refused after something had been written.
        """
        outcome, _, err = self._outcome(command, line, encoding)
        after = _snapshot(self._place)
        changed = sorted(name for name in {*self._before, *after} if self._before.get(name) != after.get(name))
        if changed:
            self._furnish()
        what = f"{command.title}: {shown(line)}"
        if outcome == "refused":
            lines = err.splitlines()
            first = f"{command.program}: "
            if not lines or not lines[-1].startswith(first) or not err.endswith("\n"):
                raise Fault(f"{what}: its last line is not of {first!r}: {err[-300:]!a}")
            if len(lines) > 1 and command.title not in TALKATIVE:
                raise Fault(f"{what}: {len(lines)} lines: {err[-300:]!a}")
            if len(lines[-1]) > 3000 or not lines[-1].isprintable():
                raise Fault(f"{what}: a line of {len(lines[-1])} characters, or one that does not print")
            # The lock of a run's folder says who looked last; figures and lines before the first bad one stay.
            left = [name for name in changed if not name.endswith("/lock")]
            if left and command.title not in TALKATIVE:
                raise Fault(f"{what}: refused, but {left[:3]} changed: {lines[-1][:200]}")
        elif "Traceback" in err:
            raise Fault(f"{what}: {err[-300:]!a}")
        return outcome, err

    def _outcome(self, command: Command, line: Sequence[str], encoding: str) -> tuple[str, str, str]:
        out, err = _terminal(encoding, "strict"), _terminal(encoding, "backslashreplace")
        status: Any = None
        what = f"{command.title}: {shown(line)}"
        former = signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, HUNG)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                if command.program in RUNS:
                    status = pipeline.main(RUNS[command.program], line, command.program)
                else:
                    status = cli.main(line)
        except Begun:
            outcome = "begun"
        except SystemExit as stop:
            if stop.code != 0:
                raise Fault(f"{what}: SystemExit {stop.code}") from None
            outcome = "done"
        except _Hung:
            raise Fault(f"{what}: still going after {HUNG:.0f} s") from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            raise Fault(f"{what}: {type(error).__name__} at {place}: {str(error)[:200]!a}") from None
        else:
            outcome = ANSWERS.get(status, "unfinished" if status == 1 and command.title in UNFINISHED else "")
            if not outcome:
                raise Fault(f"{what}: exit status {status}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
        return outcome, _text(out), _text(err)

    def _furnish(self) -> None:
        """A new folder; the former one goes."""
        self._number += 1
        os.chdir(self._top)
        _remove(self._top / str(self._number - 1))
        self._place = self._top / str(self._number)
        os.chdir(flags_lines.furnish(self._place, self._run))
        self._before = _snapshot(self._place)


def _hang(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Hung


def _terminal(encoding: str, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, newline="\n")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return str(content.decode(stream.encoding, "backslashreplace"))


def _snapshot(place: Path) -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of everything below ``place``."""
    found, todo = {}, [str(place)]
    while todo:
        with contextlib.suppress(PermissionError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                folder = stat.S_ISDIR(facts.st_mode)
                found[entry.path] = (facts.st_mode, 0 if folder else facts.st_size, 0 if folder else facts.st_mtime_ns)
                if folder:
                    todo.append(entry.path)
    return found


def _remove(place: Path) -> None:
    for locked in place.glob("**/locked"):
        locked.chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read what nobody may: inside, it may not, and an unreadable file is one. No change for other users."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, facts = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if os.geteuid() != 0 or sys.platform != "linux" or libc.capget(header, facts):
        yield
        return
    effective = facts[0]
    facts[0] = effective & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, facts)
    try:
        yield
    finally:
        facts[0] = effective
        libc.capset(header, facts)


def _every_tenth(mnist: Dataset) -> Dataset:
    arrays = ("train_images", "train_labels", "test_images", "test_labels")
    return dataclasses.replace(mnist, **{name: np.ascontiguousarray(getattr(mnist, name)[::10]) for name in arrays})


def _strokes() -> Dataset:
    """As many classes as OMNIGLOT has, fewer images: probabilities."""
    draws = np.random.default_rng(0)
    sizes = {"train": 2000, "test": 500}
    images = {part: draws.random((n, 784), np.float32) for part, n in sizes.items()}
    labels = {part: np.arange(n, dtype=np.int64) % 50 for part, n in sizes.items()}
    return Dataset("omniglot", 50, images["train"], labels["train"], images["test"], labels["test"], "noise", "0" * 64)
