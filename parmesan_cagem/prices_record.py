"""``prices.json`` beside a run's record: its numbers, its schema, and the one-layer model that it is held against."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import files, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError

NAME = "prices.json"
SCHEMA_VERSION = 1
PROTOCOL = ("images", "indices_sha256", "binarisation", "seeds", "bn_mode", "estimator", "k")
DEFINITIONS = {
    "middle": "E_q(first|x) [log p_IW(x, first) - log q(first|x)], p_IW importance-weighted over the later variables "
    "with the first one held fixed; estimated as F_1 + price_later, so that the record's draws of F_1 serve both",
    "price_later": "middle - F_1, both from the same nested draws: from below, "
    "E_q(first|x) KL[q(later|x, first) || p(later|x, first)]",
    "price_first": "F_k - middle: KL[q(first|x) || p(first|x)], as far as both bounds are tight",
    "gain": "F_k of this run - F_k of the one-layer model: the later variables pay where it is above 0",
}
# What a one-layer model is trained and evaluated without, or may differ in: neither is its schedule.
_FREE = {"preset", "model", "seed", "label_seed", "engine", "precision", "devices", "z2_dim"}


def numbers(
    bounds: Mapping[str, Any], k: int, price_later: Mapping[str, Any], errors: Mapping[str, float | None]
) -> dict[str, Any]:
    """The five numbers; F_1 + price_later = middle and middle + price_first = F_k, seed by seed.

    Parameters
    ----------
    bounds : mapping
        The record's.
    price_later : mapping
        Mean, standard error, means by seed.
    errors : mapping
        Standard errors over images of ``middle`` and ``price_first``; absent where those are not known one by one.
    """
    f_1, f_k = bounds["F_1"], bounds[f"F_{k}"]
    middle = [a + b for a, b in zip(f_1["by_seed"], price_later["by_seed"], strict=True)]
    first = [a - b for a, b in zip(f_k["by_seed"], middle, strict=True)]
    return {
        "F_1": f_1,
        "middle": _bound(middle, errors.get("middle")),
        "F_k": f_k,
        "price_later": price_later,
        "price_first": _bound(first, errors.get("price_first")),
    }


def one_layer(
    record: Mapping[str, Any], other: Mapping[str, Any], folder: Path, gain_error: float | None
) -> dict[str, Any]:
    """What ``prices.json`` says of the one-layer model with record ``other``.

    Parameters
    ----------
    folder : Path
        That model's, for messages.
    gain_error : float or None
        Standard error of the gain over images, if known.

    Raises
    ------
    UserError
        It has more layers, another schedule, or was evaluated by another protocol: names each difference.
    """
    config = {**_defaults(), **other["config"]}
    if other["model"] not in ("vae", "iwae") or config["layers"] != 1:
        layers = f", {config['layers']} layers" if "layers" in other["config"] else ""
        raise UserError(
            f"--one-layer {folder}: is {other['model']}{layers}; train one with --model vae --layers 1, or iwae"
        )
    different = _differences(record, other)
    if different:
        raise UserError(
            f"--one-layer {folder}: {'; '.join(different)}; train and evaluate it as the run was, or name another"
        )
    k = record["eval"]["k"]
    ours, its = record["bounds"][f"F_{k}"], other["bounds"][f"F_{k}"]
    gain = [a - b for a, b in zip(ours["by_seed"], its["by_seed"], strict=True)]
    named = {"name": other["name"], "model": other["model"], "config_hash": other["config_hash"], "seed": other["seed"]}
    return {**named, "F_k": its, "gain": _bound(gain, gain_error)}


def _differences(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what the trainings and evaluations of both differ, as ``epochs 60, here 10``."""
    trained = (f for f in dataclasses.fields(Experiment) if f.metadata["role"] == "training")
    shared = [f.name for f in trained if not f.metadata["models"] and f.name not in _FREE]
    mine, its = ({**_defaults(), **one["config"]} for one in (record, other))
    pairs = [(name, mine[name], its[name]) for name in shared]
    pairs += [("epochs", record["epochs"], other["epochs"])]
    data = ("sha256", "unlabelled")
    pairs += [(f"dataset.{name}", record["dataset"][name], other["dataset"][name]) for name in data]
    protocol = ("indices_sha256", "seeds", "bn_mode", "k")
    pairs += [(f"eval.{name}", record["eval"][name], other["eval"][name]) for name in protocol]
    return [f"{name} is {there}, of the run {here}" for name, here, there in pairs if here != there]


def _defaults() -> dict[str, Any]:
    """A setting that a record lacks came later, and was what its default is."""
    return {f.name: f.default for f in dataclasses.fields(Experiment)}


def _bound(by_seed: Sequence[float], error: float | None) -> dict[str, Any]:
    return {"mean": float(np.mean(by_seed)), "standard_error": error, "by_seed": list(by_seed)}


def belongs_to(prices: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether the prices are of that record: the same training, protocol and bounds."""
    of_training = all(prices[name] == record[name] for name in ("config_hash", "steps"))
    of_evaluation = all(prices["protocol"][name] == record["eval"][name] for name in prices["protocol"])
    if not (of_training and of_evaluation):
        return False
    bounds = {"F_1": record["bounds"]["F_1"], "F_k": record["bounds"][f"F_{record['eval']['k']}"]}
    return all(prices["numbers"][name] == bound for name, bound in bounds.items())


def write(path: Path, prices: Mapping[str, Any]) -> None:
    """Validate and write atomically.

    Raises
    ------
    UserError
        Something breaks the schema, or the file cannot be written.
    """
    files.write_json(path, _checked(prices, path.name))


def read(path: Path) -> dict[str, Any]:
    """Read and validate.

    Raises
    ------
    UserError
        One line: the file is missing, is not JSON, or breaks the schema at the key named.
    """
    return _checked(files.read_json(path, "`cagem prices RUN` writes it anew"), path)


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema, with the definitions of the record's."""
    own = json.loads(resources.files("parmesan_cagem").joinpath("prices.schema.json").read_text())
    return {**own, "$defs": records.schema()["$defs"]}


def _checked(prices: Any, what: object) -> dict[str, Any]:
    return records.fitting(prices, what, records.validator(schema()), "prices.schema.json")
