"""Run folders in a few files of bounded size, to carry them to where they go on.

A pack is one stream of bytes, cut into parts ``runs.pack-1-of-3`` and so on. Each part begins with a line that names
the format and a line of JSON with its number and its SHA-256, so that a missing or damaged part is noticed before
anything is written. The stream begins with a line of JSON that lists its members, each compressed: the small files of a
run as they are, and its checkpoint. In a packed checkpoint

* every array is exact, but Adam's moments of an unfinished run are rounded to bfloat16 (8 significant bits, float32's
  range): half the size. The run goes on from there, but not to the bits of the run that was never packed; a note in its
  checkpoint, its log and its record says so;
* a finished run has no moments: it can be evaluated again, not trained further.

``unpacking`` puts the runs back.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import bfloat16, checkpoint, files
from parmesan_cagem.errors import UserError
from parmesan_cagem.ledger import LEDGER

FORMAT = 1
MIB = 1 << 20
UNPACKED_BYTES = 256 * MIB  # of a whole pack, which unpacking bounds its memory by: the weights of four runs
FILES = (
    *("config.json", "labels.json", "samples.png", "failure.json", "log.jsonl"),
    *("bounds.csv", "record.json", "prices.json"),
)
# As LEDGER of an evaluation that was cut off, of a part that is not merged; otherwise the record has all that counts.
SHARD = re.compile(r"evaluation\.shard-\d+-of-\d+(\.partial)?\.h5", re.ASCII)

MAGIC = b"parmesan_cagem pack 1\n"
_MOMENTS = ("adam/m/", "adam/v/")


@dataclass(frozen=True)
class Packed:
    """What :func:`pack` wrote, and in ``left_out`` the checkpoints that found no room, one line each."""

    parts: list[Path]
    left_out: list[str]


def pack(
    runs: Iterable[Path], out: Path, part_mib: float = 15, parts: int = 4, finished_weights: bool = True
) -> Packed:
    """Write the runs into at most ``parts`` files of ``part_mib`` MiB in ``out``.

    Parameters
    ----------
    runs : iterable of Path
        Run folders. Their small files go in first, then the checkpoints of unfinished runs, then the weights of
        finished ones, as far as there is room; in the given order.
    finished_weights : bool
        Whether to take those at all.

    Raises
    ------
    UserError
        A folder holds no run, a checkpoint is damaged, or not even the small files fit.
    """
    runs = [Path(run) for run in runs]
    room = int(part_mib * MIB) * parts - 4096 * (parts + 1)  # less than that are the lines before the bytes
    unpacked = UNPACKED_BYTES
    members: list[tuple[dict[str, Any], bytes]] = []
    left_out = []
    for run in runs:
        if not (run / "config.json").is_file():
            raise UserError(f"{run}: no run (no config.json): name run folders")
        content = _files_of(run)
        unpacked -= len(content)
        members.append(_member(run, "files", content))
    room -= sum(len(data) for _, data in members) + 300 * 2 * len(runs)
    if min(room, unpacked) < 0:
        raise UserError(f"{len(runs)} runs do not fit into {parts} parts of {part_mib} MiB; pack fewer at a time")
    for run in sorted(runs, key=is_finished):
        if not checkpoint.exists(run) or (is_finished(run) and not finished_weights):
            continue
        content = _checkpoint_of(run)
        member = _member(run, "checkpoint", content)
        size = len(member[1])
        if size <= room and len(content) <= unpacked:
            members.append(member)
            room, unpacked = room - size, unpacked - len(content)
        else:
            left_out.append(f"{run.name}: its checkpoint ({size / MIB:.1f} MiB) found no room")
    manifest = json.dumps({"format": FORMAT, "members": [facts for facts, _ in members]}).encode() + b"\n"
    return Packed(_write_parts(manifest + b"".join(data for _, data in members), Path(out), part_mib), left_out)


def is_finished(run: Path) -> bool:
    """Whether the record is there, and of the length that the settings now ask for."""
    if not (run / "record.json").is_file():
        return False
    config, record = (files.read_json(run / name, "restore it from a copy") for name in ("config.json", "record.json"))
    return bool(record.get("epochs", 0) >= config.get("epochs", 0))


def _unrecorded(run: Path) -> list[str]:
    """Files of an evaluation, shards too, that hold more than the record: it is written after what it was made of."""
    record = run / "record.json"
    since = record.stat().st_mtime_ns if record.is_file() else -1
    return sorted(path.name for path in run.iterdir() if is_ledger(path.name) and path.stat().st_mtime_ns > since)


def is_ledger(name: str) -> bool:
    """Whether a file of that name keeps an evaluation, or a part of one."""
    return name == LEDGER or SHARD.fullmatch(name) is not None


def _member(run: Path, kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    packed = zlib.compress(data, 6)
    return {"run": run.resolve().name, "kind": kind, "bytes": len(packed)}, packed


def _files_of(run: Path) -> bytes:
    names = (*FILES, *_unrecorded(run))
    found = {}
    for name in names:
        try:
            found[name] = files.read_bytes(run / name, UNPACKED_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{run / name}: cannot read: {files.cause(error)}; pack the others") from error
    return json.dumps({name: len(data) for name, data in found.items()}).encode() + b"\n" + b"".join(found.values())


def _checkpoint_of(run: Path) -> bytes:
    saved = checkpoint.load(run)
    finished = is_finished(run)
    entries, data = [], []
    for name, array in saved.arrays.items():
        moment = name.startswith(_MOMENTS) and array.dtype == np.float32
        if moment and finished:
            continue
        stored = bfloat16.rounded(array.ravel()) if moment else array.ravel()
        entries.append([name, array.dtype.str, list(array.shape), stored.dtype.str])
        # The bytes of equal weight side by side: signs and exponents repeat, the last bits of a mantissa do not.
        data.append(stored.view(np.uint8).reshape(-1, stored.itemsize).T.tobytes())
    facts = {"arrays": entries, "attributes": saved.attributes, "finished": finished}
    return json.dumps(facts).encode() + b"\n" + b"".join(data)


def _write_parts(stream: bytes, out: Path, part_mib: float) -> list[Path]:
    room = int(part_mib * MIB) - 4096
    count = max(1, math.ceil(len(stream) / room))
    whole = hashlib.sha256(stream).hexdigest()
    parts = {}
    make_folder(out)
    files.sweep_folder(out)
    for i in range(count):
        payload = stream[i * room : (i + 1) * room]
        facts = {"part": i + 1, "parts": count, "pack": whole, "sha256": hashlib.sha256(payload).hexdigest()}
        path = out / f"runs.pack-{i + 1}-of-{count}"
        parts[path] = MAGIC + json.dumps(facts).encode() + b"\n" + payload
    files.write_together(parts)
    for stale in set(out.glob("runs.pack-*")) - set(parts):  # of another pack: they do not fit to the new ones
        try:
            stale.unlink()
        except OSError as error:
            raise UserError(
                f"{stale}: of another pack, and cannot be removed: {files.cause(error)}; remove it"
            ) from error
    return list(parts)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the folder: {files.cause(error)}; name another") from error
