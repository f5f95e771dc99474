"""HDF5 made to do harm: a checkpoint with links, foreign storage, types and sizes that must not be followed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parmesan_cagem import checkpoint, sealed
from torture.damage_malicious import Case
from torture.damage_sealed import arrays, facts, resealed
from torture.damage_shared import into


def cases() -> list[Case]:
    """Under a seal and sums that hold; tests/test_checkpoint_damage.py has each of these with its reason."""

    def load(path: Path) -> Any:
        other = path.parent / "other.h5"
        if not other.exists():
            os.mkfifo(other)  # whoever follows the link blocks, and is found out
        folder = into("checkpoint.h5", checkpoint.load)
        return folder(path)

    def made(change: Callable[[h5py.File], Any]) -> bytes:
        stream = io.BytesIO(sealed.encode(arrays(), facts()))
        with h5py.File(stream, "r+") as file:
            change(file)
            del file["attributes_json"]
            names = [*arrays(), "evil"]
            sealed._put(file, "attributes_json", np.asarray(json.dumps({"arrays": names, "attributes": {}}).encode()))
        return resealed(stream.getvalue())

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
