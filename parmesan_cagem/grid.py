"""A grid of runs: a YAML file that says which runs there are and what each is for (``workflow/paper.yaml``)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from parmesan_cagem import arguments, config, files
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError, words
from parmesan_cagem.run_queue import ROOT, SCRIPTS, Entry

CHECKOUT = ROOT / "workflow"
GRID_BYTES, RUNS = 1 << 16, 2_000  # of a file, and in it: lists are crossed, and ten of ten make ten billion
MOST_SHARDS = 999_999  # as `cagem evaluate --merge` reads them
_TYPES = {field.name: type(field.default) for field in dataclasses.fields(Experiment)}
_SCRIPT = {dataset: script for script, dataset in SCRIPTS.items()}


class _Loader(yaml.SafeLoader):
    """Without aliases: nine lines of them make a billion values, and a grid needs none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "an alias (*name): write it out", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Attributes
    ----------
    entry : Entry
        The command without ``--out``, ``--data-dir`` and ``--resume``, the experiment and the folder.
    fills : tuple of str
        Tables, figures and numbers, in words.
    """

    entry: Entry
    fills: tuple[str, ...]

    @property
    def experiment(self) -> Experiment:
        """Its settings."""
        return self.entry.experiment

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.entry.folder.name


@dataclass(frozen=True)
class Grid:
    """Runs, and the number of parts that the evaluation of each is cut into."""

    shards: int
    runs: tuple[Run, ...]


def read(path: Path, preset: str, out: Path) -> Grid:
    """Read a grid and expand it.

    Parameters
    ----------
    path : Path
    preset : str
        What the settings that an entry leaves out come from.
    out : Path
        Folder of run folders.

    Raises
    ------
    UserError
        The file is no grid, or an entry no run: names the file and the entry.
    """
    content = _content(path)
    if unknown := sorted(map(str, set(content) - {"shards", "settings", "runs"})):
        raise UserError(f"{path}: {', '.join(unknown)}: unknown; a grid has shards, settings and runs")
    shards, entries = content.get("shards", 1), content.get("runs")
    if type(shards) is not int or not 1 <= shards <= MOST_SHARDS:
        raise UserError(f"{path}: shards: {_short(shards)}: give a whole number of at least 1, at most {MOST_SHARDS}")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: runs: give a list of entries, each with for and settings")
    common = content.get("settings", {})
    if not isinstance(common, dict):
        raise UserError(f"{path}: settings: {_short(common)}: give what all runs share, as `wide: 256`")
    runs: dict[str, Run] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: {_short(entry)}: give settings, as `model: vae`")
        fills = _fills(entry, where)
        where += f" ({', '.join(fills)})"
        try:
            own = {name: value for name, value in entry.items() if name != "for"}
            for e in _experiments({**common, **own}, preset):
                run = _run(e, fills, out)
                if run.name in runs:
                    raise UserError(f"the run {run.name} stands in the grid already; let one entry say all it is for")
                runs[run.name] = run
                if len(runs) > RUNS:
                    raise UserError(f"more than {RUNS} runs; leave values out")
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return Grid(shards, tuple(runs.values()))


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = _Loader(files.read_bytes(path, GRID_BYTES)).get_single_data()  # yaml.safe_load, less aliases
    except OSError as error:
        raise UserError(f"{path}: cannot read the grid: {files.cause(error)}") from error
    except RecursionError:
        raise UserError(f"{path}: not YAML: too many levels") from None
    except Exception as error:  # a date such as 2026-13-01 is a ValueError, and its tags have one for every mistake
        raise UserError(f"{path}: not YAML: {words(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a grid; it has shards and runs, as workflow/paper.yaml has")
    return content


def _fills(entry: Mapping[Any, Any], where: str) -> tuple[str, ...]:
    fills = entry.get("for")
    words = fills if isinstance(fills, list) else [fills]
    if not words or not all(isinstance(word, str) and word for word in words):
        raise UserError(f"{where}: for: {_short(fills)}: say what the run fills, as [Table 1, Figure 4]")
    return tuple(words)


def _experiments(entry: Mapping[Any, Any], preset: str) -> Iterator[Experiment]:
    """Every combination of the entry's values, the last setting varying fastest."""
    for name in entry:
        if name not in _TYPES or name == "preset":
            why = "the preset is the command's to give" if name == "preset" else "no setting of Experiment"
            raise UserError(f"{name}: {why}; leave it out")
    values = [value if isinstance(value, list) else [value] for value in entry.values()]
    for name, given in zip(entry, values, strict=True):
        if not given:
            raise UserError(f"{name}: []: give a value, or several")
    for chosen in itertools.product(*values):
        yield config.experiment(preset, **{n: _plain(n, v) for n, v in zip(entry, chosen, strict=True)})


def _plain(name: str, value: Any) -> Any:
    """A number stands for the text of a setting that is one (``label_weight: 10``)."""
    if type(value) not in (str, int, float, bool):
        raise UserError(f"{name}: {_short(value)}: give a plain value, or a list of them")
    return str(value) if _TYPES[name] is str and type(value) in (int, float) else value


def _short(value: Any) -> str:
    """What stands in the file, for a message."""
    try:
        text = str(value)
    except ValueError:  # a whole number in hexadecimal, of more than 4300 decimal digits
        return "a value too long to be shown"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _run(e: Experiment, fills: tuple[str, ...], out: Path) -> Run:
    return Run(Entry((_SCRIPT[e.dataset], *arguments.flags(e)), e, out / arguments.default_name(e)), fills)
