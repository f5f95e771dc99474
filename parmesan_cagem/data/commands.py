"""``cagem data verify`` and ``cagem data fetch``: what is there, in one line."""

from __future__ import annotations

from pathlib import Path

from parmesan_cagem.data import Dataset, load, mnist, omniglot
from parmesan_cagem.errors import UserError


def verify(name: str, data_dir: Path | None, unverified: bool = False) -> str:
    """Load a data set as a run would, download included, and say what was found.

    Parameters
    ----------
    name : str
        "mnist" or "omniglot".
    data_dir : Path or None
        As ``--data-dir``.
    unverified : bool
        As ``--unverified-data``.

    Returns
    -------
    str
        One line: source, digest, shapes.

    Raises
    ------
    UserError
        As `load`.
    """
    return _line(load(name, data_dir, unverified))


def fetch(name: str) -> str:
    """Download a data set into the user cache, unless it is there; for OMNIGLOT, Burda's file if it can be had.

    Returns
    -------
    str
        As `verify`.

    Raises
    ------
    UserError
        If the name is unknown, no mirror gives the files, or the cache cannot be written.
    """
    if name == "mnist":
        return _line(mnist.download())
    if name == "omniglot":
        return _line(omniglot.download(mat=True))
    raise UserError(f"data set {name!r}: unknown; choose one of: mnist, omniglot")


def _line(data: Dataset) -> str:
    sets = (("train", data.train_images), ("test", data.test_images))
    shapes = ", ".join(f"{name} {len(images)} x {images.shape[1]} {images.dtype}" for name, images in sets)
    state = "verified" if data.verified else "NOT verified"
    return f"{data.name}: {state}; {data.source}; {shapes}; {data.classes} classes; SHA-256 {data.sha256}"
