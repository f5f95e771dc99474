"""Sealed files, HDF5 under a digest: checkpoints and evaluations, damaged also under seals and sums that hold."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from parmesan_cagem import checkpoint, config, files, sealed
from parmesan_cagem.config import Experiment
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.ledger import Ledger
from torture.damage_mutate import bytes_of, changed, damaged
from torture.damage_shared import digest, into
from torture.damage_worker import Format


def formats() -> list[Format]:
    """Checkpoints, and evaluations."""
    return [*_checkpoints(), *_ledgers()]


def facts(e: Experiment | None = None) -> dict[str, Any]:
    """The plain values of a checkpoint, as training saves them."""
    e = e or config.experiment("smoke", labels=20)
    names = {"training_hash": e.training_hash(), "data_sha256": "0" * 64, "labelled_sha256": "1" * 64}
    times = {"seconds": 12.5, "epoch_seconds": 0.0, "started": "2026-11-23T04:31:00+00:00"}
    numbers = {"epoch": 2, "step": 3, "peak_memory_bytes": 500_000_000, "log_size": 0}
    return {**names, **times, **numbers, "notes": ["a note"], "config": e.to_dict()}


def arrays() -> dict[str, np.ndarray]:
    """Of a checkpoint, small."""
    rng = np.random.default_rng(1)
    weights = {"q_z1.dense1.W": (9, 3), "p_x.logits.b": (9,)}
    found = {
        f"{kind}/{n}": rng.random(s).astype("f4")
        for kind in ("weights", "adam/m", "adam/v")
        for n, s in weights.items()
    }
    return {**found, "adam/t": np.array(7), "log/sums": rng.random(4), "labels/indices": np.arange(20)}


def resealed(body: bytes) -> bytes:
    """The whole file, under a seal that holds."""
    return sealed.seal(body) + body


def inside(rng: Random, made: dict[str, np.ndarray], attributes: dict[str, Any]) -> bytes:
    """Arrays and plain values that another program could have written, under sums and a seal that hold."""
    if rng.random() < 0.7:
        attributes = changed(rng, attributes)
    made = dict(made)
    for _ in range(rng.choice((0, 1, 2))):
        name = rng.choice(list(made))
        array = made[name]
        others = [
            np.zeros(()),
            np.zeros((2, 0)),
            np.ones((1, 1, 1), "f2"),
            array.astype("f8"),
            array[..., None],
            np.full(3, np.nan),
        ]
        made[name] = rng.choice([*others, array.astype("u1"), np.resize(array, array.size + 1)])
        if rng.random() < 0.2:
            del made[name]
    if not isinstance(attributes, dict):
        attributes = {"all": attributes}
    try:
        return resealed(sealed.encode(made, attributes))
    except UnicodeEncodeError:  # a lone surrogate
        return resealed(sealed.encode(made, {}))


def _checkpoints() -> list[Format]:
    made, attributes = arrays(), facts()
    body = sealed.encode(made, attributes)
    sound = resealed(body)
    with h5py.File(io.BytesIO(body), "r") as file:  # where HDF5's own structures and not the arrays' bytes are
        places = sorted(file[name].id.get_offset() for name in made if file[name].id.get_offset() is not None)

    def hdf5(rng: Random) -> bytes:
        """Damage to HDF5 itself, sealed anew."""
        if rng.random() < 0.7:
            return resealed(damaged(rng, body[: places[0]]) + body[places[0] :])
        return resealed(damaged(rng, body, [body[::-1]]))

    def load(folder: Path) -> Any:
        found = checkpoint.load(folder)
        return digest(found.arrays), json.dumps(found.attributes)

    def identify(folder: Path) -> Any:
        from parmesan_cagem import pipeline, trained

        found = trained.identify(folder)
        saved = checkpoint.load(folder).attributes
        Experiment.from_dict(saved["config"])
        pipeline._evaluated_by(_At(folder), config.experiment("smoke"), _Job())  # type: ignore[arg-type]
        return found, json.dumps(saved)

    return [
        Format("checkpoint.h5", bytes_of(sound), into("checkpoint.h5", load), sound, 8000, exact=True, public=True),
        Format("HDF5 under a new seal", hdf5, into("checkpoint.h5", load), sound, share=15_000),
        Format(
            "checkpoint of another",
            lambda rng: inside(rng, made, attributes),
            into("checkpoint.h5", identify),
            sound,
            1500,
        ),
    ]


class _At:
    def __init__(self, path: Path) -> None:
        self.path = path


class _Job:
    data_dir, unverified, require_gpu = None, False, False


def _ledgers() -> list[Format]:
    rng = np.random.default_rng(1)
    made = {
        "F/values": rng.random((6, 2)),
        "F/done": np.arange(6) < 4,
        "F/seconds": rng.random(6),
        "collect/a": rng.random((2, 3)),
    }
    attributes = {
        "identity": {"weights": "a", "data": "b", "git": {"commit": None}},
        "devices": ["a"],
        "peak_memory_bytes": 5,
    }
    sound = resealed(sealed.encode(made, attributes))

    def load(path: Path) -> Any:
        found, union = Ledger.read(path), Ledger(device=None)
        union.absorb(found)
        union.table("F", 8, 2)
        "; ".join(union.devices)
        again = Ledger(path, found.identity, "b")
        again.absorb(union)
        again.peak_memory_bytes()
        return digest(found._arrays), files.to_json(found.identity)

    clean = (sealed.Damaged,)
    return [
        Format("evaluation.h5", bytes_of(sound), load, sound, share=4000, exact=True, clean=clean, public=True),
        Format(
            "evaluation of another",
            lambda rng: inside(rng, made, attributes),
            load,
            sound,
            share=2500,
            clean=(*clean, NumericalError),  # of NaN under sums that hold: one line too, and exit status 3
        ),
    ]
