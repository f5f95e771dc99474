"""Pickles of arrays, as in the wheel of MNIST: instructions damaged at random, and those that would run code."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from parmesan_cagem.data import array_pickle, fetch, mnist
from torture.damage_malicious import MIB, Call, Case, gzip_bomb
from torture.damage_mutate import bytes_of, damaged, gzipped
from torture.damage_shared import RNG, digest
from torture.damage_worker import Format


def small_pickle() -> bytes:
    """Three pairs of arrays as Python 2 pickled them: the instructions of MNIST's file in its order."""
    out, place = [b"\x80\x02"], 0

    def put() -> bytes:
        nonlocal place
        place += 1
        return pickle.BINPUT + bytes([place])

    def array(code: bytes, shape: tuple[int, ...], body: bytes) -> bytes:
        new = (
            b"cnumpy.core.multiarray\n_reconstruct\n"
            + put()
            + b"cnumpy\nndarray\n"
            + put()
            + b"K\0\x85U\x01b\x87R"
            + put()
        )
        dtype = b"cnumpy\ndtype\n" + put() + b"U\x02" + code + b"K\0K\x01\x87R" + put()
        state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        sizes = b"".join(b"K" + bytes([size]) for size in shape) + (b"\x86" if len(shape) == 2 else b"\x85")
        return new + b"(K\x01" + sizes + dtype + state + b"\x89T" + len(body).to_bytes(4, "little") + body + b"tb"

    for count in (5, 3, 2):
        images, labels = RNG.random((count, 7)).astype("<f4"), np.arange(count, dtype="<i8")
        out += [array(b"f4", (count, 7), images.tobytes()), array(b"i8", (count,), labels.tobytes()), b"\x86", put()]
    return b"".join([*out, b"\x87."])


def formats() -> list[Format]:
    """The pickle, in its gzip, and in the wheel behind its digest."""
    sound = small_pickle()
    codes = [one[0] if isinstance(one, tuple) else one for one in pickle._Unpickler.dispatch]  # type: ignore[attr-defined]

    def mutate(rng: Random) -> bytes:
        found = damaged(rng, sound, [pickle.dumps([1, {"a": np.zeros(3)}], protocol) for protocol in range(6)])
        for _ in range(rng.choice((0, 1, 3))):
            place = rng.randrange(len(found) + 1)
            found = found[:place] + bytes([rng.choice(codes)]) + found[place + rng.randrange(2) :]
        return found

    def load(path: Path) -> Any:
        with path.open("rb") as stream:
            return digest(array_pickle.load_arrays(stream))

    def load_gz(path: Path) -> Any:
        with gzip.open(path) as stream:
            return digest(array_pickle.load_arrays(stream))

    class Wheel:
        def __init__(self, path: Path) -> None:
            self.locate_file = lambda _: path

    def wheel(path: Path) -> Any:
        mnist.importlib.metadata.distribution = lambda _: Wheel(path)  # type: ignore[attr-defined]
        mnist.WHEEL_FILE_SHA256 = known
        try:
            return digest(list(mnist.read_wheel() or {}))
        except fetch.UserError as error:
            if "wrong checksum: SHA-256 of mnist/" in str(error):
                raise
            return "known"  # the small one passes as far as the content's digest

    packed = gzip.compress(sound)
    known = hashlib.sha256(packed).hexdigest()
    outer = bytes_of(packed)
    return [
        Format("pickle", mutate, load, sound, share=14000),
        Format("pickle .gz", gzipped(mutate, sound), load_gz, packed, share=2000),
        Format("pickle, the wheel's file", outer, wheel, packed, share=1000, exact=True, public=True),
    ]


def cases() -> list[Case]:
    """Calls by every instruction that could make one, and sizes that no file has."""

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
        f"{name}, protocol {protocol}": pickle.dumps(((Call(*call),),), protocol)
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
        "a shape": small_pickle().replace(b"K\x05K\x07\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", 1),
        "a negative shape": small_pickle().replace(b"K\x05K\x07\x86", b"J\xff\xff\xff\xffJ\xdd\xff\xff\xff\x86", 1),
    }
    made = [(f"pickle: {name}", content, load) for name, content in {**found, **binary}.items()]
    bomb = gzip_bomb(2000, b"\x80\x02T\0\0\0\x60")
    return [*made, ("pickle: in a gzip bomb", bomb, load_gz)]
