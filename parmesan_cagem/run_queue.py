"""A queue of runs within a budget of time: most important first, each where it was left, until the time is over.

A queue is a text file with one command a line, ``run_mnist.py --labels 100 --checkpoint-every 25``, and comments after
``#``. Several processes may work on one queue: a run that another has at work is passed over.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parmesan_cagem import arguments, checkpoint, files
from parmesan_cagem.config import LATER, Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import is_held, read_log

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {"run_mnist.py": "mnist", "run_omniglot.py": "omniglot"}
QUEUE_BYTES = 1 << 20  # of a file: far more than any of ours has
ELSEWHERE = "at work elsewhere"
STOPPED = 143  # exit status of a run that saved itself on SIGTERM
SAVING = 60.0  # seconds in which a run may still save itself when the queue is interrupted


@dataclass(frozen=True)
class Entry:
    """One line of a queue: the command (script and flags), and the run that it means."""

    command: tuple[str, ...]
    experiment: Experiment
    folder: Path

    @property
    def state(self) -> str:
        """``finished``, ``failed`` (NaN: ``failure.json``), ``started`` or ``new``."""
        if self._has_its_record():
            return "finished"
        if (self.folder / "failure.json").exists():
            return "failed"
        return "started" if (self.folder / "config.json").exists() else "new"

    @property
    def epochs(self) -> int:
        """Completed epochs, as its log tells."""
        try:
            return max((line.get("epoch", 0) for line in read_log(self.folder)), default=0)
        except UserError:  # a line is damaged
            return 0

    def progress(self) -> tuple[str, int]:
        """``new``, ``begun``, ``trained`` (not evaluated), ``finished`` or ``failed``; and completed epochs."""
        state, planned = self.state, self.experiment.epochs
        if state == "finished":
            return state, planned
        epochs = min(self.epochs, planned)
        if state == "started":
            state = "trained" if epochs == planned and (self.folder / checkpoint.NEWEST).exists() else "begun"
        return state, epochs

    def _has_its_record(self) -> bool:
        path = self.folder / "record.json"
        if not path.exists():
            return False
        try:
            record = files.read_json(path, "")
        except UserError:  # `--resume` keeps it under another name, and writes it anew
            return False
        if not isinstance(record.get("config"), dict) or "epochs" not in record:
            return False
        machine = {"checkpoint_every"}  # shapes no number
        wanted = {key: value for key, value in self.experiment.to_dict().items() if key not in machine}
        recorded = {key: value for key, value in {**LATER, **record["config"]}.items() if key not in machine}
        return bool(recorded == wanted and record["epochs"] == self.experiment.epochs)


def read(path: Path, out: Path, data_dir: Path | None = None) -> list[Entry]:
    """The entries of the queue at ``path``, with run folders in ``out``.

    Raises
    ------
    UserError
        A line is no command of this package: names it.
    """
    try:
        lines = files.read_bytes(path, QUEUE_BYTES).decode().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read the queue: {files.cause(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot read the queue: {error}") from error
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
        if not words:
            continue
        script, *flags = words
        if script not in SCRIPTS:
            raise UserError(f"{where}: {script}: begin with {' or '.join(SCRIPTS)}")
        own = {"--resume", "--resume-if-begun", "--train-only", "--out", "--data-dir", "--help", "-h"}
        if {flag.partition("=")[0] for flag in flags} & own:
            raise UserError(
                f"{where}: a line trains one run to its record, and the queue gives --resume, --out and --data-dir; "
                f"leave them (and --resume-if-begun, --train-only, --help) out"
            )
        flags += ["--out", str(out), *(["--data-dir", str(data_dir)] if data_dir else [])]
        try:
            experiment, job = arguments.parse(flags, SCRIPTS[script], script)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if job.folder in [entry.folder for entry in entries]:
            raise UserError(f"{where}: the run {job.folder.name} stands in the queue already")
        entries.append(Entry((script, *flags), experiment, job.folder))
    return entries


def work(
    entries: Sequence[Entry], deadline: float, grace: float, environment: Mapping[str, str] | None = None
) -> list[dict[str, object]]:
    """Run what is not finished, in order, until ``deadline`` (of ``time.monotonic``).

    ``grace`` seconds before it, the run at work is asked to save itself and to stop; if it has not at the deadline, it
    is killed (its last checkpoint is intact). A run that fails does not keep the next from its turn.

    Returns
    -------
    list of dict
        For each entry ``name``, ``outcome`` (``finished before``, ``finished``, ``stopped``, ``killed``, ``failed
        before``, ``failed``, ``at work elsewhere``, ``not begun``), ``seconds`` and ``epochs``.
    """
    results: list[dict[str, object]] = []
    over = False
    for entry in entries:
        before, clock, outcome = entry.state, time.monotonic(), "not begun"
        if before in ("finished", "failed"):
            outcome = f"{before} before"
        elif is_held(entry.folder):
            outcome = ELSEWHERE
        elif not over and deadline - clock > 2 * grace:
            _say(f"queue: {entry.folder.name} ({before}), {deadline - clock:.0f} s left")
            outcome = _run(entry, before, deadline, grace, environment)
            over = outcome in ("stopped", "killed")
            if outcome == "failed" and is_held(entry.folder):  # another process was quicker
                outcome = ELSEWHERE
        result = {"name": entry.folder.name, "outcome": outcome, "seconds": time.monotonic() - clock}
        results.append({**result, "epochs": entry.epochs, "of": entry.experiment.epochs})
        _say(f"queue: {entry.folder.name}: {outcome}, {results[-1]['epochs']} of {entry.experiment.epochs} epochs")
    return results


def _run(entry: Entry, before: str, deadline: float, grace: float, environment: Mapping[str, str] | None) -> str:
    command = [sys.executable, str(ROOT / entry.command[0]), *entry.command[1:]]
    if before == "started":
        command.append("--resume")
    with _child(command, environment) as process:
        try:
            status = process.wait(max(0.0, deadline - grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                status = process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return "killed"
    if status == 0:
        return "finished"
    return "stopped" if status == STOPPED else "failed"


@contextlib.contextmanager
def _child(command: Sequence[str], environment: Mapping[str, str] | None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive us: whatever happens here, it is gone in the end, and could save itself first."""
    told = None if environment is None else dict(environment)
    process = subprocess.Popen(command, env=told)  # noqa: S603  this interpreter and one of SCRIPTS, no shell
    try:
        yield process
    except BaseException:  # the queue is interrupted: the run may still save itself
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAVING)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
