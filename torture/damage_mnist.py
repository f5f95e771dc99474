"""MNIST's files: IDX in gzip, at its entry point and behind the digest that would refuse a damaged one at once."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import data
from parmesan_cagem.data import fetch, mnist
from torture.damage_malicious import MIB, Case, gzip_bomb
from torture.damage_mutate import Mutator, bytes_of, gzipped
from torture.damage_shared import RNG, digest
from torture.damage_worker import Format


def formats() -> list[Format]:
    """Images and labels, as a run reads them, and the gzip alone."""
    shapes = {name: (6, 28, 28) if "images" in name else (6,) for name in mnist.FILES}
    bodies = {name: RNG.integers(0, 10, shape, dtype=np.uint8).tobytes() for name, shape in shapes.items()}
    known, contents = {}, {}
    for name, body in bodies.items():
        idx = dataclasses.replace(mnist.FILES[name], shape=shapes[name])
        contents[name] = idx.header + body
        known[name] = dataclasses.replace(idx, sha256=hashlib.sha256(contents[name]).hexdigest())
    images, labels = list(known)[:2]

    def folder(name: str) -> Callable[[Path], Any]:
        def load(path: Path) -> Any:
            mnist.FILES.clear()
            mnist.FILES.update(known)
            place = path.parent / "mnist"
            if not place.exists():
                place.mkdir()
                for other, content in contents.items():
                    (place / f"{other}.gz").write_bytes(gzip.compress(content))
            (place / f"{name}.gz").write_bytes(path.read_bytes())
            found = data.load("mnist", path.parent)
            return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

        return load

    def packed(name: str) -> Mutator:
        return gzipped(bytes_of(contents[name]), contents[name])

    def read_gz(path: Path) -> Any:
        return digest(np.frombuffer(fetch.read_gz(path, known[images].size, known[images].sha256), np.uint8))

    sound = {name: gzip.compress(content) for name, content in contents.items()}
    many = {"exact": True, "public": True}
    return [
        Format("IDX images, a run's", packed(images), folder(images), sound[images], share=1500, **many),
        Format("IDX labels, a run's", packed(labels), folder(labels), sound[labels], share=1500, **many),
        Format("IDX .gz", packed(images), read_gz, sound[images], share=8000, exact=True),
    ]


def cases() -> list[Case]:
    """Gzip files that never end, or unpack to more than is allowed."""

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
