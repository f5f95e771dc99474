"""Packs of runs made to do harm, every digest right."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from parmesan_cagem import config, packing, unpacking
from torture.damage_malicious import Case, sparse, zlib_bomb


def cases() -> list[Case]:
    """Names that lead out, members that lie, checkpoints that are none."""

    def load(path: Path) -> Any:
        return unpacking.unpack([path], path.parent / "out")

    good = {"config.json": json.dumps(config.experiment("smoke").to_dict()).encode()}
    arrays = [["a", "<f4", [2], "<f4"]]
    attributes = {"epoch": 1, "step": 0, "log_size": 0}

    def checkpoint_of(rows: Any, body: bytes = bytes(8), **more: Any) -> bytes:
        return (
            json.dumps({"arrays": rows, "attributes": {**attributes, **more}, "finished": False}).encode()
            + b"\n"
            + body
        )

    def run(rows: Any, **more: Any) -> bytes:
        return pack_of([("run", "files", contents(good)), ("run", "checkpoint", checkpoint_of(rows, **more))])

    found = {
        "a name that leads out": pack_of([("../harm", "files", contents(good))]),
        "an absolute name": pack_of([("/tmp/harm", "files", contents(good))]),
        "no name": pack_of([("", "files", contents(good))]),
        "a name that is none": pack_of([(None, "files", contents(good))]),
        "bomb": pack_of([("run", "files", None)]),
        "sizes that lie": pack_of([("run", "files", b'{"config.json": 1000000000000}\n{}')]),
        "no settings": pack_of([("run", "files", contents({"record.json": b"{}"}))]),
        "objects": run([["a", "|O", [1], "|O"]]),
        "a huge shape": run([["a", "<f4", [1 << 40, 1 << 40], "<f4"]]),
        "a negative shape": run([["a", "<f4", [-1, -2], "<f4"]]),
        "a name with two dots": run([["../a", "<f4", [2], "<f4"]]),
        "notes": run(arrays, notes=3),
        "an epoch that is none": run(arrays, epoch="one"),
        "part one of a billion": part(b"{}\n", parts=10**9),
        "parts that are none": part(b"{}\n", part=[1]),
        "deep": part(b"[" * 100_000),
    }
    return [("pack: 3 GiB", b"#", sparse(load))] + [(f"pack: {name}", content, load) for name, content in found.items()]


def contents(members: dict[str, bytes]) -> bytes:
    """The small files of a packed run."""
    return json.dumps({name: len(data) for name, data in members.items()}).encode() + b"\n" + b"".join(members.values())


def pack_of(members: list[tuple[Any, Any, bytes | None]]) -> bytes:
    """A pack of one part, every digest right; None stands for a bomb."""
    packed = [(run, kind, zlib_bomb(2000) if data is None else zlib.compress(data, 1)) for run, kind, data in members]
    facts = [{"run": run, "kind": kind, "bytes": len(data)} for run, kind, data in packed]
    stream = json.dumps({"format": 1, "members": facts}).encode() + b"\n" + b"".join(data for *_, data in packed)
    return part(stream)


def part(stream: bytes, **changes: Any) -> bytes:
    """The one part of a pack of that stream."""
    sha256 = hashlib.sha256(stream).hexdigest()
    facts = {"part": 1, "parts": 1, "pack": sha256, "sha256": sha256, **changes}
    return packing.MAGIC + json.dumps(facts).encode() + b"\n" + stream
