"""The files of a run's folder, and those that commands read besides, each through the functions that read it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from parmesan_cagem import (
    checkpoint,
    config,
    files,
    grid,
    prices_record,
    provenance,
    records,
    run_queue,
    sealed,
    speeds,
)
from parmesan_cagem.config import Experiment
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.report import choice, html_figures, inputs, missing, paper, render, run_pages, runs, tables
from parmesan_cagem.runfolder import RunFolder, read_log
from torture.damage_data import digest
from torture.damage_mutate import bytes_of, changed, damaged, json_of, text_of
from torture.damage_worker import Format

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "results" / "runs" / "mnist-cagem-100-short-s1-2026-11-23"


def formats() -> list[Format]:
    """All of them."""
    return [*_checkpoints(), *_ledgers(), *_records(), *_folders(), *_commands()]


def into(name: str, load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``load`` of a run's folder in which the damaged file has that name, and nothing else is."""

    def moved(path: Path) -> Any:
        folder = path.parent / "runs" / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path.rename(folder / name)
        return load(folder)

    return moved


# ---- sealed files


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


# ---- records


def _records() -> list[Format]:
    record = json.loads((RUN / "record.json").read_bytes())
    sound = json.dumps(record).encode()
    published = paper.load()

    def read(folder: Path) -> Any:
        return records.read(folder / "record.json")

    def table(folder: Path) -> Any:
        found = runs.read([folder.parent])
        made = tables.build(found, published, mixed=True)
        missing.find(found, published, "short", folder.parent)
        return [write(one) for one in made for write in (render.markdown, render.comma_separated, render.latex)]

    def page(folder: Path) -> Any:
        found, left_out = inputs.collect(folder.parent, folder)
        if left_out:
            raise records.UserError(left_out[0])
        tables.build([one.of_tables for one in found if one.of_tables], published, mixed=True)
        return str(run_pages.section(found))

    def gentle(rng: Random) -> bytes:
        """One value, often by one of its kind: past the schema, to what reads records."""
        return json.dumps(changed(rng, record)).encode()

    prices = _prices(record)
    return [
        Format("record.json", json_of(record), into("record.json", read), sound, share=5000, public=True),
        Format("record.json, in tables", gentle, into("record.json", table), sound, share=1200, public=True),
        Format("record.json, in the report", gentle, into("record.json", page), sound, share=600, public=True),
        Format(
            "prices.json", json_of(prices), prices_record.read, json.dumps(prices).encode(), share=3000, public=True
        ),
    ]


def _prices(record: dict[str, Any]) -> dict[str, Any]:
    k = record["eval"]["k"]
    later = {"mean": 1.0, "standard_error": 0.1, "by_seed": [1.0]}
    names = ("model", "config_hash", "steps", "device", "engine", "versions", "git", "name")
    return {
        **{name: record[name] for name in names},
        "schema_version": prices_record.SCHEMA_VERSION,
        "weights_sha256": "0" * 64,
        "first": "z1",
        "later": ["y", "z2"],
        "definitions": prices_record.DEFINITIONS,
        "outer": 10,
        "inner": 100,
        "protocol": {name: record["eval"][name] for name in prices_record.PROTOCOL},
        "numbers": prices_record.numbers(record["bounds"], k, later, {}),
        "same_draws": {"F_1": later, "middle": later},
        "one_layer": None,
        "precision": "float32",
        "finished": record["eval"]["finished"],
        "seconds": 1.0,
        "peak_memory_bytes": 5,
    }


# ---- folders


def _folders() -> list[Format]:
    settings = config.experiment("smoke", labels=20).to_dict()
    sound = json.dumps(settings).encode()
    lines = (RUN / "log.jsonl").read_bytes().splitlines(keepends=True)
    log = b"".join(lines[:4])
    entries = [json.loads(line) for line in lines[:4]]

    def resume(folder: Path) -> Any:
        with RunFolder.open(folder, settings, config.MAY_CHANGE, config.LATER) as opened:
            return opened.read_config()

    def chosen(folder: Path) -> Any:
        (folder / "log.jsonl").write_bytes(log)
        found = choice.read(folder, print)
        choice.choose([found], labels=lambda n: n > 0, z2_dim=2)
        return found.config, str(found)

    def logged(folder: Path) -> Any:
        (folder / "config.json").write_bytes(sound)
        found = choice.read(folder, print)
        return read_log(folder), str(found)

    def drawn(folder: Path) -> Any:
        from matplotlib.figure import Figure

        from parmesan_cagem.commands.figures import _curves, _Studio

        logged(folder)
        Figure.savefig = lambda *_, **__: None  # type: ignore[method-assign, assignment]
        studio = _Studio(folder)
        _curves(studio, choice.read(folder, print), "curves")
        if studio.failed:
            raise records.UserError("not drawn")
        return None

    def logs(rng: Random) -> bytes:
        if rng.random() < 0.4:
            return damaged(rng, log)
        found = list(lines[:4])
        number = rng.randrange(4)
        found[number] = text_of(rng, entries[number]).replace(b"\n", b" ") + b"\n"
        return b"".join(found)

    def gentle(rng: Random) -> bytes:
        return b"".join(json.dumps(changed(rng, one)).encode() + b"\n" for one in entries)

    record = json.loads((RUN / "record.json").read_bytes())

    def queued(name: str) -> Callable[[Path], Any]:
        def load(folder: Path) -> Any:
            entry = run_queue.Entry(("run_mnist.py",), config.experiment("smoke", labels=20), folder)
            return entry.state, entry.epochs

        return into(name, load)

    return [
        Format(
            "config.json, to resume", json_of(settings), into("config.json", resume), sound, share=4000, public=True
        ),
        Format(
            "config.json, of figures", json_of(settings), into("config.json", chosen), sound, share=3000, public=True
        ),
        Format("log.jsonl", logs, into("log.jsonl", logged), log, share=5000, public=True),
        Format("log.jsonl, drawn", gentle, into("log.jsonl", drawn), log, share=300, public=True),
        Format("log.jsonl, of a queue", logs, queued("log.jsonl"), log, share=2000, public=True),
        Format(
            "record.json, of a queue",
            json_of(record),
            queued("record.json"),
            json.dumps(record).encode(),
            2000,
            public=True,
        ),
    ]


# ---- what commands read besides


def _commands() -> list[Format]:
    captions = {"figure4": {"caption": "a caption", "runs": ["run"], "files": ["figure4.svg"]}}
    queue = (ROOT / "tools" / "gpu_queue.txt").read_bytes()
    yaml = (ROOT / "workflow" / "reduced.yaml").read_bytes()
    times = json.loads((ROOT / "workflow" / "speeds.json").read_bytes())
    times = {**times, **{kind: times[kind][:2] for kind in speeds.KINDS}}  # of all, building takes most of the time
    numbers = json.loads((ROOT / "results" / "paper.json").read_bytes())
    source = {"commit": "ab" * 20, "dirty": False}
    one = config.experiment("paper", labels=100)

    def devices(path: Path) -> Any:
        return [str(device.seconds(one)) + device.reasoning for device in speeds.read(path)]

    def published(path: Path) -> Any:
        found = paper.load(path)
        made = tables.build((), found, mixed=True)
        missing.find((), found, "paper", path.parent)
        return [render.markdown(table) for table in made]

    def figures(path: Path) -> Any:
        path.rename(path.parent / "captions.json")
        (path.parent / "figure4.svg").write_text("<svg/>")
        return str(html_figures.section(path.parent))

    def written(path: Path) -> Any:
        provenance.source_file = lambda: path  # type: ignore[assignment]
        return provenance._written_state()

    def planned(path: Path) -> Any:
        found = grid.read(path, "smoke", path.parent / "runs")
        return found.shards, [run.name for run in found.runs]

    def queued(path: Path) -> Any:
        return [entry.command for entry in run_queue.read(path, path.parent / "runs")]

    return [
        Format("grid.yaml", bytes_of(yaml, yaml[-600:]), planned, yaml, share=1500, public=True),
        Format("queue", bytes_of(queue), queued, queue, share=1000, public=True),
        Format("speeds.json", json_of(times), devices, json.dumps(times).encode(), share=2000, public=True),
        Format("paper.json", json_of(numbers), published, json.dumps(numbers).encode(), share=600, public=True),
        Format("captions.json", json_of(captions), figures, json.dumps(captions).encode(), share=2000, public=True),
        Format("source.json", json_of(source), written, json.dumps(source).encode(), share=1000, public=True),
    ]
