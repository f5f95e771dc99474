"""From an evaluated run to its prices.json: measure, hold against the record, write."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

from parmesan_cagem import image_bounds, prices, prices_record, provenance, recording, trained
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.evaluation import mean_and_error
from parmesan_cagem.image_bounds import ImageBounds, standard_error
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.partition import evaluated, judged, partition
from parmesan_cagem.runfolder import RunFolder

LEDGER = "prices.h5"


def finish(
    folder: RunFolder,
    record: dict[str, Any],
    e: Experiment,
    data: Dataset,
    engine: Engine,
    outer: int,
    inner: int,
    one_layer: tuple[Path, dict[str, Any]] | None,
    quiet: bool,
) -> dict[str, Any]:
    """Measure the prices and write them. Killed, it goes on where it stood: finished images are in ``prices.h5``.

    Parameters
    ----------
    record : dict
        The run's.
    e : Experiment
        Its settings, those of the evaluation included.
    one_layer : (Path, dict) or None
        Folder and record of the one-layer model.

    Returns
    -------
    dict
        What prices.json holds.

    Raises
    ------
    UserError
        The record is of other weights or images than are at hand, or prices do not apply to the model.
    FloatingPointError
        A result is not finite.
    """
    model = trained.load(folder.path)
    parts = partition(data, e)
    data = judged(data, e, parts)
    indices = evaluated(data, e)
    trained.check_data(model, data.sha256, parts.labelled_sha256)
    now_trained = recording.training_fields(folder, model, e, data, parts)
    changed = [key for key in ("config_hash", "started", "steps", "train_seconds") if now_trained[key] != record[key]]
    if changed or indices_sha256(indices) != record["eval"]["indices_sha256"]:
        what = f"weights ({', '.join(changed)})" if changed else "test images"
        raise UserError(f"{folder.record_path}: is of other {what} than these; `cagem evaluate {folder.path}` first")
    # Before hours of work: without them the differences have no standard errors.
    ours, its = _image_bounds(folder.path, record), None
    if one_layer is not None:
        its = _image_bounds(*one_layer)
    order = prices.order(model.model)
    now = provenance.of(engine)
    source = {"engine": engine.name, "precision": engine.precision, "git": now["git"]}
    identity = {"weights": model.sha256, "data": data.sha256, **source}
    with Ledger(folder.path / LEDGER, identity, now["device"]) as ledger:
        if ledger.warning:
            print(ledger.warning, file=sys.stderr)
        found = prices.measure(model.model, e, data, parts, engine, outer, inner, quiet, ledger)
    k = record["eval"]["k"]
    errors, gain_error, beside = {}, None, None
    if ours is not None:
        f_1s, f_ks = ours.by_name["F_1"], ours.by_name[f"F_{k}"]
        middle = [f_1 + one.price_later for f_1, one in zip(f_1s, found, strict=True)]
        price_first = [f_k - one for f_k, one in zip(f_ks, middle, strict=True)]
        errors = {name: standard_error(v) for name, v in (("middle", middle), ("price_first", price_first))}
    if one_layer is not None:
        path, other = one_layer
        if ours is not None and its is not None:
            gain_error = image_bounds.difference(its, ours, f"F_{k}")[1]
        beside = prices_record.one_layer(record, other, path, gain_error)
    price_later = mean_and_error([one.price_later for one in found])
    result = {
        "schema_version": prices_record.SCHEMA_VERSION,
        "name": record["name"],
        "model": record["model"],
        "config_hash": record["config_hash"],
        "steps": record["steps"],
        "weights_sha256": model.sha256,
        "first": order.first,
        "later": list(order.later),
        "definitions": prices_record.DEFINITIONS,
        "outer": outer,
        "inner": inner,
        "protocol": {name: record["eval"][name] for name in prices_record.PROTOCOL},
        "numbers": prices_record.numbers(record["bounds"], k, price_later, errors),
        "same_draws": {
            "F_1": mean_and_error([one.f_1 for one in found]),
            "middle": mean_and_error([one.middle for one in found]),
        },
        "one_layer": beside,
        **now,
        "precision": engine.precision,
        "device": "; ".join(ledger.devices),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": sum(one.seconds for one in found),
        "peak_memory_bytes": ledger.peak_memory_bytes(),
    }
    prices_record.write(folder.path / prices_record.NAME, result)
    return result


def _image_bounds(folder: Path, record: dict[str, Any]) -> ImageBounds | None:
    found = image_bounds.read(folder, record)
    if found is None:
        lacking = f"{folder}: no {image_bounds.NAME} of its record, which `cagem evaluate {folder}` writes"
        print(f"{lacking}: no standard errors of differences", file=sys.stderr)
    return found
