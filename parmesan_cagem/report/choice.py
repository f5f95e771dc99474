"""Which runs go into which figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files, records, trained
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.report.runs import check_types
from parmesan_cagem.runfolder import read_log

Say = Callable[[str], None]

# What an ablation changes: such a run stands for no point of the paper.
_PAPER = {"routing": "paper", "labelled_bn": "unlabelled", "skip": True}
_SIZES = {"wide": 1024, "narrow": 512, "z1_dim": 64, "train_images": 0, "holdout": 0}


@dataclass(frozen=True, eq=False)
class Run:
    """A run's folder, read.

    Attributes
    ----------
    folder : Path
    config : dict
        Every setting of Experiment, and any other that stands in config.json.
    log : list of dict
        The epochs in log.jsonl.
    record : dict or None
        record.json, if the run was evaluated.
    trained : bool
        Whether there are weights: a checkpoint, or published ones.
    """

    folder: Path
    config: dict[str, Any]
    log: list[dict[str, Any]]
    record: dict[str, Any] | None
    trained: bool

    @property
    def epochs(self) -> int:
        logged = self.log[-1]["epoch"] if self.log else 0
        return max(logged, self.record["epochs"] if self.record else 0)

    def __str__(self) -> str:
        return f"{self.folder.name} ({self.epochs} epoch{'s' * (self.epochs != 1)})"


def read(folder: Path, say: Say) -> Run:
    """Read a run's folder; a record that is damaged or of another version counts as none, and is said.

    Raises
    ------
    UserError
        There is no config.json, or it or the log is damaged.
    """
    folder = Path(folder)
    given = files.read_json(folder / "config.json", "name a folder that run_mnist.py or the like wrote")
    check_types(given, f"{folder / 'config.json'}: ", "restore it from a copy")
    log = [entry for entry in read_log(folder) if "epoch" in entry]
    record = None
    if (folder / "record.json").exists():
        try:
            record = records.read(folder / "record.json")
        except UserError as error:
            say(f"{folder.name}: its record is left out: {error}")
    if record and log and log[-1]["epoch"] < record["epochs"]:
        say(f"{folder.name}: its log ends at epoch {log[-1]['epoch']}, its record says {record['epochs']}")
    return Run(folder, Experiment().to_dict() | given, log, record, trained.exists(folder))


def find(folder: Path, say: Say) -> list[Run]:
    """All runs in a folder of run folders, by name; those that cannot be read are said and left out."""
    found = []
    for path in sorted(Path(folder).glob("*/config.json")):
        try:
            found.append(read(path.parent, say))
        except UserError as error:
            say(f"{path.parent.name}: left out: {error}")
    return found


def choose(runs: Iterable[Run], **wanted: Any) -> Run | None:
    """The run with these settings that has the most epochs, then the first by name; None if there is none.

    A run with the paper's sizes, on all of the data, comes before one without.
    A wanted value may be a predicate. Ablations (routing, labelled_bn, skip) are only chosen when asked for.
    """
    conditions = _PAPER | wanted
    matching = [run for run in runs if all(_fits(run.config.get(name), value) for name, value in conditions.items())]
    return min(matching, key=lambda run: (_smaller(run), -run.epochs, run.folder.name), default=None)


def _smaller(run: Run) -> bool:
    """Whether the run's networks, or its data, are not the paper's."""
    return any(run.config.get(name, usual) != usual for name, usual in _SIZES.items())


def _fits(value: Any, wanted: Any) -> bool:
    return bool(wanted(value)) if callable(wanted) else value == wanted
