"""What is played: each thing that the package writes, over an older one and for the first time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import checkpoint, files, packing, records, unpacking, view_cache
from parmesan_cagem.config import MAY_CHANGE
from parmesan_cagem.errors import UserError
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.report.figures import save_grid
from parmesan_cagem.runfolder import RunFolder
from torture.faults_judge import Scenario

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # examples of records, and small runs

CONFIG = {"labels": 100, "epochs": 2}
LINES = [{"epoch": i + 1, "F": -90.5} for i in range(3)]
Act = Callable[[Path], None]


def told(act: Act) -> Callable[[Path], int]:
    """As the package's programs do it: a UserError is one line and status 2. Nothing else is caught."""

    def status(folder: Path) -> int:
        try:
            act(folder)
        except UserError as error:
            print(f"cagem: {error}", file=sys.stderr)
            return error.exit_status
        return 0

    return status


def twice(name: str, act: Act, older: Act, again: Act | None = None, **more: Any) -> Iterator[Scenario]:
    """Over an older state, and over none."""
    after = told(again) if again else None
    yield Scenario(name, told(act), older, after, **more)
    yield Scenario(f"{name}, the first", told(act), again=after, **more)


def _state(number: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    rng = np.random.default_rng(number)
    return {"weights/W": rng.standard_normal((40, 3)).astype("f4"), "adam/t": np.array(number)}, {"step": number}


def _save(*numbers: int) -> Act:
    def save(folder: Path) -> None:
        for number in numbers:
            checkpoint.save(folder, *_state(number))

    return save


def _log(lines: int, cut: bool = False) -> Act:
    """A line on top of so many; ``cut``: as a resumed run does it, which logs anew what came after its checkpoint."""

    def append(folder: Path) -> None:
        with RunFolder.open(folder, CONFIG, MAY_CHANGE) as run:
            if cut:
                run.truncate_log(sum(len(files.to_json(line)) + 1 for line in LINES[:lines]))
            run.append_log(LINES[lines])

    return append


def _logged(lines: int) -> Act:
    def log(folder: Path) -> None:
        with RunFolder.create(folder, CONFIG) as run:
            for line in LINES[:lines]:
                run.append_log(line)

    return log


def _settings(epochs: int) -> Act:
    def change(folder: Path) -> None:
        path = folder / "run"
        config = {**CONFIG, "epochs": epochs}
        opened = (
            RunFolder.open(path, config, MAY_CHANGE)
            if (path / "config.json").exists()
            else RunFolder.create(path, config)
        )
        with opened:
            files.write_json(path / "labels.json", {"indices": list(range(epochs)), "sha256": "0" * 64})

    return change


def _record(change: float) -> Act:
    from record_example import example

    def write(folder: Path) -> None:
        records.write(
            folder / "record.json", example() | {"train_seconds": change, "peak_memory_bytes": 5, "seed": int(change)}
        )

    return write


def _ledger(value: float) -> Act:
    def fill(folder: Path) -> None:
        with Ledger(folder / "evaluation.h5", {"weights": str(value)}, "a toy") as ledger:
            ledger.table("bounds", 20, 3).put(np.arange(10), value, 1.0)
            ledger.keep("mean", np.full(4, value))

    return fill


def _samples(value: float) -> Act:
    return lambda folder: save_grid(np.full((3, 3, 49), value), folder / "samples.png")


def _views(seed: int) -> Act:
    def view(folder: Path) -> None:
        wanted = np.random.default_rng(seed).random(10)
        arrays = view_cache.cached(folder, "latents", {"seed": seed}, lambda: {"z": wanted})
        assert (arrays["z"] == wanted).all()  # whatever happened to the file

    return view


def _pack(number: int) -> Act:
    def pack(folder: Path) -> None:
        packing.pack([folder / "run"], folder / "pack", part_mib=0.02 if number else 1)

    return pack


def _packed(folder: Path, older: bool = True) -> None:
    from test_packing import make_run

    make_run(folder / "run", size=(70, 50))
    if older:
        _pack(0)(folder)


def _carried(folder: Path, older: bool = True) -> None:
    from test_packing import make_run

    make_run(folder / "run")
    packing.pack([folder / "run"], folder / "pack")
    if older:
        make_run(folder / "new" / "run", epoch=1)


def _unpack(folder: Path) -> None:
    unpacking.unpack(sorted((folder / "pack").iterdir()), folder / "new")


def storage() -> Iterator[Scenario]:
    """One file at a time, or a few; milliseconds each."""
    yield from twice("checkpoint", _save(3), _save(1, 2), _save(4, 5), enough=("checkpoint.h5",))
    yield Scenario("log", told(_log(2)), _logged(2), told(_log(2, cut=True)))
    yield Scenario("log, the first", told(_log(0)), _logged(0), told(_log(0, cut=True)))
    yield Scenario("log, cut", told(_log(1, cut=True)), _logged(3), steps=True)
    yield from twice("settings", _settings(3), _settings(2))
    yield from twice("record", _record(2), _record(1))
    yield from twice("ledger", _ledger(2.0), _ledger(1.0))
    yield from twice("samples", _samples(0.7), _samples(0.2))
    yield from twice("views", _views(2), _views(1), enough=())
    yield Scenario("pack", told(_pack(1)), _packed)
    yield Scenario("pack, the first", told(_pack(1)), lambda folder: _packed(folder, older=False), thorough=False)
    yield Scenario("unpack", told(_unpack), _carried)
    yield Scenario("unpack, the first", told(_unpack), lambda folder: _carried(folder, older=False), thorough=False)


def every(only: list[str] | None, scratch: Path) -> Iterator[Scenario]:
    """The scenarios whose names begin with one of ``only``; all, when None."""
    from torture import faults_commands

    for scenario in (*storage(), *faults_commands.light()):
        if only is None or scenario.name.startswith(tuple(only)):
            yield scenario
    heavy = ("download", "evaluate", "shard", "merge", "prices", "run")
    if only is None or any(one.split(",")[0] in heavy for one in only):
        for scenario in faults_commands.heavy(scratch / "trained"):
            if only is None or scenario.name.startswith(tuple(only)):
                yield scenario
