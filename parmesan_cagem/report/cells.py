"""Which records fill a cell of the paper's tables, and what number they give.

The rule:

1. *A run fits a cell* when its settings are the cell's own (``cell`` in ``results/paper.json``: data set, model,
   labels, clusters, layers, samples in training, with or without temperature), and those in ``STATED``, which the paper
   gives, are the paper's. Of a list of values any will do. Everything else may vary and is said beside the number: the
   preset, the lengths of the schedules, and what the paper leaves open (weights of the labelled terms, kinds of batch
   statistics ...). Runs of preset ``smoke`` fit no cell.
2. *A group* is the runs that fit and differ in nothing but seeds, label subset, engine and number of devices: one
   recipe, as many epochs, evaluated alike by one protocol. The cell shows the mean over a group; of two records with
   the same seeds, the first by name.
3. *Of several groups* the one shown has the first of the presets paper, short, demo; then the most epochs; then the
   most images times samples (that is its standing); then the most runs; then the fewest settings that differ from its
   preset's; then the first name. The result decides nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parmesan_cagem import config as settings_of
from parmesan_cagem import files
from parmesan_cagem.config import MAY_CHANGE
from parmesan_cagem.report.protocol import Protocol, protocol
from parmesan_cagem.report.runs import DEFAULTS, Run

RANKED = ("paper", "short", "demo")
# What the paper states, and cuts of the training data: another value is another model than the row's.
STATED = (
    "wide",
    "narrow",
    "layers",
    "z1_dim",
    "z2_dim",
    "a_dim",
    "skip",
    "routing",
    "train_iw",
    "iw_objective",
    "learning_rate",
    "learning_rate_decay",
    "adam_beta1",
    "adam_beta2",
    "holdout",
    "train_images",
)
# Readings of the paper's widths; of two layers, doubled is nodes (but for AVAE's p(a2|z2)). LVAE's own ladder is none.
WIDTHS = ("nodes", "tapered", "doubled")
# What may differ between the runs of a group.
_FREE = MAY_CHANGE | {"seed", "label_seed", "engine", "devices"}
ERRORS = ("error_p", "error_q", "accuracy_p")


@dataclass(frozen=True, eq=False)
class Entry:
    """What a cell shows.

    Attributes
    ----------
    runs : tuple of Run
        A group: one for each pair of seeds.
    value : float
        Mean, in nats or percent. For errors, over label subsets of the means over seeds.
    spread : float or None
        Sample standard deviation over subsets or runs; of a single run, its standard error over images, if it has one.
    spread_of : str
        ``3 runs``, ``3 subsets`` or ``images``.
    """

    runs: tuple[Run, ...]
    value: float
    spread: float | None
    spread_of: str

    @property
    def subsets(self) -> tuple[int, ...]:
        """Seeds of the label subsets; none without labels."""
        return tuple(sorted({run.record["label_seed"] for run in self.runs} - {None}))


@dataclass(frozen=True, eq=False)
class Choice:
    """The group that a cell shows, and all that stand equal with it in preset, epochs and size of evaluation.

    Attributes
    ----------
    entry : Entry
    protocol : Protocol
        Of the group shown.
    equals : tuple of Run
        The runs of all groups of equal standing, the one shown included, in the order of preference.
    """

    entry: Entry
    protocol: Protocol
    equals: tuple[Run, ...]


def fits(settings: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a run with settings ``config`` belongs to the cell that ``settings`` identify.

    Parameters
    ----------
    settings : mapping
        Values of settings, or a sequence of those that will do; ``temperature``: whether ``warmup_epochs`` is above 0;
        ``subsets``: n, label seeds 1 to n.
    config : mapping
        The Experiment of a run. A setting it lacks (it came later) counts as its default.

    Examples
    --------
    >>> from parmesan_cagem.config import Experiment
    >>> cell = {"dataset": "mnist", "model": "cagem", "labels": 100, "temperature": True}
    >>> fits(cell, Experiment(labels=100).to_dict()), fits(cell, Experiment(labels=100, z2_dim=2).to_dict())
    (True, False)
    """
    have = {**DEFAULTS, **config}
    wanted = {**{name: DEFAULTS[name] for name in STATED}, "widths": WIDTHS, **settings}
    temperature, subsets = wanted.pop("temperature", None), wanted.pop("subsets", None)
    return (
        config.get("preset") in RANKED
        and all(name in have and have[name] in values(value) for name, value in wanted.items())
        and temperature in (None, have["warmup_epochs"] > 0)
        and (subsets is None or 1 <= have["label_seed"] <= subsets)
    )


def values(wanted: Any) -> Sequence[Any]:
    """The values of a setting that a cell takes; the first is what a run made for it has."""
    return wanted if isinstance(wanted, list | tuple | range) else (wanted,)


def departures(config: Mapping[str, Any], temperature_said: bool = True) -> tuple[str, ...]:
    """Settings that shape the weights, are not the preset's and have no column, as ``class_bn q (not uniform)``.

    No temperature (``warmup_epochs`` 0) is none of them where it belongs to the cell.

    Examples
    --------
    >>> from parmesan_cagem.config import Experiment
    >>> departures(Experiment(class_bn="q", epochs=3, seed=4).to_dict())
    ('class_bn q (not uniform)',)
    """
    dataset, model = (config.get(name, DEFAULTS[name]) for name in ("dataset", "model"))
    usual = settings_of.usual(config["preset"], dataset, model)
    shown = _FREE | {"dataset", "preset", "model", "labels", "clusters", "pixel_scale", *STATED}
    if temperature_said and config.get("warmup_epochs") == 0:
        shown |= {"warmup_epochs"}
    names = [name for name in usual if name not in shown and config.get(name, usual[name]) != usual[name]]
    return tuple(f"{name} {config[name]} (not {usual[name]})" for name in names)


def measure(record: Mapping[str, Any], quantity: str) -> tuple[float, float | None] | None:
    """The number, and its standard error over images if it has one, in nats or percent; None where there is none.

    Examples
    --------
    >>> measure({"error_p": 20.0, "eval": {"error_images": 400}}, "accuracy_p")
    (80.0, 2.0)
    """
    if quantity in ERRORS:
        error = record["error_q" if quantity == "error_q" else "error_p"]
        if error is None:
            return None
        binomial = math.sqrt(error * (100 - error) / record["eval"]["error_images"])
        return (100 - error if quantity == "accuracy_p" else error), binomial
    if quantity == "KL_z2":
        terms = record["terms"] or {}
        return (terms["KL_z2"], None) if "KL_z2" in terms else None
    bound = record["bounds"][f"F_{record['eval']['k']}" if quantity == "bound" else quantity]
    return bound["mean"], bound["standard_error"]


def size(record: Mapping[str, Any], quantity: str) -> tuple[int, int]:
    """Test images, and samples or draws for each, of what gave the number."""
    evaluation = record["eval"]
    if quantity in ERRORS:
        return evaluation["error_images"], evaluation["draws_for_errors"]
    return evaluation["images"], evaluation["k"]


def choose(runs: Iterable[Run], settings: Mapping[str, Any], quantity: str) -> Choice | None:
    """The group that fills the cell, by the rule above; None where no run fits."""
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], Run]] = {}
    for run in runs:
        if fits(settings, run.config) and measure(run.record, quantity) is not None:
            kept = {name: value for name, value in {**DEFAULTS, **run.config}.items() if name not in _FREE}
            key = (
                files.to_json(kept, sort_keys=True),
                run.record["epochs"],
                size(run.record, quantity),
                protocol(run.record, quantity),
            )
            # A copy of a run is not another run.
            groups.setdefault(key, {}).setdefault((run.record["seed"], run.record["label_seed"]), run)
    ordered = sorted(groups.values(), key=lambda group: _preference(group, quantity))
    if not ordered:
        return None
    shown = tuple(ordered[0].values())
    standing = _preference(ordered[0], quantity)[0]
    equals = tuple(run for group in ordered if _preference(group, quantity)[0] == standing for run in group.values())
    return Choice(entry(shown, quantity), protocol(shown[0].record, quantity), equals)


def _preference(group: Mapping[Any, Run], quantity: str) -> tuple[Any, ...]:
    """Sorts groups; the first part is their standing, the rest makes the order definite."""
    run = next(iter(group.values()))
    standing = (RANKED.index(run.config["preset"]), -run.record["epochs"], -math.prod(size(run.record, quantity)))
    return standing, -len(group), len(departures(run.config)), run.name, files.to_json(run.record, sort_keys=True)


def entry(runs: tuple[Run, ...], quantity: str) -> Entry:
    """Mean and spread of a group (:class:`Entry`)."""
    found = [(run, measured) for run in runs if (measured := measure(run.record, quantity)) is not None]
    values = [value for _, (value, _) in found]
    what = "runs"
    if quantity in ("error_p", "error_q"):
        what, seeds = "subsets", [run.record["label_seed"] for run, _ in found]
        values = [
            statistics.fmean(value for value, of in zip(values, seeds, strict=True) if of == seed)
            for seed in sorted(set(seeds))
        ]
    value = statistics.fmean(values)
    if len(values) == 1 and len(found) > 1:  # one subset, several seeds
        values, what = [value for _, (value, _) in found], "runs"
    if len(values) > 1:
        return Entry(runs, value, statistics.stdev(values), f"{len(values)} {what}")
    return Entry(runs, value, found[0][1][1], "images")
