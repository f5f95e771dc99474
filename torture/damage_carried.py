"""Files that come from elsewhere: packs of runs, and checkpoints that a training goes on from."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from parmesan_cagem import checkpoint, config, packing, sealed, unpacking
from parmesan_cagem.data import Dataset
from torture.damage_mutate import bytes_of, changed, damaged
from torture.damage_packs import part
from torture.damage_sealed import arrays, facts, inside, resealed
from torture.damage_shared import digest, into
from torture.damage_worker import Format


def formats() -> list[Format]:
    """Those that need no model."""
    return _packs()


def _packs() -> list[Format]:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        run.mkdir()
        (run / "config.json").write_text(json.dumps(config.experiment("smoke", labels=20).to_dict()))
        (run / "log.jsonl").write_text('{"epoch": 1, "F": -100.0}\n')
        (run / "evaluation.h5").write_bytes(b"of an evaluation")
        checkpoint.save(run, arrays(), {**facts(), "log_size": 26})
        (path,) = packing.pack([run], Path(name) / "pack").parts
        sound = path.read_bytes()
    _, _, stream = sound.split(b"\n", 2)
    first, _, body = stream.partition(b"\n")
    members, place = [], 0
    for one in json.loads(first)["members"]:
        members.append((one, zlib.decompress(body[place : (place := place + one["bytes"])])))

    def mutate(rng: Random) -> bytes:
        """Under digests that hold: damage to the list of members, to what is in them, or to the stream."""
        if rng.random() < 0.2:
            return part(damaged(rng, stream))
        which, found = rng.randrange(3), []
        for number, (one, data) in enumerate(members):
            if which == number:
                line, _, rest = data.partition(b"\n")
                data = (
                    json.dumps(changed(rng, json.loads(line))).encode()
                    + b"\n"
                    + (damaged(rng, rest) if rng.random() < 0.3 else rest)
                )
            found.append((one, zlib.compress(data, 1)))
        manifest = {"format": 1, "members": [{**one, "bytes": len(data)} for one, data in found]}
        if which == 2:
            manifest = changed(rng, manifest)
        changes = changed(rng, {"part": 1, "parts": 1}) if rng.random() < 0.1 else {}
        if not isinstance(changes, dict):
            changes = {"part": changes}
        return part(json.dumps(manifest).encode() + b"\n" + b"".join(data for _, data in found), **changes)

    def unpack(path: Path) -> Any:
        out = path.parent / "out"
        shutil.rmtree(out, ignore_errors=True)
        said = unpacking.unpack([path], out)
        assert all(file.resolve().is_relative_to(out.resolve()) for file in out.rglob("*"))
        return said, digest(checkpoint.load(out / "run").arrays) if checkpoint.exists(out / "run") else None

    return [
        Format("pack", bytes_of(sound), unpack, sound, share=2500, exact=True, public=True),
        Format("pack of another", mutate, unpack, sound, share=4000, public=True),
    ]


def trained_formats() -> list[Format]:
    """A checkpoint of a real, small model, in a training that goes on from it, and in an evaluation."""
    from parmesan_cagem import models, trained
    from parmesan_cagem.partition import lineage, partition
    from parmesan_cagem.runfolder import RunFolder
    from parmesan_cagem.signals import Signals
    from parmesan_cagem.training import Trainer

    e = config.experiment(
        "smoke", labels=20, wide=6, narrow=5, z1_dim=3, z2_dim=2, batch_size=10, labelled_batch_size=10, train_images=0
    )
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 255, (60, 49), dtype=np.uint8), np.arange(60) % 10
    dataset = Dataset("mnist", 10, images, labels, images, labels, "made up", "0" * 64)
    parts = partition(dataset, e)
    model = models.build(e, 49)
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder.create(Path(name) / "run", e.to_dict())
        trainer = Trainer(e, dataset, parts, model, _NoEngine(), folder, Signals(), quiet=True)  # type: ignore[arg-type]
        trainer.save()
        saved = checkpoint.load(folder.path)
        folder.close()
    sound = resealed(sealed.encode(saved.arrays, saved.attributes))
    known = lineage(e, dataset, parts)

    def mutate(rng: Random) -> bytes:
        attributes = {**saved.attributes}
        if rng.random() < 0.6:  # else another training is refused before all else
            attributes = {
                **json.loads(json.dumps(attributes)),
                **{k: v for k, v in _changed(rng, attributes).items() if k not in known},
            }
        return (
            inside(rng, saved.arrays, attributes)
            if rng.random() < 0.5
            else resealed(sealed.encode(saved.arrays, attributes))
        )

    class Folder(RunFolder):
        def __init__(self, path: Path) -> None:
            self.path, self._lock = path, -1

    def resume(folder: Path) -> Any:
        trainer.folder = Folder(folder)
        trainer.restore()
        return digest([variable.get_value() for variable in trainer.step.state.values()]), str(trainer.position.epoch)

    def evaluate(folder: Path) -> Any:
        found, weights = trained._read(folder)
        trained.restore(model, weights, found.path)
        return digest([param.get_value() for param in model.params()])

    return [
        Format("checkpoint, to resume", mutate, into("checkpoint.h5", resume), sound, share=300, public=True),
        Format("checkpoint, to evaluate", mutate, into("checkpoint.h5", evaluate), sound, share=300, public=True),
    ]


def _changed(rng: Random, attributes: Any) -> dict[str, Any]:
    found = changed(rng, attributes)
    return found if isinstance(found, dict) else {}


class _NoEngine:
    """Compiles nothing: no step is taken here."""

    name, device, precision, rows_per_call = "c", "none", "float32", 5000

    def function(self, *_: Any) -> Any:
        return None

    def steps(self, *_: Any) -> Any:
        return self

    def prepare(self, *_: Any) -> None:
        pass

    pull = prepare
