"""Lives of a run: killed again and again in training and evaluation, resumed each time, and compared at its end."""

from __future__ import annotations

import functools
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parmesan_cagem.ledger import LEDGER, SAVE_SECONDS
from torture import kill_checks
from torture.kill_aim import CLOSE_NOWRITE, CREATE, MODIFY, MOVED_TO, Aim
from torture.kill_checks import Broken, State, require

ROOT = Path(__file__).resolve().parent.parent
NAME = "run"  # of the folder, in its victim's and in its reference's own parent: the record tells it

SLOW, SLACK = "a long evaluation", 8.0  # the block of images at work, and the time to begin and to write
Aims = Callable[[random.Random], Sequence[Aim]]


@dataclass(frozen=True)
class Hit:
    """A kill after which everything held: where it struck, and what it cost."""

    phase: str
    aimed_at: str
    epochs_lost: int = 0
    seconds_lost: float = 0.0


def spawn(words: Sequence[str], log: Path, **environment: str) -> int:
    """Start a Python process in a group of its own, its output in a file; its PID."""
    every = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **environment}
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o666), (os.POSIX_SPAWN_DUP2, 1, 2)]
    command = [sys.executable, *words]
    return os.posix_spawn(sys.executable, command, {**os.environ, **every}, file_actions=actions, setpgroup=0)


def ended(pid: int, words: Sequence[str], log: Path) -> None:
    """Wait for the process, which must end well."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
    require(status == 0, f"exit status {status} of {' '.join(words)}: {tail}")


@dataclass(frozen=True)
class Kind:
    """A run to be killed, and the moments to do it at.

    Attributes
    ----------
    name : str
    train, evaluate : tuple of str
        The commands after ``python``, but for the folder: of stage 0 (train, evaluate, write the record), and of
        stage 1 (evaluate by another protocol).
    epochs, every : int
        ``--epochs`` and ``--checkpoint-every``.
    aims : tuple of callables
        Of each stage: random numbers -> aims, in the order of the run's life.
    start : callable
        As `spawn`.
    """

    name: str
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    epochs: int
    every: int
    aims: tuple[Aims, Aims]
    start: Callable[..., int] = spawn

    def words(self, stage: int, parent: Path) -> list[str]:
        """The command of a stage, for the run in ``parent``."""
        if stage == 0:
            return [*self.train, "--out", str(parent), "--name", NAME, "--resume-if-begun"]
        return [*self.evaluate, str(parent / NAME)]

    def begin(self, stage: int, parent: Path, cache: Path) -> int:
        """Start the command; its PID. It compiles into ``cache``."""
        return self.start(self.words(stage, parent), parent / "log.txt", XDG_CACHE_HOME=str(cache))


def smoke(engine: str, epochs: int, every: int, *model: str) -> Kind:
    """A smoke run as a user starts it, on real images."""
    train = [str(ROOT / "run_mnist.py"), "--preset", "smoke", *model, "--engine", engine]
    train += ["--epochs", str(epochs), "--checkpoint-every", str(every), "--train-images", "1000"]
    evaluate = ("-m", "parmesan_cagem", "evaluate", "--iw-samples", "20", "--eval-images", "60")
    name = f"engine {engine}, {' '.join(model)}, a checkpoint every {every}"
    return Kind(name, tuple(train), evaluate, epochs, every, (in_training, in_evaluation))


def slow(engine: str, kills: int) -> Kind:
    """A run whose second evaluation takes minutes, so that it is saved on its way: every `SAVE_SECONDS`."""
    one = smoke(engine, 2, 1, "--labels", "20")
    evaluate = ("-m", "parmesan_cagem", "evaluate", "--iw-samples", "200", "--eval-images", "0")
    return Kind(
        "a long evaluation", one.train, evaluate, 2, 1, (lambda _: [], functools.partial(_beyond_a_save, kills))
    )


def in_training(rng: random.Random) -> list[Aim]:
    """Kills from the first import to the record."""
    begin = [Aim("its start", delay=rng.uniform(0.05, 12)) for _ in range(4)]
    begin.append(Aim("labels.json", CREATE, ".labels.json.*", 1, rng.uniform(0, 1e-3)))
    middle = [Aim("the log line", MODIFY, "log.jsonl", rng.randint(1, 2), rng.uniform(0, 0.015)) for _ in range(3)]
    middle += [
        Aim("the checkpoint", CREATE, ".checkpoint.h5.*", rng.randint(1, 2), rng.uniform(0, 0.02)) for _ in range(4)
    ]
    middle += [Aim("its rotation", CREATE, ".checkpoint.previous.h5.*", 1, rng.uniform(0, 0.003)) for _ in range(2)]
    middle += [
        Aim("training steps", MOVED_TO, "checkpoint.h5", rng.randint(1, 2), rng.uniform(0, 0.2)) for _ in range(4)
    ]
    rng.shuffle(middle)
    end = [Aim("evaluation.h5", CREATE, ".evaluation.h5.*", 1, rng.uniform(0, 0.02)) for _ in range(2)]
    end += [Aim("the evaluation", CLOSE_NOWRITE, "checkpoint.h5", 2, rng.uniform(0, 3))]
    end += [Aim("the samples", CREATE, ".samples.png.*", 1, rng.uniform(0, 0.003))]
    end += [Aim("the bounds", CREATE, ".bounds.csv.*", 1, rng.uniform(0, 0.003))]
    end += [Aim("the record", CREATE, ".record.json.*", 1, rng.uniform(0, 0.003)) for _ in range(2)]
    return [*begin, *middle, *end, Aim("the end", MOVED_TO, "record.json", 1, rng.uniform(0, 0.02))]


def in_evaluation(rng: random.Random) -> list[Aim]:
    """Kills of ``cagem evaluate`` from the first import to the record."""
    return [
        Aim("its start", delay=rng.uniform(0.05, 8)),
        *(Aim("the evaluation", CLOSE_NOWRITE, "checkpoint.h5", 1, rng.uniform(0, 4)) for _ in range(2)),
        *(Aim("evaluation.h5", CREATE, ".evaluation.h5.*", 1, rng.uniform(0, 0.02)) for _ in range(2)),
        Aim("the samples", CREATE, ".samples.png.*", 1, rng.uniform(0, 0.003)),
        Aim("the bounds", CREATE, ".bounds.csv.*", 1, rng.uniform(0, 0.003)),
        Aim("the former record", CREATE, ".record.former-1.json.*", 1, rng.uniform(0, 0.004)),
        Aim("the record", CREATE, ".record.json.*", 1, rng.uniform(0, 0.003)),
    ]


def _beyond_a_save(kills: int, rng: random.Random) -> list[Aim]:
    # The checkpoint is read where the evaluation begins. Those moments are seconds apart in the first of two intervals.
    seconds = [rng.uniform(3, 1.9 * SAVE_SECONDS) for _ in range(kills)]
    return [Aim(SLOW, CLOSE_NOWRITE, "checkpoint.h5", 1, delay) for delay in seconds]


class Run:
    """Victims of one kind. The reference, a run that nobody interrupts, is made once, by whoever is first.

    Parameters
    ----------
    kind : Kind
    scratch : Path
    """

    def __init__(self, kind: Kind, scratch: Path) -> None:
        self.kind, self.scratch = kind, scratch
        self._lock, self._lives = threading.Lock(), 0
        self._references: list[State] = []

    def references(self) -> list[State]:
        """What an uninterrupted run holds after each of the stages."""
        with self._lock:
            parent = self.scratch / "reference"
            parent.mkdir(parents=True, exist_ok=True)
            for stage in range(len(self._references), 2):
                self._end(stage, parent, self.scratch / "cache")
                self._references.append(kill_checks.look(parent / NAME))
            return self._references

    def life(self, rng: random.Random) -> Iterator[Hit]:
        """One life, from an empty folder on; the first of a kind finds no compile cache, and is killed in its making.

        Raises
        ------
        Broken
            A promise does not hold.
        """
        references = self.references()
        with self._lock:
            self._lives += 1
            parent = self.scratch / f"life-{self._lives}"
        cache = parent / "cache" if self._lives == 1 else self.scratch / "cache"
        (parent / NAME).mkdir(parents=True)
        state = kill_checks.look(parent / NAME)
        for stage in range(2):
            try:
                for aim in self.kind.aims[stage](rng):
                    hit, state = self._strike(aim, stage, parent, cache, state, references[: stage + 1])
                    if hit is not None:
                        yield hit
                self._end(stage, parent, cache)
                kill_checks.check_finished(parent / NAME, references[stage])
            except (Broken, TimeoutError) as broken:
                raise Broken(f"{self.kind.name}, {parent}, stage {stage}: {broken}") from broken
            state = kill_checks.look(parent / NAME)

    def _end(self, stage: int, parent: Path, cache: Path) -> None:
        pid = self.kind.begin(stage, parent, cache)
        ended(pid, self.kind.words(stage, parent), parent / "log.txt")

    def _strike(
        self, aim: Aim, stage: int, parent: Path, cache: Path, before: State, references: list[State]
    ) -> tuple[Hit | None, State]:
        """One process; no hit if it ended before the moment came: what it wrote was checked all the same."""
        folder, kind = parent / NAME, self.kind
        strike = aim.struck(lambda: kind.begin(stage, parent, cache), folder)
        require(strike.status in (0, -9), f"aimed at {aim.what}: exit status {strike.status}; see its log.txt")
        try:
            now = kill_checks.check_after_kill(folder, before, references, kind.every, strike.ended)
        except Broken as broken:
            raise Broken(f"aimed at {aim.what}: {broken}") from broken
        if not strike.killed:
            return None, now
        where, lost = kill_checks.phase(before, now, kind.epochs, kind.every), 0.0
        if aim.what == SLOW:
            saved = now.names.get(LEDGER, (0, 0))[1] / 1e9
            lost = strike.ended - max(saved, strike.ended - aim.delay)
            where = f"a long evaluation, {'after' if lost < aim.delay else 'before'} its first save"
            limit = f"at most {SAVE_SECONDS:.0f} may be, and {SLACK:.0f} for the images at work"
            require(lost <= SAVE_SECONDS + SLACK, f"{lost:.1f} s of evaluation are lost; {limit}")
        return Hit(where, aim.what, kill_checks.lost_epochs(now), lost), now
