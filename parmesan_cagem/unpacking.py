"""The runs of a pack (``packing``) as folders again, read with distrust: anyone can compute the digests of a pack."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import bfloat16, checkpoint, files, plain_json, sealed
from parmesan_cagem.config import MAY_CHANGE
from parmesan_cagem.errors import UserError, words
from parmesan_cagem.packing import FILES, MAGIC, UNPACKED_BYTES, is_finished, is_ledger, make_folder
from parmesan_cagem.runfolder import RunFolder

PARTS = 1000


def unpack(parts: Iterable[Path], out: Path) -> list[str]:
    """Put the runs of a pack back as folders in ``out``; returns a line for each.

    A run that is there already is replaced only by one that has come further.

    Raises
    ------
    UserError
        Parts are missing, damaged or of different packs (then nothing is written), or another run has that name.
    """
    stream = _read_parts([Path(part) for part in parts])
    with _in_order("the pack"):
        contents = _members_of(stream)
        for name in contents:
            _plain_name(name)
    return [_restore(Path(out) / name, kinds) for name, kinds in contents.items()]


@contextlib.contextmanager
def _in_order(what: object) -> Iterator[None]:
    """Whatever is missing or of another kind inside is one line: anyone can compute the digests of a pack."""
    try:
        yield
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        zlib.error,
    ) as error:
        raise UserError(
            f"{what}: not in order inside ({type(error).__name__}: {words(error)}); pack the runs again"
        ) from error


def _members_of(stream: bytes) -> dict[str, dict[str, bytes]]:
    """Run -> kind -> content, in memory that ``UNPACKED_BYTES`` bounds."""
    line, _, body = stream.partition(b"\n")
    contents: dict[str, dict[str, bytes]] = {}
    place, room = 0, UNPACKED_BYTES
    for facts in plain_json.parse(line)["members"]:
        inflate = zlib.decompressobj()
        data = inflate.decompress(memoryview(body)[place : (place := place + _size(facts["bytes"]))], room + 1)
        room -= len(data)
        if room < 0:
            raise ValueError(f"it unpacks to more than {UNPACKED_BYTES} bytes")
        if not inflate.eof:
            raise ValueError("it ends early")
        contents.setdefault(facts["run"], {})[facts["kind"]] = data
    return contents


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!a:.50} is no number of bytes")
    return value


def _read_parts(paths: Sequence[Path]) -> bytes:
    payloads: dict[int, bytes] = {}
    facts: dict[str, Any] = {"parts": 0, "pack": ""}
    for path in paths:
        try:
            magic, line, payload = files.read_bytes(path, UNPACKED_BYTES).split(b"\n", 2)
            facts = plain_json.parse(line)
            sound = magic + b"\n" == MAGIC and hashlib.sha256(payload).hexdigest() == facts["sha256"]
            sound = sound and 1 <= _size(facts["part"]) <= _size(facts["parts"]) <= PARTS and type(facts["pack"]) is str
        except OSError as error:
            raise UserError(f"{path}: cannot read: {files.cause(error)}") from error
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise UserError(f"{path}: damaged, or no part of a pack: copy it again")
        payloads[facts["part"]] = payload
    missing = sorted(set(range(1, facts["parts"] + 1)) - set(payloads))
    if missing or not payloads:
        raise UserError(
            f"the pack is not whole: part {missing or 1} of {facts['parts'] or '?'} is missing; copy it too"
        )
    stream = b"".join(payloads[part] for part in sorted(payloads))
    if hashlib.sha256(stream).hexdigest() != facts["pack"]:
        raise UserError(f"{paths[0].parent}: parts of different packs; keep those of one")
    return stream


def _plain_name(name: str) -> str:
    if not name or Path(name).name != name or name.startswith(".") or not name.isprintable():
        raise UserError(f"the pack holds a run named {name!a}, which is no folder's name")
    return name


def _restore(folder: Path, kinds: dict[str, bytes]) -> str:
    """Write one run, all or nothing; killed meanwhile, it lacks what comes last, and is written again."""
    with _in_order(f"{folder.name}, in the pack"):
        contents, config, saved, finished = _contents(kinds)
    make_folder(folder)
    with RunFolder(folder, otherwise="unpack into another folder"):  # a training would go on writing between our files
        return _put(folder, contents, config, saved, finished)


def _put(
    folder: Path,
    contents: dict[str, bytes],
    config: dict[str, Any],
    saved: tuple[dict[str, np.ndarray], dict[str, Any]] | None,
    finished: bool,
) -> str:
    here = _progress(folder)
    if here is not None:
        before = files.read_json(folder / "config.json", "name another folder")
        if any(before.get(key) != config.get(key) for key in {*before, *config} - MAY_CHANGE):
            raise UserError(f"{folder}: another run has this name; unpack into another folder")
        there = (finished, *((saved[1]["epoch"], saved[1]["step"]) if saved else (0, 0)))
        if there <= here:
            lacking = [name for name in contents if is_ledger(name) and not (folder / name).exists()]
            if there == here and lacking:
                for name in lacking:
                    files.write_atomically(folder / name, contents[name])
                return f"{folder.name}: kept as it is, with the pack's part of an evaluation"
            return f"{folder.name}: kept as it is: the pack has come no further"
    if saved:
        arrays, attributes = saved
        log = contents.get("log.jsonl", b"")[: attributes["log_size"]]
        if not finished:
            log += (files.to_json({"note": attributes["notes"][-1]}) + "\n").encode()
            attributes["log_size"] = len(log)
        contents["log.jsonl"] = log
        with _in_order(f"{folder.name}, in the pack"):  # names that a file cannot hold
            body = sealed.encode(arrays, attributes)
        contents[checkpoint.NEWEST] = sealed.seal(body) + body
    last = {checkpoint.NEWEST: 1, "record.json": 2}  # how far a run has come is read from these
    known = [name for name in contents if name in (*FILES, checkpoint.NEWEST) or is_ledger(name)]
    files.write_together({folder / name: contents[name] for name in sorted(known, key=lambda name: last.get(name, 0))})
    if finished:
        return f"{folder.name}: finished, {'with its weights' if saved else 'without weights'}"
    if not saved:
        return f"{folder.name}: without a checkpoint: it begins anew"
    return f"{folder.name}: goes on after epoch {saved[1]['epoch']}, step {saved[1]['step']}"


def _contents(
    kinds: dict[str, bytes],
) -> tuple[dict[str, bytes], dict[str, Any], tuple[dict[str, np.ndarray], dict[str, Any]] | None, bool]:
    """Files, settings, checkpoint, and whether the run is finished; nothing is written before all of it is in order."""
    line, _, body = kinds["files"].partition(b"\n")
    contents, place = {}, 0
    for name, size in plain_json.parse(line).items():
        contents[name] = body[place : (place := place + _size(size))]
    if place != len(body):
        raise ValueError(f"its files have {len(body)} bytes, not {place}")
    config = plain_json.parse(contents["config.json"])
    if not isinstance(config, dict):
        raise ValueError("config.json: not an object")
    saved = _decode(kinds["checkpoint"]) if "checkpoint" in kinds else None
    finished = "record.json" in contents and plain_json.parse(contents["record.json"])["epochs"] >= config["epochs"]
    return contents, config, saved, finished


def _decode(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes, with the note or the mark that says what they lack."""
    line, _, body = data.partition(b"\n")
    facts = json.loads(line)  # with NaN: attributes may hold it
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape, stored in facts["arrays"]:
        if type(name) is not str or name in arrays or not sealed.holds(dtype) or not sealed.holds(stored):
            raise ValueError(f"{name!a:.50}: no array of a checkpoint")
        if stored != dtype and (stored, dtype) != ("<u2", "<f4"):
            raise ValueError(f"{name!a:.50}: {dtype} is not stored as {stored}")
        kind, count = np.dtype(stored), math.prod(map(_size, shape))
        raw, body = body[: count * kind.itemsize], body[count * kind.itemsize :]
        planes = np.frombuffer(raw, np.uint8).reshape(kind.itemsize, count)
        values = np.ascontiguousarray(planes.T).reshape(-1).view(kind)
        arrays[name] = (values if stored == dtype else bfloat16.exact(values)).reshape(shape)
    attributes = dict(facts["attributes"])
    for name in ("epoch", "step", "log_size"):
        _size(attributes[name])
    if facts["finished"]:
        attributes["without_moments"] = True
    else:
        where = f"epoch {attributes['epoch']}, step {attributes['step']}"
        note = f"went on from a pack after {where}: Adam's moments were rounded to bfloat16 there"
        attributes["notes"] = [*attributes.get("notes", ()), note]
    return arrays, attributes


def _progress(folder: Path) -> tuple[bool, int, int] | None:
    """(finished, epochs, steps) of the run in ``folder``; None where none is."""
    if not (folder / "config.json").is_file():
        return None
    try:
        facts = checkpoint.load(folder).attributes
    except checkpoint.CheckpointError:
        facts = {}
    if not checkpoint.describes_run(facts, whole=False):
        return (is_finished(folder), 0, 0)
    return (is_finished(folder), facts.get("epoch", 0), facts.get("step", 0))
