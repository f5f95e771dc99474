"""One fault: a process in which it happens, what was promised for it, and the start after it."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from parmesan_cagem import checkpoint
from torture import failing
from torture.failing import Fault, Library
from torture.faults_state import State, plain, same, state, whole_previous

_TEMPORARY = re.compile(r"^\.(.+)\.[0-9a-f]{16}\.tmp$")


@dataclass(frozen=True)
class Scenario:
    """Something that writes files.

    Attributes
    ----------
    name : str
    act : callable
        Does it in the folder given; returns the exit status.
    prepare : callable
        Makes the old state in the folder given.
    again : callable, optional
        What a user does after a failure; ``act``, when None. After it everything is as without a fault.
    thorough : bool
        Every kind of fault at every operation; else one error, one short write and one crash, in turns.
    steps : bool
        Files change several times on the way: what is left is judged by what ``again`` makes of it.
    enough : tuple of str or None
        The files that must be there, as without a fault, for exit status 0; all, when None. (Caches are worth nothing.)
    leaves_out : bool
        What cannot be read is left out of the result, and told with the cause: the report does so with damaged runs.
    """

    name: str
    act: Callable[[Path], int]
    prepare: Callable[[Path], None] = lambda folder: None
    again: Callable[[Path], int] | None = None
    thorough: bool = True
    steps: bool = False
    enough: tuple[str, ...] | None = None
    leaves_out: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a process ended, and which operations it counted (none after a crash)."""

    status: int
    told: str
    operations: list[tuple[str, Path]] = field(default_factory=list)


def subject(path: Path) -> str:
    """The name of the file that a temporary file stands for."""
    found = _TEMPORARY.match(path.name)
    return found[1] if found else path.name


class Stage:
    """A folder in which a scenario is played again and again, each time by a child of this process.

    Attributes
    ----------
    operations : list of (str, Path)
        Kind and path of each, from the first.
    """

    def __init__(self, scenario: Scenario, scratch: Path, library: Library) -> None:
        self.scenario, self._library, self._scratch = scenario, library, scratch
        self._read = whole_previous if scenario.steps else plain
        self.folder, self._former = scratch / "work", scratch / "former"
        self._former.mkdir(parents=True)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            scenario.prepare(self._former)
            self.before = state(self._former)
            self._set()
            assert scenario.act(self.folder) == 0  # here first: what it imports, the children have
        self._set()
        done = self._child(lambda: scenario.act(self.folder), Fault())
        assert done.status == 0, done.told
        self.operations, self._quiet = done.operations, done.told
        self._final = state(self.folder)
        assert not same(self._final, self.before), f"{scenario.name} does nothing"
        self._settled = self._final
        assert not self._afterwards(settle=True)

    def _set(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._former, self.folder)

    def play(self, fault: Fault) -> tuple[str | None, Outcome]:
        """Which promise the fault broke (empty: none; None: it was not reached), and how the process ended.

        A download is written in blocks as they come, so its operations are a few more or fewer each time: what failed
        is what this process did as number so and so. (One that crashed left no list; it is judged by its status.)
        """
        self._set()
        outcome = self._child(lambda: self.scenario.act(self.folder), fault)
        played = outcome.operations[fault.number - 1 : fault.number]
        if outcome.status == 0 and [kind for kind, _ in played] != [self.operations[fault.number - 1][0]]:
            return None, outcome
        self._played = outcome.operations if played else self.operations
        return self._judge(fault, outcome) or self._afterwards(), outcome

    def _judge(self, fault: Fault, outcome: Outcome) -> str:
        kind, path = self._played[fault.number - 1]
        now = state(self.folder)
        if fault.mode in failing.CRASHES:
            return "" if outcome.status == failing.CRASHED else f"exit status {outcome.status}, not that of the crash"
        named = path.name in outcome.told and os.strerror(fault.code) in outcome.told
        if outcome.status == 0 and named and self.scenario.leaves_out and kind in ("open", "close"):
            return ""
        if outcome.status == 0:
            wanted = [name for name in {*self._final, *now} if not _TEMPORARY.match(Path(name).name)]
            wanted = wanted if self.scenario.enough is None else list(self.scenario.enough)
            if other := sorted(name for name in wanted if not self._alike(name, now, self._final)):
                return f"exit status 0, but not the {', '.join(other)} without a fault; told: {outcome.told!r}"
            return ""
        if fault.mode == failing.SHORT:
            return f"a short write is no failure: exit status {outcome.status}: {outcome.told!r}"
        lines = outcome.told.splitlines()
        if outcome.status != 2 or not 1 <= len(lines) <= 1 + len(self._quiet.splitlines()):
            return f"exit status {outcome.status}, told: {outcome.told!r}"
        if os.strerror(fault.code) not in lines[-1]:
            return f"the message does not name the cause {os.strerror(fault.code)!r}: {lines[-1]}"
        later = fault.mode in (*failing.STICKY, failing.SHORT_FAIL)  # it may be another file's turn by then
        concerned = [path for _, path in self._played[fault.number - 1 :]] if later else [path]
        if not any(self._names(path, lines[-1]) for path in concerned):
            return f"the message does not name {subject(path)}: {lines[-1]}"
        return self._kept(fault, now, self._own(fault.number - 1))

    def _alike(self, name: str, one: State, other: State) -> bool:
        """Whether a file is in both and says the same; the checkpoint before the newest may be lacking after a fault.

        The process died between giving the newest its name and this one, or could not read what was to be this one.
        """
        if self._read is whole_previous and Path(name).name == checkpoint.PREVIOUS and name not in one:
            return True
        found = ({n: state[n] for n in (name,) if n in state} for state in (one, other))
        return same(*found, self._read)

    def _names(self, path: Path, line: str) -> bool:
        """Whether a message names the file that the operation was on; of a folder, one in it."""
        named = subject(path).replace("checkpoint.previous", "checkpoint").replace(".partial", "")
        return str(path.parent) in line and named in line.replace(".partial", "")

    def _own(self, place: int) -> str:
        """Which file the operation was to change: of a folder, the one that was put there last; none, if it only reads.

        A file that is opened under a name which was put in place before is whole and new, and read.
        """
        kind, path = self._played[place]
        if kind in ("open", "close") and ("rename", path) in self._played[:place]:
            return ""
        if kind == "mkdir" or (path != self.folder and not path.is_dir()):
            return str(path.with_name(subject(path)).relative_to(self.folder))
        put = [p for k, p in self._played[:place] if k == "rename" and p.parent == path]
        return str((put[-1] if put else path).relative_to(self.folder))

    def _kept(self, fault: Fault, now: State, own: str) -> str:
        """A file that could not be written is as it was; any other is old or new, never in between."""
        for name in {*self.before, *now}:
            old, new, found = self.before.get(name), self._final.get(name), now.get(name)
            if found == old or _TEMPORARY.match(Path(name).name) or self.scenario.steps or self._is_shard(name, now):
                continue
            fresh = found is not None and new is not None and plain(name, found) == plain(name, new)
            torn = name == "log.jsonl" and fault.mode in failing.STICKY and (found or b"").startswith(old or b"")
            if not (torn or (fresh and (name != own or fault.mode in failing.STICKY))):
                return f"{name} is not as it was"
        return ""

    def _is_shard(self, name: str, now: State) -> bool:
        """Whether a file is a whole shard that has not got its name yet: then nothing is lost."""
        whole = self._final.get(name.replace(".partial.h5", ".h5"))
        return (
            ".partial." in name and name in now and whole is not None and plain(name, now[name]) == plain(name, whole)
        )

    def _afterwards(self, settle: bool = False) -> str:
        """The next start: nothing stray remains, and everything is as without a fault."""
        again = self._child(lambda: (self.scenario.again or self.scenario.act)(self.folder), None)
        if again.status != 0:
            return f"the next start ends with status {again.status}: {again.told!r}"
        now = state(self.folder)
        if settle:
            self._settled = now
        if extra := sorted(now.keys() - self._settled.keys()):
            return f"stray after the next start: {', '.join(extra)}"
        differ = [name for name in self._settled if not self._alike(name, now, self._settled)]
        return f"after the next start, not as without a fault: {', '.join(differ)}" if differ else ""

    def _child(self, act: Callable[[], int], fault: Fault | None) -> Outcome:
        """Do it in a forked process, which counts (and fails) beneath the folder unless ``fault`` is None."""
        out, told, notes = (self._scratch / name for name in ("stdout", "stderr", "notes"))
        notes.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for path, descriptor in ((out, 1), (told, 2)):
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                os.dup2(opened, descriptor)
                os.close(opened)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            status = 1
            try:
                if fault is not None:
                    self._library.arm(self.folder, fault)
                status = act()
            except BaseException:
                traceback.print_exc()
            finally:
                operations = self._library.disarm()
                notes.write_text(json.dumps([[kind, str(path)] for kind, path in operations]))
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        operations = json.loads(notes.read_text()) if notes.exists() else []
        return Outcome(status, told.read_text(), [(kind, Path(path)) for kind, path in operations])


_ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


def faults(number: int, kind: str, thorough: bool) -> list[Fault]:
    """The faults for one operation: all kinds, or of each kind the one whose turn it is."""
    errors = [Fault(number, failing.FAIL, code) for code in _ERRORS]
    crashes = [Fault(number, failing.CRASH_BEFORE)]
    short = []
    if kind in ("write", "copy"):
        errors.append(Fault(number, failing.FULL, errno.ENOSPC))
        short = [Fault(number, failing.SHORT), Fault(number, failing.SHORT_FAIL, errno.ENOSPC)]
        crashes.append(Fault(number, failing.CRASH_HALF))
    elif kind in ("open", "close"):
        crashes = []
    elif kind != "fsync":
        errors.append(Fault(number, failing.FAIL_ON, errno.EROFS))
        crashes.append(Fault(number, failing.CRASH_AFTER))
    groups = [group for group in (errors, short, crashes) if group]
    return [f for group in groups for f in group] if thorough else [group[number % len(group)] for group in groups]
