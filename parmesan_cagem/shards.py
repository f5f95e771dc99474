"""An evaluation in N parts, each computed wherever there is a machine, and put together into the run's record."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import files, provenance, sealed
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.classification import classify
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.evaluation import each_seed, evaluate
from parmesan_cagem.ledger import LEDGER, Ledger
from parmesan_cagem.partition import evaluated
from parmesan_cagem.recording import Work, finish
from parmesan_cagem.runfolder import RunFolder

Command = Callable[["Shard"], str]  # the command that makes a shard, for whoever lacks it


@dataclass
class Shard:
    """The part ``number`` (from 1) of ``parts`` of a run's evaluation; inside ``with``, no other process has it.

    The run's own lock is left alone: many shards are at work at once. Each writes its own files only.
    """

    run: Path
    number: int
    parts: int

    def __str__(self) -> str:
        return f"shard {self.which}"

    @property
    def which(self) -> str:
        """``I/N``, as ``--shard`` takes it."""
        return f"{self.number}/{self.parts}"

    @property
    def path(self) -> Path:
        """Its results: there only when complete."""
        return self.run / f"evaluation.shard-{self.number}-of-{self.parts}.h5"

    @property
    def partial(self) -> Path:
        """The ledger of its work."""
        return self.path.with_suffix(".partial.h5")

    def of(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Its share of ``images``, which may be empty.

        Examples
        --------
        >>> [Shard(Path("run"), number, 3).of(np.arange(8)).tolist() for number in (1, 2, 3)]
        [[0, 1], [2, 3, 4], [5, 6, 7]]
        """
        count = len(images)
        return images[count * (self.number - 1) // self.parts : count * self.number // self.parts]

    def identity(self, run: dict[str, Any], e: Experiment) -> dict[str, Any]:
        """What its file is good for: one protocol, and what ``Work.identity`` names."""
        protocol = {f.name: getattr(e, f.name) for f in dataclasses.fields(e) if f.metadata["role"] == "evaluation"}
        return {**run, **protocol, "shard": self.which}

    def __enter__(self) -> Shard:
        path = self.path.with_suffix(".lock")
        try:
            self._lock = files.lock(path, f"{self} of {self.run}", "compute another one")
        except OSError as error:
            raise UserError(f"{path}: cannot write: {files.cause(error)}; make the folder writable") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        files.close(self._lock)


def compute(shard: Shard, work: Work) -> None:
    """Write the shard's file; killed, it goes on where it stood when it is called again. A complete one is left alone.

    Raises
    ------
    UserError
        A file cannot be written.
    FloatingPointError
        A result is not finite.
    """
    model, e, data, engine, quiet = work.trained.model, work.e, work.data, work.engine, work.quiet
    run = work.identity(provenance.git_state())
    wanted = shard.identity(run, e)
    files.sweep(shard.path)
    if shard.path.exists():
        try:
            differing = _differences(Ledger.read(shard.path).identity, wanted)
        except sealed.Damaged as reason:
            differing = str(reason)
        if not differing:
            return
        print(f"{shard.path} {differing}; it is computed anew", file=sys.stderr)
    bounded, classified = shard.of(evaluated(data, e)), shard.of(np.arange(len(data.test_images)))
    with Ledger(shard.partial, wanted, engine.device) as ledger:
        if ledger.warning:
            print(ledger.warning, file=sys.stderr)
        _absorb_the_run(shard, ledger, run)
        if len(classified):  # there are at least as many of these
            for settings, binary in each_seed(model, e, data, work.parts, engine, quiet, ledger):
                if len(bounded):
                    importance_bounds(model, settings, engine, binary[bounded], bounded, quiet, ledger=ledger)
                classify(model, settings, engine, binary[classified], classified, quiet, ledger=ledger)
    try:
        files.put_in_place({shard.partial: shard.path})
    except OSError as error:
        raise UserError(f"{shard.path}: cannot write: {files.cause(error)}; free some space, then repeat") from error


def _absorb_the_run(shard: Shard, ledger: Ledger, run: dict[str, Any]) -> None:
    """What an evaluation of the whole run has found, an earlier merge of another number of parts among them."""
    path = shard.run / LEDGER
    if path.exists():
        try:
            found = Ledger.read(path)
        except sealed.Damaged:
            return  # whose file it is says so
        if found.identity == run:
            ledger.absorb(found)


def merge(folder: RunFolder, count: int, work: Work, command: Command) -> dict[str, Any]:
    """Write the run's record from its ``count`` shards; computes nothing but the samples.

    Raises
    ------
    UserError
        A shard is missing, damaged, or of other weights, data, engine, source or protocol than this evaluation.
    """
    shards = [Shard(folder.path, number, count) for number in range(1, count + 1)]
    _require_all(shards, command)
    run, union = work.identity(provenance.git_state()), Ledger(device=None)
    for shard in shards:
        try:
            found = Ledger.read(shard.path)
        except sealed.Damaged as reason:
            raise UserError(f"{shard.path} {reason}; make it anew: {command(shard)}") from None
        differing = _differences(found.identity, shard.identity(run, work.e))
        if differing:
            raise UserError(f"{shard.path} {differing}; merge with its settings, or make it anew: {command(shard)}")
        union.absorb(found)
    evaluate(work.trained.model, work.e, work.data, work.parts, _Nothing(folder.path, count), True, union)
    # The run's own ledger gets the rows too: other commands look there, and it may hold those of other protocols.
    with Ledger(folder.path / LEDGER, run, None) as ledger:
        if ledger.warning:
            print(ledger.warning, file=sys.stderr)
        ledger.absorb(union)
    return finish(folder, work, union)


class _Nothing:
    """An engine that computes nothing: what is missing is an error, not work."""

    name, precision, device, on_cpu, rows_per_call = "none", "none", "none", True, 1 << 20

    def __init__(self, run: Path, count: int) -> None:
        self._run, self._count = run, count

    def function(self, *_: Any) -> NoReturn:
        raise UserError(
            f"{self._run}: the {self._count} shards together lack results of this evaluation; remove "
            f"evaluation.shard-*-of-{self._count}.h5 and make them anew"
        )

    steps = function


def _require_all(shards: Sequence[Shard], command: Command) -> None:
    missing = [shard for shard in shards if not shard.path.exists()]
    if missing:
        names = ", ".join(f"{shard}{' (begun)' * shard.partial.exists()}" for shard in missing)
        commands = "; ".join(command(shard) for shard in missing)
        raise UserError(f"{missing[0].run}: {names} of the evaluation not complete; make with: {commands}")


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words, that follow a file's name; empty where there are none."""
    keys = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    return f"was made with {'; '.join(_words(key, found.get(key), wanted.get(key)) for key in keys)}" if keys else ""


def _words(key: str, found: Any, wanted: Any) -> str:
    if key in ("weights", "data"):  # nobody knows them by their SHA-256
        return f"other {key}"
    if key == "git":
        return f"another source ({_source(found)}, now {_source(wanted)})"
    return f"--{key.replace('_', '-')} {found}, now {wanted}"


def _source(git: Any) -> str:
    state = git if isinstance(git, dict) else {}
    return f"{state.get('commit') or 'unknown'}{' and changes' * bool(state.get('dirty'))}"
