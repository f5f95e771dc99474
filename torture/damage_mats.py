"""MAT files, as Burda published OMNIGLOT in one: elements damaged at random, and shapes and bombs made to do harm."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import scipy.io

from parmesan_cagem import data, files
from parmesan_cagem.data import matfile, omniglot_mat
from torture.damage_malicious import MIB, Case, zlib_bomb
from torture.damage_mutate import Mutator, bytes_of, damaged
from torture.damage_shared import RNG, digest
from torture.damage_worker import Format


def mat_arrays(train: int, test: int) -> dict[str, np.ndarray]:
    """In the layout of Burda's file."""
    found = {}
    for prefix, count in (("", train), ("test", test)):
        found[f"{prefix}data"] = (RNG.random((784, count)) > 0.9).astype("u1")
        found[f"{prefix}target"] = np.eye(50, dtype="u1")[:, RNG.permutation(count) % 50]
        found[f"{prefix}targetchar"] = RNG.integers(1, 56, (1, count)).astype("u1")
    return found


def mat_file(arrays: dict[str, Any], compress: bool) -> bytes:
    """As SciPy writes it."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, arrays, do_compression=compress)
    return stream.getvalue()


def formats() -> list[Format]:
    """Elements, packed or not, and the file of OMNIGLOT, as a run reads it too."""
    small = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((3, 1), "u1"), "text": "words"}
    plain, packed = mat_file(small, False), mat_file(small, True)
    whole = mat_file(mat_arrays(3, 2), False)

    def inside(sound: bytes) -> Mutator:
        def mutate(rng: Random) -> bytes:
            """Damage to the elements, then packed as MATLAB packs each."""
            found = damaged(rng, sound[128:], [whole])
            if rng.random() < 0.3:
                return sound[:128] + b"\x0f\0\0\0" + len(z := zlib.compress(found)).to_bytes(4, "little") + z
            return sound[:128] + found

        return mutate

    def matrices(path: Path) -> Any:
        content = path.read_bytes()
        if not matfile.is_version_5(content[:128]):
            raise ValueError("its head is refused before")
        return digest(matfile.read_matrices(content, ["a", "b"], 1 << 20))

    def burda(path: Path) -> Any:
        return digest(omniglot_mat.read(path, unverified=True)[0])

    def run(path: Path) -> Any:
        path.rename(path.parent / omniglot_mat.NAME)
        found = data.load("omniglot", path.parent, unverified=True)
        return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

    values = (ValueError,)
    return [
        Format("MAT elements", inside(plain), matrices, plain, share=9000, clean=values),
        Format("MAT file", bytes_of(plain, packed), matrices, packed, share=5000, clean=values),
        Format("MAT chardata", inside(whole), burda, whole, share=4000),
        Format("MAT chardata, a run's", inside(whole), run, whole, share=1500, public=True),
    ]


def cases() -> list[Case]:
    """Shapes that lie, and elements that unpack to more than is allowed."""

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
        ("MAT: too many images", mat_file(arrays, True), burda),
    ]
