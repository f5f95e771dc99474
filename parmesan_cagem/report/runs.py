"""The records that tables are made from: found, validated, and refused when nobody can say where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files, image_bounds, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.image_bounds import ImageBounds

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Experiment)}


@dataclass(frozen=True, eq=False)
class Run:
    """A record, and the folder it lies in (which no table shows).

    Attributes
    ----------
    folder : Path
    record : mapping
        As :func:`parmesan_cagem.records.read` returns it.
    bounds : ImageBounds or None
        Image by image, where ``bounds.csv`` has them.
    """

    folder: Path
    record: Mapping[str, Any]
    bounds: ImageBounds | None = None

    @property
    def name(self) -> str:
        """The record's name of the run."""
        return str(self.record["name"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the run."""
        return self.record["config"]


def read(paths: Iterable[Path]) -> tuple[Run, ...]:
    """Read every record, in an order that does not depend on where it lies.

    Parameters
    ----------
    paths : iterable of Path
        Records, and folders in which every ``record.json`` is read, at any depth below ``runs`` if there is one.

    Raises
    ------
    UserError
        A path does not exist, a record fails the schema, lacks provenance or contradicts itself, or the ``bounds.csv``
        beside it is damaged.
    """
    runs = [_read(path) for path in sorted({file for path in paths for file in _files(Path(path))})]
    return tuple(sorted(runs, key=lambda run: (run.name, files.to_json(run.record, sort_keys=True))))


def run_folder(path: Path) -> Path:
    """Where the runs of a folder of results lie: its ``runs`` if there is one."""
    return path / "runs" if (path / "runs").is_dir() else path


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return list(run_folder(path).glob("**/record.json"))
    if not path.exists():
        raise UserError(f"--records {path}: does not exist; name a folder with run folders, or a record.json")
    return [path]


def check_types(config: Mapping[str, Any], where: str, fix: str) -> None:
    """Refuse settings whose value is of another type than this version's.

    Raises
    ------
    UserError
        ``where``, the setting, its value and ``fix``.
    """
    for name, value in config.items():
        kind = type(DEFAULTS.get(name, value))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(f"{where}{name}: {value!r} is no {kind.__name__}; {fix}")


def _read(path: Path) -> Run:
    record = records.read(path)
    for part, git in (("git", record["git"]), ("eval.git", record["eval"]["git"])):
        if git["commit"] is None:
            raise UserError(
                f"{path}: {part}.commit: null: which source made these numbers is unknown; run it from a git checkout, "
                "or move the record away"
            )
    config, dataset = record["config"], record["dataset"]
    check_types(config, f"{path}: config.", "restore the record or move it away")
    for key, said, setting in (
        ("model", record["model"], "model"),
        ("seed", record["seed"], "seed"),
        ("dataset.name", dataset["name"], "dataset"),
        ("dataset.labelled", dataset["labelled"], "labels"),
        ("dataset.pixel_scale", dataset["pixel_scale"], "pixel_scale"),
    ):
        # Null: images that are probabilities already have no scale, whatever the setting says.
        if said is not None and setting in config and config[setting] != said:
            raise UserError(
                f"{path}: {key}: {said}, but config.{setting} is {config[setting]}: the record contradicts itself; "
                "`cagem evaluate RUN` writes it anew"
            )
    return Run(path.parent, record, image_bounds.read(path.parent, record))
