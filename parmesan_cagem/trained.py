"""A trained model from its run folder: what evaluation and pictures begin with."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parmesan_cagem import checkpoint, finite, published, sealed
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError

if TYPE_CHECKING:  # Theano, which identify does without
    from parmesan_cagem.models.networks import Model

_WEIGHTS = "weights/"  # of the names that training_step gives to the arrays of a checkpoint
_PIXELS = "weights/p_x.logits.b"


@dataclass(frozen=True, eq=False)
class Trained:
    """A model with the weights and running averages of a checkpoint.

    Attributes
    ----------
    folder : Path
        The run's.
    experiment : Experiment
        The settings it was trained with.
    model : Model
    facts : dict
        The checkpoint's plain values: ``epoch``, ``seconds``, ``started``, ``notes`` ...
    sha256 : str
        Of the weights and running averages: whatever was computed from others is stale.
    warnings : tuple of str
        A damaged newest checkpoint, for which the one before stands in; published weights, which are rounded.
    """

    folder: Path
    experiment: Experiment
    model: Model
    facts: dict[str, Any]
    sha256: str
    warnings: tuple[str, ...]


def load(folder: Path) -> Trained:
    """Build the model of a run and give it the weights of its newest sound checkpoint, or else the published ones.

    Raises
    ------
    UserError
        There is no sound checkpoint, or it belongs to another version of the model.
    NumericalError
        Its weights or running averages are not finite.
    """
    from parmesan_cagem import models

    folder = Path(folder)
    saved, weights = _read(folder)
    if bad := finite.faults(weights):  # sealed and sound: some program saved them so
        raise finite.NumericalError(
            f"{saved.path}: {finite.words(bad)}; such weights have no results: put {checkpoint.PREVIOUS} in its place, "
            f"or train again under another --name"
        )
    experiment = Experiment.from_dict(saved.attributes["config"])
    model = models.build(experiment, len(saved.arrays[_PIXELS]))
    restore(model, weights, saved.path)
    return Trained(folder, experiment, model, saved.attributes, _digest(weights), saved.warnings)


def identify(folder: Path) -> str:
    """``Trained.sha256`` of a run, without building its model: whether something computed from it is stale.

    Raises
    ------
    UserError
        There is no sound checkpoint.
    """
    return _digest(_read(Path(folder))[1])


@functools.cache
def _data_of(folder: Path) -> str:
    return str(_saved(folder).attributes.get("data_sha256"))


def check_data_of(folder: Path, data_sha256: str) -> None:
    """Refuse to draw a run with other data than it was trained on.

    Raises
    ------
    UserError
    """
    if _data_of(Path(folder)) != data_sha256:
        raise UserError(f"{folder}: was trained on another copy of the data than this; name the former with --data-dir")


def exists(folder: Path) -> bool:
    """Whether there are weights in ``folder``: a checkpoint, or published ones."""
    return checkpoint.exists(folder) or published.exists(folder)


def _saved(folder: Path) -> checkpoint.Checkpoint:
    """What training saved; published weights only where there is nothing of it."""
    alone = published.exists(folder) and not checkpoint.exists(folder)
    return published.load(folder) if alone else checkpoint.load(folder)


def _read(folder: Path) -> tuple[checkpoint.Checkpoint, dict[str, np.ndarray]]:
    """The newest sound checkpoint, and its weights by name."""
    saved = _saved(folder)
    weights = {k.removeprefix(_WEIGHTS): v for k, v in saved.arrays.items() if k.startswith(_WEIGHTS)}
    pixels = saved.arrays.get(_PIXELS)
    if (
        pixels is None
        or pixels.ndim != 1
        or "config" not in saved.attributes
        or not checkpoint.describes_run(saved.attributes, False)
    ):
        raise UserError(f"{saved.path}: holds no weights of a run; name a folder that run_mnist.py or the like wrote")
    return saved, weights


def restore(model: Model, weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Set every parameter and running average of ``model``, by name.

    Raises
    ------
    UserError
        One is missing or has another shape.
    """
    for param in model.params():
        array = weights.get(param.name)
        if array is None or array.shape != param.get_value(borrow=True).shape or array.dtype != param.dtype:
            found = "is missing" if array is None else f"has shape {array.shape}, {array.dtype}"
            raise UserError(
                f"{path}: {param.name} {found}, the model of these settings has {param.get_value(borrow=True).shape}, "
                f"{param.dtype}; use the version of parmesan_cagem that wrote it"
            )
        param.set_value(array)


def check_data(trained: Trained, data_sha256: str, labelled_sha256: str | None) -> None:
    """Refuse to evaluate on other data, or other labels, than a run was trained on.

    Raises
    ------
    UserError
    """
    facts = trained.facts
    if not checkpoint.describes_run(facts) or "labelled_sha256" not in facts:
        raise UserError(f"{trained.folder}: its checkpoint lacks what a record says of a run; train it again")
    if (facts["data_sha256"], facts["labelled_sha256"]) != (data_sha256, labelled_sha256):
        what = "another copy of the data" if facts["data_sha256"] != data_sha256 else "other labelled images"
        raise UserError(f"{trained.folder}: was trained on {what} than these; name the former ones with --data-dir")


def _digest(weights: Mapping[str, np.ndarray]) -> str:
    parts = [sealed.digest(name, weights[name]) for name in sorted(weights)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
