"""Run folders in a few files of bounded size, to carry them to where they go on.

A pack is one stream of bytes, cut into parts ``runs.pack-1-of-3`` and so on. Each part begins with a line that names
the format and a line of JSON with its number and its SHA-256, so that a missing or damaged part is noticed before
anything is written. The stream begins with a line of JSON that lists its members, each compressed: the small files of a
run as they are, and its checkpoint. In a packed checkpoint

* every array is exact, but Adam's moments of an unfinished run are rounded to bfloat16 (8 significant bits, float32's
  range): half the size. The run goes on from there, but not to the bits of the run that was never packed; a note in its
  checkpoint, its log and its record says so;
* a finished run has no moments: it can be evaluated again, not trained further.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import checkpoint, files, plain_json, sealed
from parmesan_cagem.config import MAY_CHANGE
from parmesan_cagem.errors import UserError

FORMAT = 1
MIB = 1 << 20
UNPACKED_BYTES = 256 * MIB  # of a whole pack, twice what sixty MiB of weights take; and of one part
PARTS = 1000
FILES = ("config.json", "labels.json", "samples.png", "failure.json", "log.jsonl", "record.json", "prices.json")
LEDGER = "evaluation.h5"  # of an evaluation that was cut off; otherwise the record has all that counts
SHARD = re.compile(r"evaluation\.shard-\d+-of-\d+(\.partial)?\.h5", re.ASCII)  # the same, of a part that is not merged

_MAGIC = b"parmesan_cagem pack 1\n"
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
    members: list[tuple[dict[str, Any], bytes]] = []
    left_out = []
    for run in runs:
        if not (run / "config.json").is_file():
            raise UserError(f"{run}: no run (no config.json): name run folders")
        members.append(_member(run, "files", _files_of(run)))
    room -= sum(len(data) for _, data in members) + 300 * 2 * len(runs)
    if room < 0:
        raise UserError(f"{len(runs)} runs do not fit into {parts} parts of {part_mib} MiB; pack fewer at a time")
    for run in sorted(runs, key=_is_finished):
        if not checkpoint.exists(run) or (_is_finished(run) and not finished_weights):
            continue
        member = _member(run, "checkpoint", _checkpoint_of(run))
        size = len(member[1])
        if size <= room:
            members.append(member)
            room -= size
        else:
            left_out.append(f"{run.name}: its checkpoint ({size / MIB:.1f} MiB) found no room")
    manifest = json.dumps({"format": FORMAT, "members": [facts for facts, _ in members]}).encode() + b"\n"
    return Packed(_write_parts(manifest + b"".join(data for _, data in members), Path(out), part_mib), left_out)


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
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what}: not in order inside ({type(error).__name__}: {words}); pack the runs again"
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


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32's bits, rounded to the nearest, ties to even; finite values only.

    Examples
    --------
    >>> from_bfloat16(to_bfloat16(np.float32([1.0, -2.5, 1 + 2**-8, 1 + 2**-7]))).tolist()
    [1.0, -2.5, 1.0, 1.0078125]
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.minimum(rounded & np.uint32(0x7FFF), np.uint32(0x7F7F)).astype(np.uint16) | (
        (bits >> np.uint32(16)).astype(np.uint16) & np.uint16(0x8000)
    )


def from_bfloat16(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Inverse of :func:`to_bfloat16`: exact."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _is_finished(run: Path) -> bool:
    """Whether the record is there, and of the length that the settings now ask for."""
    if not (run / "record.json").is_file():
        return False
    config, record = (files.read_json(run / name, "restore it from a copy") for name in ("config.json", "record.json"))
    return bool(record.get("epochs", 0) >= config.get("epochs", 0))


def _unrecorded(run: Path) -> list[str]:
    """Files of an evaluation, shards too, that hold more than the record: it is written after what it was made of."""
    record = run / "record.json"
    since = record.stat().st_mtime_ns if record.is_file() else -1
    return sorted(path.name for path in run.iterdir() if _is_ledger(path.name) and path.stat().st_mtime_ns > since)


def _is_ledger(name: str) -> bool:
    return name == LEDGER or SHARD.fullmatch(name) is not None


def _member(run: Path, kind: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    packed = zlib.compress(data, 6)
    return {"run": run.resolve().name, "kind": kind, "bytes": len(packed)}, packed


def _files_of(run: Path) -> bytes:
    names = (*FILES, *_unrecorded(run))
    found = {}
    for name in names:
        try:
            if (run / name).is_file():
                found[name] = (run / name).read_bytes()
        except OSError as error:
            raise UserError(f"{run / name}: cannot read: {files.cause(error)}; pack the others") from error
    return json.dumps({name: len(data) for name, data in found.items()}).encode() + b"\n" + b"".join(found.values())


def _checkpoint_of(run: Path) -> bytes:
    saved = checkpoint.load(run)
    finished = _is_finished(run)
    entries, data = [], []
    for name, array in saved.arrays.items():
        moment = name.startswith(_MOMENTS) and array.dtype == np.float32
        if moment and finished:
            continue
        stored = to_bfloat16(array.ravel()) if moment else array.ravel()
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
    _make(out)
    files.sweep_folder(out)
    for i in range(count):
        payload = stream[i * room : (i + 1) * room]
        facts = {"part": i + 1, "parts": count, "pack": whole, "sha256": hashlib.sha256(payload).hexdigest()}
        path = out / f"runs.pack-{i + 1}-of-{count}"
        parts[path] = _MAGIC + json.dumps(facts).encode() + b"\n" + payload
    files.write_together(parts)
    for stale in set(out.glob("runs.pack-*")) - set(parts):  # of another pack: they do not fit to the new ones
        try:
            stale.unlink()
        except OSError as error:
            raise UserError(
                f"{stale}: of another pack, and cannot be removed: {files.cause(error)}; remove it"
            ) from error
    return list(parts)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot make the folder: {files.cause(error)}; name another") from error


def _read_parts(paths: Sequence[Path]) -> bytes:
    payloads: dict[int, bytes] = {}
    facts: dict[str, Any] = {"parts": 0, "pack": ""}
    for path in paths:
        try:
            magic, line, payload = files.read_bytes(path, UNPACKED_BYTES).split(b"\n", 2)
            facts = plain_json.parse(line)
            sound = magic + b"\n" == _MAGIC and hashlib.sha256(payload).hexdigest() == facts["sha256"]
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
    files.sweep_folder(folder)
    here = _progress(folder)
    if here is not None:
        before = files.read_json(folder / "config.json", "name another folder")
        if any(before.get(key) != config.get(key) for key in {*before, *config} - MAY_CHANGE):
            raise UserError(f"{folder}: another run has this name; unpack into another folder")
        there = (finished, *((saved[1]["epoch"], saved[1]["step"]) if saved else (0, 0)))
        if there <= here:
            lacking = [name for name in contents if _is_ledger(name) and not (folder / name).exists()]
            if there == here and lacking:
                for name in lacking:
                    files.write_atomically(folder / name, contents[name])
                return f"{folder.name}: kept as it is, with the pack's part of an evaluation"
            return f"{folder.name}: kept as it is: the pack has come no further"
    _make(folder)
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
    known = [name for name in contents if name in (*FILES, checkpoint.NEWEST) or _is_ledger(name)]
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
        arrays[name] = (values if stored == dtype else from_bfloat16(values)).reshape(shape)
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
        return (_is_finished(folder), 0, 0)
    return (_is_finished(folder), facts.get("epoch", 0), facts.get("step", 0))
