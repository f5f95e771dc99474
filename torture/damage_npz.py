"""Caches, which are npz files: damaged at random, and made to do harm."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from parmesan_cagem import files, npz, view_cache
from parmesan_cagem.data import omniglot
from torture.damage_malicious import MIB, Call, Case, zip_with
from torture.damage_mutate import damaged, zip_of
from torture.damage_shared import RNG, digest
from torture.damage_worker import Format


def npz_file(compress: bool = False, **arrays: Any) -> bytes:
    """As NumPy writes it."""
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **arrays)
    return stream.getvalue()


def formats() -> list[Format]:
    """The arrays, and each cache: a damaged one is made anew."""
    arrays = {"z1": RNG.random((5, 3)), "y": np.arange(5), "words": np.array(["a", "bc"]), "none": np.empty((0, 2))}
    sound = npz_file(**arrays)
    names: dict[str, bytes] = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        names[f"{name}.npy"] = stream.getvalue()
    inside = zip_of(names)  # under CRCs that hold

    def mutate(rng: Random) -> bytes:
        return inside(rng) if rng.random() < 0.6 else damaged(rng, sound)

    def arrays_of(path: Path) -> Any:
        with path.open("rb") as stream:
            return digest(npz.load(stream))

    def views(path: Path) -> Any:
        path.rename(path.parent / view_cache.NAME)
        return digest(view_cache.cached(path.parent, "latents", {"seed": 1}, lambda: {"z1": arrays["z1"]}))

    def cache(path: Path) -> Any:
        place = omniglot._rebuilt_path()
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        return omniglot._read_rebuilt(None) is None

    return [
        Format("npz", mutate, arrays_of, sound, share=8000, clean=(ValueError,)),
        Format("views.npz", mutate, views, sound, share=800, public=True),
        Format("OMNIGLOT's cache", mutate, cache, sound, share=1500, public=True),
    ]


def cases() -> list[Case]:
    """Objects, shapes that lie, bombs."""

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
    np.save(objects, np.array([Call(print, "harm")], object), allow_pickle=True)
    members = {
        "objects": objects.getvalue(),
        "huge": header((1 << 40,)) + b"x",
        "overflowing": header((1 << 62, 4)),
        "negative": header((-1,)),
        "objects announced": header((1,), "|O"),
        "deep": header((1,)).replace(b"(1,)", b"(" * 9000),
    }
    bomb = npz_file(compress=True, a=np.zeros(64 * MIB, "u1"))
    made = [
        (f"npz: {name}", zip_with({"a.npy": content}, zipfile.ZIP_STORED), load) for name, content in members.items()
    ]
    return [
        *made,
        ("npz: bomb", bomb, load),
        ("views.npz: bomb", bomb, views),
        ("views.npz: objects", made[0][1], views),
    ]
