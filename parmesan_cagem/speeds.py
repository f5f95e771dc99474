"""How long a run takes on a device: its training steps and rows of evaluation, each at a speed of ``speeds.json``.

That file is ``benchmarks/grid.py``'s: seconds and FLOP of every configuration of ``paper.yaml``, measured on one
machine, and assumptions for a device that nothing was measured on. What it does not know has no time here: None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import config, files
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.grid import CHECKOUT
from parmesan_cagem.presets import IMAGES

# Settings that change no time, only numbers or how often something is done. Whatever is not named here belongs to a
# configuration, a setting of a later version too: better no time than another's.
_NEUTRAL = """
preset seed label_seed labels labelled_batch_size y_edge_scale bn_epsilon bn_momentum label_weight label_weight_p
labelled_bound warmup_epochs epochs learning_rate learning_rate_decay decay_epochs learning_rate_floor adam_beta1
adam_beta2 adam_epsilon pixel_scale holdout train_images iw_samples eval_images eval_split eval_seed eval_seeds
class_draws checkpoint_every tempered
"""
_TRAINING = "batch_size train_iw iw_objective routing labelled_bn class_bn clip_norm devices"
NEUTRAL, TRAINING = frozenset(_NEUTRAL.split()), frozenset(_TRAINING.split())
EVALUATION = frozenset(("estimator", "bn_eval"))
MEASURED = CHECKOUT / "speeds.json"
KINDS = ("steps", "bounds", "classes")

Key = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Seconds:
    """What is left of a run on a device; None where no time is known."""

    train: float | None
    evaluate: float | None
    start: float  # of each process of the evaluation; it is in both of the others once


def key(e: Experiment, kind: str) -> Key:
    """What the time of one step (``steps``), or of one row of a bound or of the classes, depends on."""
    left_out = NEUTRAL | (EVALUATION if kind == "steps" else TRAINING)
    found = {name: value for name, value in e.to_dict().items() if name not in left_out}
    if kind == "steps":
        found["labelled rows"] = min(e.labels, e.labelled_batch_size)
    elif e.model == "iwae":  # the objective's name; the networks are the VAE's
        found["model"] = "vae"
    if kind == "classes":
        del found["estimator"]
    return tuple(sorted(found.items()))


def work(e: Experiment) -> dict[str, int]:
    """How many steps an epoch has; rows (image x sample) of the bounds, and (image x draw) of the classes.

    Examples
    --------
    >>> work(config.experiment("short"))
    {'steps': 600, 'bounds': 2500000, 'classes': 1000000}
    """
    train, test = IMAGES[e.dataset]
    test = e.holdout if e.eval_split == "heldout" else test
    steps = (e.train_images or train - e.holdout) // e.batch_size
    bounds = (e.eval_images or test) * e.iw_samples * e.eval_seeds
    return {"steps": steps, "bounds": bounds, "classes": test * e.class_draws * e.eval_seeds}


class Device:
    """Times on one device.

    Parameters
    ----------
    name : str
    facts : mapping
        ``measured``, ``start_seconds`` of a process, ``epoch_seconds`` of a checkpoint, ``reasoning``; of a device that
        is not measured ``step`` and ``row``, each with ``flop_per_second`` and the ``seconds`` that one takes at least.
    measured : mapping
        Kind -> list of what was measured: ``settings``, ``seconds`` and ``flop`` of a step or row.
    """

    def __init__(self, name: str, facts: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        self.name, self.measured, self.reasoning = name, bool(facts["measured"]), str(facts["reasoning"])
        self._facts = facts
        self._found = {
            kind: {key(config.experiment("paper", **one["settings"]), kind): one for one in measured[kind]}
            for kind in KINDS
        }

    def unit(self, e: Experiment, kind: str) -> float | None:
        """Seconds of a step, or of a row; None if there is nothing to tell them from."""
        found = self._found[kind].get(key(e, kind))
        if found is None or self.measured:
            return found and float(found["seconds"])
        assumed = self._facts["step" if kind == "steps" else "row"]
        return max(float(assumed["seconds"]), found["flop"] / assumed["flop_per_second"])

    def seconds(self, e: Experiment, state: str = "new", epochs: int = 0) -> Seconds:
        """What is left of a run in that state, with so many epochs done."""
        start = float(self._facts["start_seconds"])
        units, counts = {kind: self.unit(e, kind) for kind in KINDS}, work(e)
        train, bounds, classes = (units[kind] for kind in KINDS)
        if epochs >= e.epochs:
            training: float | None = 0.0
        else:
            epoch = (
                None if train is None else counts["steps"] * train + self._facts["epoch_seconds"] / e.checkpoint_every
            )
            training = None if epoch is None else start + (e.epochs - epochs) * epoch
        if state == "finished":
            return Seconds(training, 0.0, start)
        if bounds is None or classes is None:
            return Seconds(training, None, start)
        return Seconds(training, start + counts["bounds"] * bounds + counts["classes"] * classes, start)


def read(path: Path | None = None, session: Path | None = None) -> list[Device]:
    """The devices of a file of speeds.

    Parameters
    ----------
    path : Path, optional
        ``workflow/speeds.json`` of the checkout when absent.
    session : Path, optional
        A ``session.json`` of ``tools/gpu_session.py``: its step gives the rate of devices that are not measured.

    Raises
    ------
    UserError
        A file is missing or is something else.
    """
    path = path or MEASURED
    content = files.read_json(path, "restore it with git checkout, or measure: make bench-grid")
    try:
        devices = {name: dict(facts) for name, facts in content["devices"].items()}
        _check(devices, content)
        if session:
            devices = {name: facts if facts["measured"] else _timed(session, facts) for name, facts in devices.items()}
        return [Device(name, facts, content) for name, facts in devices.items()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: not speeds: {type(error).__name__} {error}; restore it with git checkout, or make bench-grid"
        ) from error


def _check(devices: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Whether every time is one; TypeError and ValueError where it is something else."""
    times = [one[what] for kind in KINDS for one in content[kind] for what in ("seconds", "flop")]
    for facts in devices.values():
        times += [facts["start_seconds"], facts["epoch_seconds"]]
        if not facts["measured"]:
            times += [facts[kind][what] for kind in ("step", "row") for what in ("seconds", "flop_per_second")]
    for time in times:
        if type(time) not in (int, float) or not 0 <= time < 1e30:
            raise ValueError(f"{time!r} is no time, and no number of operations")
    if any(facts[kind]["flop_per_second"] == 0 for facts in devices.values() for kind in _rates(facts)):
        raise ValueError("flop_per_second is 0")


def _rates(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return () if facts["measured"] else ("step", "row")


def _timed(session: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a device, with the rates that a session measured of CaGeM-100: in float32, steps of 100 images.

    No step or row of another model is taken to be quicker than assumed before, unless CaGeM-100's was.
    """
    found = files.read_json(session, "name a session.json that tools/gpu_session.py wrote")
    try:
        times = [one for one in found["time"] if one["precision"] == "float32"]
        step = next(one for one in times if one["what"] == "step" and one["batch"] == 100)
        row = next(one for one in times if one["what"] == "bound")
        measured = {
            "step": (1e9 * step["gflops"], step["seconds"]),
            "row": (1e9 * row["gflops"], 1 / row["rows_per_second"]),
        }
        device = found["probe"]["device"]
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, StopIteration) as error:
        raise UserError(f"--session {session}: no float32 times of 100 images a step; run its stage `time`") from error
    speed = f"{1e3 * step['seconds']:.2f} ms a step, {row['rows_per_second']:.0f} rows a second"
    reasoning = f"CaGeM-100 measured on {device} ({speed}), all others by their FLOP"
    rates = {
        kind: {"flop_per_second": rate, "seconds": min(seconds, facts[kind]["seconds"])}
        for kind, (rate, seconds) in measured.items()
    }
    return {**facts, **rates, "reasoning": reasoning}
