"""Files that somebody made to do harm: each must be refused, in one line, within the limits of a worker."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jsonschema  # noqa: F401  here: imported by the first record, it would look like code that the file runs
import numpy as np

from parmesan_cagem import (
    checkpoint,
    config,
    files,
    grid,
    npz,
    packing,
    records,
    run_queue,
    sealed,
    unpacking,
    view_cache,
)
from parmesan_cagem.data import array_pickle, fetch, matfile, omniglot_mat, omniglot_zip
from parmesan_cagem.runfolder import RunFolder, read_log
from torture import damage_data, damage_runs
from torture.damage_worker import Format

Case = tuple[str, bytes, Callable[[Path], Any]]
MIB = 1 << 20


def cases() -> list[Case]:
    """Name, content, and the loader that must refuse it."""
    return [*_pickles(), *_gzips(), *_zips(), *_pngs(), *_mats(), *_hdf5(), *_npzs(), *_jsons(), *_grids(), *_packs()]


def as_format(case: Case) -> Format:
    """For a worker, which reads the sound file of no format first, and then this one."""
    name, content, load = case

    def once(path: Path) -> Any:
        data = path.read_bytes() if path.stat().st_size < 10 else b""
        return "sound" if data == b"sound" else load(path)

    return Format(name, lambda _: content, once, b"sound")


# ---- pickles


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _sparse(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``load`` of a file of 3 GiB, which takes no room on the disk."""

    def grown(path: Path) -> Any:
        os.truncate(path, 3 << 30)
        return load(path)

    return grown


def zeros(mib: int, before: bytes = b"") -> bytes:
    """Deflated: the bytes before, and so many MiB of zeros, made in a moment."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * mib + b"\x03\0"


def zlib_bomb(mib: int) -> bytes:
    """Its checksum is wrong, but comes after the harm."""
    return b"\x78\x9c" + zeros(mib) + bytes(4)


def gzip_bomb(mib: int, before: bytes = b"") -> bytes:
    """The same as a gzip file."""
    return b"\x1f\x8b\x08" + bytes(7) + zeros(mib, before) + bytes(8)


def _pickles() -> list[Case]:
    def load(path: Path) -> Any:
        with path.open("rb") as stream:
            return array_pickle.load_arrays(stream)

    def load_gz(path: Path) -> Any:
        with gzip.open(path) as stream:
            return array_pickle.load_arrays(stream)

    calls = {
        "os.system": (os.system, "touch harm"),
        "eval": (eval, "open('harm', 'w')"),
        "Popen": (subprocess.Popen, ["true"]),
    }
    found = {
        f"{name}, protocol {protocol}": pickle.dumps(((_Call(*call),),), protocol)
        for name, call in calls.items()
        for protocol in range(6)
    }
    binary = {
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch harm\x85R.",
        "GLOBAL": b"\x80\x02cposix\nsystem\nU\x0atouch harm\x85R.",
        "INST": b"(S'touch harm'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'touch harm'\no.",
        "extension": b"\x80\x02\x82\x01U\x0atouch harm\x85R.",
        "persistent": b"Pharm\n.",
        "attribute": b"\x80\x02cnumpy\nndarray.__reduce__\n)R.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.mro.x\x93)R.",
        "array of objects": b"\x80\x02cnumpy\ndtype\nU\x02O8K\0K\x01\x87R.",
        "bytes announced": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
        "text announced": b"\x80\x02T\xff\xff\xff\x7fx.",
        "memo announced": b"\x80\x02Nr\xff\xff\xff\xff.",
        "long announced": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        "digits": b"L" + b"9" * MIB + b"L\n.",
        "marks": b"(" * MIB,
        "a name without an end": b"c" + b"x" * MIB,
        "tuples of tuples": b"\x80\x02)" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60)) + b".",
        "deep": b"\x80\x02)" + b"\x85" * 5000 + b".",
        "a shape": damage_data.small_pickle().replace(b"K\x05K\x07\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", 1),
        "a negative shape": damage_data.small_pickle().replace(
            b"K\x05K\x07\x86", b"J\xff\xff\xff\xffJ\xdd\xff\xff\xff\x86", 1
        ),
    }
    made = [(f"pickle: {name}", content, load) for name, content in {**found, **binary}.items()]
    bomb = gzip_bomb(2000, b"\x80\x02T\0\0\0\x60")
    return [*made, ("pickle: in a gzip bomb", bomb, load_gz)]


# ---- archives


def _gzips() -> list[Case]:
    def load(path: Path) -> Any:
        return fetch.read_gz(path, 10_008, "0" * 64)

    def images(path: Path) -> Any:
        return fetch.read_gz(path, 47_040_016, "0" * 64)

    empty = gzip.compress(b"", mtime=0)
    head = b"\x1f\x8b\x08"
    bomb = gzip_bomb(2000)
    return [
        ("gzip: bomb", bomb, load),
        ("gzip: bomb for the largest", bomb, images),
        ("gzip: many empty members", empty * 300_000, images),
        ("gzip: a name without an end", head + b"\x08" + bytes(6) + b"x" * (16 * MIB), images),
        ("gzip: zeros after the end", empty + bytes(32 * MIB), images),
        ("gzip: extra field", head + b"\x04" + bytes(6) + b"\xff\xff" + b"x" * 20, load),
    ]


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _zips() -> list[Case]:
    def load(path: Path) -> Any:
        omniglot_zip.ALPHABETS = {"images_background": {"Alpha": 1}}
        return omniglot_zip.read_ink(path.parent, {"images_background": path.read_bytes()})

    good = "images_background/Alpha/character01/1000_01.png"
    escapes = ("../harm", "/tmp/harm", "a/../../harm", "..\\harm", "C:/harm", "__MACOSX/../../harm", "\\\\host\\harm")
    link = zipfile.ZipInfo(good)
    link.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    twice = _zip({good: b"a", good.replace("01.png", "02.png"): b"b"}).replace(b"_02.png", b"_01.png")
    bomb = _zip({good: bytes(64 * MIB)})
    lying = bomb.replace((64 * MIB).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    return [
        *((f"zip: {name}", _zip({name: b"x"}), load) for name in escapes),
        ("zip: symlink", stream.getvalue(), load),
        ("zip: the same name twice", twice, load),
        ("zip: encrypted", _flagged(_zip({good: b"x"}), 1), load),
        ("zip: bomb", bomb, load),
        ("zip: bomb that lies about its size", lying, load),
        ("zip: nested", _zip({good: _zip({"inner.zip": _zip({"x": bytes(MIB)})})}), load),
        ("zip: overlapping members", _overlapping(good, 50_000), load),
        ("zip: overlapping, too many", _overlapping(good, 400_000), load),
        ("zip: bzip2", _zip({good: bytes(10 * MIB)}, zipfile.ZIP_BZIP2), load),
        ("zip: a directory without members", b"PK\x05\x06" + b"\xff" * 16 + b"\0\0", load),
    ]


def _flagged(content: bytes, flag: int) -> bytes:
    found = bytearray(content)
    found[6] |= flag
    found[content.index(b"PK\x01\x02") + 8] |= flag
    return bytes(found)


def _overlapping(name: str, count: int) -> bytes:
    """A directory of many names for one member: every name unpacks the same bytes."""
    whole = _zip({name: bytes(4000)})
    start = whole.index(b"PK\x01\x02")
    entry = whole[start : whole.index(b"PK\x05\x06")]
    size = len(entry) * count
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, start, 0)
    return whole[:start] + entry * count + end


def _pngs() -> list[Case]:
    def load(path: Path) -> Any:
        return omniglot_zip._decode("member.png", path.read_bytes())

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def made(width: int, height: int, *more: bytes, depth: int = 1) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
        return (
            b"\x89PNG\r\n\x1a\n"
            + head
            + b"".join(more)
            + chunk(b"IDAT", zlib.compress(bytes(20)))
            + chunk(b"IEND", b"")
        )

    packed = zlib_bomb(200)
    return [
        ("PNG: huge", made(1 << 30, 1 << 30), load),
        ("PNG: large", made(12_000, 9_000), load),
        ("PNG: too large for Pillow", made(20_000, 20_000), load),
        ("PNG: no pixels", made(105, 0), load),
        ("PNG: bomb in iCCP", made(105, 105, chunk(b"iCCP", b"a\0\0" + packed)), load),
        ("PNG: bomb in zTXt", made(105, 105, chunk(b"zTXt", b"a\0\0" + packed)), load),
        ("PNG: bomb in iTXt", made(105, 105, chunk(b"iTXt", b"a\0\x01\0\0\0" + packed)), load),
        ("PNG: a chunk of 2 GiB", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR" + bytes(30), load),
    ]


# ---- arrays


def _mats() -> list[Case]:
    def load(path: Path) -> Any:
        return matfile.read_matrices(path.read_bytes(), ["a"], MIB)

    def burda(path: Path) -> Any:
        return omniglot_mat.read(path, unverified=True)

    def refused(path: Path) -> Any:
        try:
            return load(path)
        except ValueError as error:  # what omniglot_mat turns into its line
            raise files.UserError(str(error)) from error

    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"

    def matrix(shape: tuple[int, ...], content: bytes) -> bytes:
        parts = [(6, struct.pack("<II", 6, 0)), (5, struct.pack(f"<{len(shape)}i", *shape)), (1, b"a"), (2, content)]
        body = b"".join(struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in parts)
        return struct.pack("<II", 14, len(body)) + body

    def packed(content: bytes) -> bytes:
        return element(zlib.compress(content, 9))

    def element(data: bytes) -> bytes:
        return struct.pack("<II", 15, len(data)) + data

    nested = matrix((1, 1), b"\1")
    for _ in range(50):
        nested = packed(nested)
    images = 340_000  # as bytes they fit into what may be unpacked; as float32 they would not
    arrays = {
        f"{part}{name}": np.zeros((1, 1), "u1") for part in ("", "test") for name in ("data", "target", "targetchar")
    }
    arrays["data"] = np.zeros((784, images), "u1")
    return [
        ("MAT: a huge shape", head + matrix((1 << 30, 1 << 30), b"\1"), refused),
        ("MAT: a shape that overflows to 0", head + matrix((1 << 31 >> 1, 8), b""), refused),
        ("MAT: negative shape", head + matrix((-1, -1), b"\1"), refused),
        ("MAT: bomb", head + element(zlib_bomb(2000)), refused),
        ("MAT: bomb for chardata", head + element(zlib_bomb(2000)), burda),
        ("MAT: many small bombs", head + packed(bytes(MIB // 2)) * 2000, refused),
        ("MAT: packed in itself", head + nested, burda),
        ("MAT: too many images", damage_data.mat_file(arrays, True), burda),
    ]


def _hdf5() -> list[Case]:
    """Under a seal and sums that hold; tests/test_checkpoint_damage.py has each of these with its reason."""

    def load(path: Path) -> Any:
        other = path.parent / "other.h5"
        if not other.exists():
            os.mkfifo(other)  # whoever follows the link blocks, and is found out
        folder = damage_runs.into("checkpoint.h5", checkpoint.load)
        return folder(path)

    def made(change: Callable[[h5py.File], Any]) -> bytes:
        stream = io.BytesIO(sealed.encode(damage_runs.arrays(), damage_runs.facts()))
        with h5py.File(stream, "r+") as file:
            change(file)
            del file["attributes_json"]
            names = [*damage_runs.arrays(), "evil"]
            sealed._put(file, "attributes_json", np.asarray(json.dumps({"arrays": names, "attributes": {}}).encode()))
        return damage_runs.resealed(stream.getvalue())

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
        layout[:] = h5py.VirtualSource("../other.h5", "secret", shape=(3,))
        file.create_virtual_dataset("evil", layout)

    def dataset(**how: Any) -> Callable[[h5py.File], Any]:
        return lambda file: file.create_dataset("evil", **how)

    changes: dict[str, Callable[[h5py.File], Any]] = {
        "external link": lambda file: file.__setitem__("evil", h5py.ExternalLink("../other.h5", "/secret")),
        "soft link": lambda file: file.__setitem__("evil", h5py.SoftLink("/adam/t")),
        "external storage": dataset(shape=(4,), dtype="u1", external=[("../../../canary", 0, 4)]),
        "virtual": virtual,
        "bomb": dataset(shape=(1 << 34,), dtype="u1", chunks=(1 << 20,), compression="gzip"),
        "huge": dataset(shape=(1 << 50,), dtype="f8"),
        "overflowing": dataset(shape=(1 << 31, 1 << 29), dtype="f8"),
        "references": lambda file: file.create_dataset("evil", data=file["adam/t"].ref, dtype=h5py.ref_dtype),
        "variable length": lambda file: file.__setitem__("evil", "text"),
        "compound": lambda file: file.__setitem__("evil", np.zeros(2, [("a", "i4"), ("b", "f4")])),
    }
    return [(f"HDF5: {name}", made(change), load) for name, change in changes.items()]


def _npzs() -> list[Case]:
    def load(path: Path) -> Any:
        with path.open("rb") as stream:
            try:
                return npz.load(stream)
            except ValueError as error:
                raise files.UserError(str(error)) from error

    def views(path: Path) -> Any:
        path.rename(path.parent / view_cache.NAME)
        if view_cache._read(path.parent / view_cache.NAME) == {}:
            raise files.UserError("drawn anew")

    def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
        text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text

    objects = io.BytesIO()
    np.save(objects, np.array([_Call(print, "harm")], object), allow_pickle=True)
    members = {
        "objects": objects.getvalue(),
        "huge": header((1 << 40,)) + b"x",
        "overflowing": header((1 << 62, 4)),
        "negative": header((-1,)),
        "objects announced": header((1,), "|O"),
        "deep": header((1,)).replace(b"(1,)", b"(" * 9000),
    }
    bomb = damage_data.npz_file(compress=True, a=np.zeros(64 * MIB, "u1"))
    made = [(f"npz: {name}", _zip({"a.npy": content}, zipfile.ZIP_STORED), load) for name, content in members.items()]
    return [
        *made,
        ("npz: bomb", bomb, load),
        ("views.npz: bomb", bomb, views),
        ("views.npz: objects", made[0][1], views),
    ]


# ---- text


def _jsons() -> list[Case]:
    record = json.loads((damage_runs.RUN / "record.json").read_bytes())
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
        made.append((f"config.json: {name}", content, damage_runs.into("config.json", resume)))
    logs = {
        "deep": bombs["deep"],
        "digits": bombs["digits"],
        "twice": b'{"epoch": 1, "epoch": 2}',
    }
    made += [(f"log.jsonl: {name}", content, log) for name, content in logs.items()]
    return [
        *made,
        ("record.json: a pipe", b"", pipe),
        ("record.json: 3 GiB", b"{", _sparse(records.read)),
        ("log.jsonl: 3 GiB", b"{", _sparse(log)),
        ("record.json: a device", b"", lambda _: records.read(Path("/dev/zero"))),
    ]


def _grids() -> list[Case]:
    def load(path: Path) -> Any:
        return grid.read(path, "smoke", path.parent)

    def queue(path: Path) -> Any:
        return run_queue.read(path, path.parent)

    laughs = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    merges = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)
    )
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    crossed = (
        "runs: [{for: x, "
        + ", ".join(f"{name}: {ten}" for name in ("seed", "label_seed", "epochs", "narrow", "wide", "z1_dim", "z2_dim"))
        + "}]"
    )
    texts = {
        "a billion laughs": laughs + "runs: *a11\n",
        "merged keys": merges + "runs: [{for: x}]\n",
        "itself": "runs: &a [*a]",
        "ten million runs": crossed,
        "code": "runs: !!python/object/apply:os.system ['touch harm']",
        "deep": "[" * 30_000,
        "digits": "runs: [{for: x, seed: 0x" + "f" * 30_000 + "}]",
        "parts": "shards: 1000000000\nruns: [{for: x, labels: 10}]",
        "not a text": "runs: [{for: x, model: !!binary AAAA}]",
    }
    made = [(f"grid: {name}", text.encode(), load) for name, text in texts.items()]
    made += [("grid: 3 GiB", b"#", _sparse(load)), ("queue: 3 GiB", b"#", _sparse(queue))]
    lines = {"escape": "run_mnist.py --name ../harm", "shell": "run_mnist.py; touch harm"}
    return [*made, *((f"queue: {name}", text.encode(), queue) for name, text in lines.items())]


def _packs() -> list[Case]:
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
    return [("pack: 3 GiB", b"#", _sparse(load))] + [
        (f"pack: {name}", content, load) for name, content in found.items()
    ]


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
