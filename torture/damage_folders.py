"""The settings and the log of a run's folder, damaged, as trainings, figures and queues read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from parmesan_cagem import config, records, run_queue
from parmesan_cagem.report import choice
from parmesan_cagem.runfolder import RunFolder, read_log
from torture.damage_mutate import changed, damaged, json_of, text_of
from torture.damage_shared import RUN, into
from torture.damage_worker import Format


def formats() -> list[Format]:
    """config.json, log.jsonl, and what a queue reads of a folder."""
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
