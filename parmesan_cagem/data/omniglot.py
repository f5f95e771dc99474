"""OMNIGLOT (Lake et al.) at 28x28, labels the 50 alphabets: Burda's file, or rebuilt from the original release."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import files, npz
from parmesan_cagem.data import Dataset, omniglot_mat, omniglot_zip
from parmesan_cagem.data.fetch import fetch, user_cache
from parmesan_cagem.data.resize import resize
from parmesan_cagem.errors import UserError, words

_log = logging.getLogger(__name__)

CLASSES = 50
TRAIN_DRAWERS = 15  # of 20: as many training images as Burda's, 24,345
# Of the arrays rebuilt from the original release (`_digest`): what the cache must hold. It names the PNG files and the
# resize at once, and `resize` is exact, so every machine arrives at it.
REBUILT_SHA256 = "d260ef0bc4d72b83a8078d5ce8997cace092deed558062d04cf8e8fac0af9e3f"
REBUILT_BYTES = 160 << 20  # of the cache: 102 MB

_ZIPS = tuple(f"{name}.zip" for name in omniglot_zip.ALPHABETS)
_NEEDS = f"OMNIGLOT needs {omniglot_mat.NAME}, or {' and '.join(_ZIPS)}"
_FIX = f"put {' and '.join(_ZIPS)} (or {omniglot_mat.NAME}) into a folder and pass it as --data-dir"
_REBUILT = f"rebuilt from {', '.join(_ZIPS)}"

_NAMES = ("train_images", "train_labels", "test_images", "test_labels")
Arrays = list[NDArray[Any]]  # images (N, 784) float32 and labels (N,) int64 of the training set, then of the test set


def load(data_dir: Path | None, unverified: bool = False) -> Dataset:
    """Load OMNIGLOT: Burda's ``chardata.mat`` where there is one, else the original release, resized.

    A folder that the user names must hold one of them. Otherwise the user cache is tried (damage there is logged as a
    warning), then the download of the original release.

    Parameters
    ----------
    data_dir : Path or None
        Holds the files, itself or in its subfolder ``omniglot``; None: ``$CAGEM_DATA``, if set.
    unverified : bool
        Accept a ``chardata.mat`` of the same layout and other content.

    Returns
    -------
    Dataset
        Images (N, 784) float32, the probabilities that a pixel has ink; labels 0 .. 49, the alphabets: of the original
        release in its order (`omniglot_zip.ALPHABETS`), of ``chardata.mat`` as its targets number them.

    Raises
    ------
    UserError
        If a file in the named folder is missing, unreadable or not OMNIGLOT's; or if all else failed too.
    """
    if data_dir is not None:
        return _read_folder(data_dir, f"--data-dir {data_dir}", "--data-dir", unverified)
    if named := os.environ.get("CAGEM_DATA"):
        folder = Path(os.path.expanduser(named))
        return _read_folder(folder, f"$CAGEM_DATA {folder}", "$CAGEM_DATA", unverified)
    cache = user_cache() / "omniglot"
    files.sweep_folder(cache)
    if os.path.exists(cache / omniglot_mat.NAME):
        try:
            return _read_mat(cache, "the user cache", unverified)
        except UserError as error:
            _log.warning("%s", error)
    if rebuilt := _read_rebuilt(None):
        return _dataset(rebuilt, f"{_REBUILT}, in the user cache")
    if all(os.path.exists(cache / name) for name in _ZIPS):
        try:
            return _read_zips(cache, "the user cache")
        except UserError as error:
            _log.warning("%s", error)
    return download()


def download(mat: bool = False) -> Dataset:
    """Load OMNIGLOT from the user cache, after downloading what that lacks or holds damaged.

    Parameters
    ----------
    mat : bool
        Try to get Burda's file first.

    Raises
    ------
    UserError
        If no mirror gives the original release, or the cache cannot be written.
    """
    cache = user_cache() / "omniglot"
    if mat:
        try:
            fetch([omniglot_mat.FILE], omniglot_mat.MIRRORS, cache, f"fix: {_FIX}")
            return _read_mat(cache, "the user cache, downloaded", unverified=False)
        except UserError as error:
            _log.warning("%s; the original release will do", error)
    fetch(omniglot_zip.FILES, omniglot_zip.MIRRORS, cache, f"fix: {_FIX}")
    return _read_zips(cache, "the user cache, downloaded")


def _read_folder(folder: Path, given: str, where: str, unverified: bool) -> Dataset:
    """Read a folder that the user named, or its subfolder ``omniglot``; Burda's file wins."""
    other = "unset $CAGEM_DATA" if where.startswith("$") else "leave out --data-dir"
    fix = f"fix: add them, or {other} to use the cache or a download"
    places = (folder / "omniglot", folder)
    try:
        if not folder.is_dir():
            raise UserError(f"{given}: not a folder; {_NEEDS}; {fix}")
        for place in places:
            if (place / omniglot_mat.NAME).exists():
                return _read_mat(place, where, unverified)
        missing = {place: [name for name in _ZIPS if not (place / name).exists()] for place in places}
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({files.cause(error)}); fix its permissions") from error
    place = min(missing, key=lambda place: len(missing[place]))
    if missing[place]:
        raise UserError(
            f"{given}: lacks {', '.join(missing[place])}; {_NEEDS}, there or in its subfolder omniglot; {fix}"
        )
    return _read_zips(place, where)


def _read_mat(place: Path, where: str, unverified: bool) -> Dataset:
    arrays, verified = omniglot_mat.read(place / omniglot_mat.NAME, unverified)
    whose = "Burda et al." if verified else "unverified, not Burda's"
    return _dataset(arrays, f"{omniglot_mat.NAME} ({whose}) in {where}", verified)


def _read_zips(place: Path, where: str) -> Dataset:
    """The images of the original release at 28x28; from the cache if that was made from these very files."""
    contents = omniglot_zip.read_files(place)
    made_from = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    rebuilt = _read_rebuilt(made_from)
    if rebuilt is None:
        keys, ink = omniglot_zip.read_ink(place, contents)
        images, labels, train = resize(ink), keys[:, 0], keys[:, 2] <= TRAIN_DRAWERS
        rebuilt = [images[train], labels[train], images[~train], labels[~train]]
        _write_rebuilt(rebuilt, made_from)
    return _dataset(rebuilt, f"{_REBUILT} in {where}")


def _rebuilt_path() -> Path:
    return user_cache() / "omniglot" / f"rebuilt-{REBUILT_SHA256[:16]}.npz"


def _read_rebuilt(made_from: list[str] | None) -> Arrays | None:
    """The cached arrays if they are whole and (unless None) were `made_from` zips of these digests."""
    path = _rebuilt_path()
    files.sweep(path)  # what is found below is not written again
    if not os.path.exists(path):
        return None
    try:
        stored = npz.load(io.BytesIO(files.read_bytes(path, REBUILT_BYTES)))
        if made_from is not None and stored["made_from"].tolist() != made_from:
            return None
        arrays = [stored[name] for name in _NAMES]
        if [array.dtype.str for array in arrays] != ["<f4", "<i8", "<f4", "<i8"]:  # others would grow in the digest
            raise ValueError("other types of numbers")
        if (digest := _digest(arrays)) != REBUILT_SHA256:
            raise ValueError(f"SHA-256 {digest}, not {REBUILT_SHA256}")
    except (OSError, ValueError, KeyError) as error:
        _log.warning("%s: damaged (%s); it is made anew", path, words(error))
        return None
    return arrays


def _write_rebuilt(arrays: Arrays, made_from: list[str]) -> None:
    """Keep the arrays for the next start; a cache that cannot be written costs only that start's seconds."""
    path, packed = _rebuilt_path(), io.BytesIO()
    np.savez(packed, allow_pickle=False, made_from=np.array(made_from), **dict(zip(_NAMES, arrays, strict=True)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, packed.getvalue())
    except OSError as error:
        _log.warning("%s: cannot be made (%s); OMNIGLOT is rebuilt at every start", path.parent, files.cause(error))
    except UserError as error:
        _log.warning("%s; OMNIGLOT is rebuilt at every start", error)


def _dataset(arrays: Arrays, source: str, verified: bool = True) -> Dataset:
    for array in arrays:
        array.setflags(write=False)
    named = dict(zip(_NAMES, arrays, strict=True))
    return Dataset(name="omniglot", classes=CLASSES, **named, source=source, sha256=_digest(arrays), verified=verified)


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    """SHA-256 (hex) of images as little-endian float32 and labels as little-endian int64, in the order of `Arrays`."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<f4" if array.dtype.kind == "f" else "<i8").data)
    return digest.hexdigest()
