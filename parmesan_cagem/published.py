"""A finished run's weights as they stand in git: half as many bits, and nothing that only training needs.

``weights.h5`` is a sealed file like a checkpoint. Matrices are rounded to float16 (11 significant bits); vectors, the
batch statistics among them, are exact. Where a folder has no checkpoint, evaluation, figures and the report read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from parmesan_cagem import checkpoint, files, sealed
from parmesan_cagem.checkpoint import Checkpoint, CheckpointError
from parmesan_cagem.errors import UserError

NAME = "weights.h5"
LARGEST = 16 << 20  # bytes of a file: git keeps every version for ever
_WEIGHTS = "weights/"


def exists(folder: Path) -> bool:
    """Whether a run's weights are published in ``folder``."""
    return (Path(folder) / NAME).is_file()


def publish(folder: Path, largest: int = LARGEST) -> Path:
    """Write ``weights.h5`` from the checkpoint of a run.

    Parameters
    ----------
    folder : Path
    largest : int
        Bytes of the file, at most.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        The run is not finished, there is no sound checkpoint, or the file would be too large or cannot be written.
    """
    folder = Path(folder)
    saved = checkpoint.load(folder)
    epochs, step = saved.attributes.get("epoch", 0), saved.attributes.get("step", 0)
    planned = saved.attributes.get("config", {}).get("epochs")
    if not checkpoint.describes_run(saved.attributes) or (epochs, step) != (planned, 0):
        raise UserError(f"{saved.path}: {epochs} of {planned} epochs and {step} steps; finish the run with --resume")
    weights = {name: _rounded(array) for name, array in saved.arrays.items() if name.startswith(_WEIGHTS)}
    body = sealed.encode(weights, saved.attributes)
    content = sealed.seal(body) + body
    if len(content) > largest:
        raise UserError(
            f"{folder}: its weights would take {len(content) / 2**20:.1f} MiB, more than {largest / 2**20:g}; "
            f"publish the command that trains it"
        )
    files.write_atomically(folder / NAME, content)
    return folder / NAME


def load(folder: Path) -> Checkpoint:
    """The published weights, as float32 again, under the names of a checkpoint.

    Raises
    ------
    CheckpointError
        The file is missing or damaged.
    """
    path = Path(folder) / NAME
    try:
        arrays, attributes = sealed.decode(sealed.read(path))
    except sealed.Damaged as reason:
        raise CheckpointError(f"{path} {reason}; restore it from git, or train the run again") from None
    warning = f"no checkpoint; using {NAME}, whose matrices are rounded to float16"  # for a record: no path
    return Checkpoint(_exact(arrays), attributes, path, (warning,))


def _rounded(array: np.ndarray) -> np.ndarray:
    fits = array.ndim == 2 and array.dtype == np.float32 and np.abs(array).max(initial=0) <= np.finfo(np.float16).max
    return array.astype(np.float16) if fits else array  # what is not finite is the reader's to refuse


def _exact(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in arrays.items()}
