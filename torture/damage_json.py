"""The JSON of a run's folder made to do harm: records, settings, logs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # noqa: F401  here: imported by the first record, it would look like code that the file runs

from parmesan_cagem import config, records
from parmesan_cagem.runfolder import RunFolder, read_log
from torture.damage_malicious import Case, sparse
from torture.damage_shared import RUN, into


def cases() -> list[Case]:
    """Depth, length, numbers and keys that take a parser's time or memory; files that are none."""
    record = json.loads((RUN / "record.json").read_bytes())
    text = json.dumps(record)
    bombs = {
        "deep": b'{"a":' * 100_000,
        "deep within reach": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        "digits": b'{"a": 1' + b"0" * 100_000 + b"}",
        "NaN": text.replace('"seed": 1', '"seed": NaN').encode(),
        "keys twice": (text[:-1] + ', "seed": 2}').encode(),
        "many lists": b'{"a": [' + b"[]," * (300 << 10) + b"[]]}",
        "many numbers": (text[:-1] + f', "seeds": [{"1," * (400 << 10)}1]}}').encode(),
        "items to compare": text.replace(
            '"seeds": [1]', f'"seeds": [{",".join(f"[{n}]" for n in range(40_000))}]'
        ).encode(),
        "keys that collide": ("{" + ",".join(f'"{n}": 0' for n in range(90_000)) + ', "0": 1}').encode(),
        "control characters": b'{"\\u001b[2J\\n": 1}',
    }
    settings = config.experiment("smoke").to_dict()

    def resume(folder: Path) -> Any:
        with RunFolder.open(folder, settings, config.MAY_CHANGE):
            return None

    def ends_line(path: Path) -> Path:
        with path.open("ab") as file:
            file.write(b"\n")
        return path

    def log(path: Path) -> Any:
        ends_line(path).rename(path.parent / "log.jsonl")
        return read_log(path.parent)

    def pipe(path: Path) -> Any:
        path.unlink()
        os.mkfifo(path)
        return records.read(path)

    made = []
    for name, content in bombs.items():
        made.append((f"record.json: {name}", content, records.read))
        made.append((f"config.json: {name}", content, into("config.json", resume)))
    logs = {
        "deep": bombs["deep"],
        "digits": bombs["digits"],
        "twice": b'{"epoch": 1, "epoch": 2}',
    }
    made += [(f"log.jsonl: {name}", content, log) for name, content in logs.items()]
    return [
        *made,
        ("record.json: a pipe", b"", pipe),
        ("record.json: 3 GiB", b"{", sparse(records.read)),
        ("log.jsonl: 3 GiB", b"{", sparse(log)),
        ("record.json: a device", b"", lambda _: records.read(Path("/dev/zero"))),
    ]
