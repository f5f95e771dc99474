"""F_1 and F_k image by image: two runs on the same images differ by less than the standard error of either says.

``bounds.csv`` beside a record has a line for each seed and image: ``seed,image,F_1,F_5000``. It is small enough for
git, as the ``evaluation.h5`` that it comes from is not. Numbers that are not the record's count as none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import files
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.errors import UserError, words

NAME = "bounds.csv"
LINE_BYTES = 100  # at most; ours have 31
BYTES = 64 << 20  # of the file, at most
LARGEST = 1e15  # of a number: what follows is exact, or at least no overflow

Images = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageBounds:
    """Bounds of an evaluation, in nats.

    Attributes
    ----------
    indices : (N,) int64
        Places in the test set, ascending.
    by_name : dict
        ``F_1`` and ``F_<k>`` -> (N,) for every seed.
    """

    indices: NDArray[np.int64]
    by_name: Mapping[str, list[Images]]


def belong(bounds: ImageBounds, record: Mapping[str, Any]) -> bool:
    """Whether these are a record's numbers: its images, and for every seed its means."""
    if indices_sha256(bounds.indices) != record["eval"]["indices_sha256"]:
        return False
    said = {name: record["bounds"].get(name, {"by_seed": []})["by_seed"] for name in bounds.by_name}
    return all(
        len(said[name]) == len(values) and np.allclose([one.mean() for one in values], said[name], rtol=0, atol=1e-6)
        for name, values in bounds.by_name.items()
    )


def write(folder: Path, seeds: Sequence[int], bounds: ImageBounds) -> None:
    """Write ``bounds.csv``, to a millionth of a nat; ``by_name`` has F_1 first.

    Raises
    ------
    UserError
        It cannot be written.
    """
    lines = [",".join(("seed", "image", *bounds.by_name))]
    for place, seed in enumerate(seeds):
        columns = [values[place] for values in bounds.by_name.values()]
        rows = zip(bounds.indices, *columns, strict=True)
        lines += [f"{seed},{image}," + ",".join(f"{value:.6f}" for value in values) for image, *values in rows]
    files.write_atomically(folder / NAME, "\n".join([*lines, ""]).encode())


def names(k: int) -> list[str]:
    """The bounds that are kept of an evaluation with k samples.

    Examples
    --------
    >>> names(5000), names(1)
    (['F_1', 'F_5000'], ['F_1'])
    """
    return list(dict.fromkeys(("F_1", f"F_{k}")))


def read(folder: Path, record: Mapping[str, Any]) -> ImageBounds | None:
    """What ``bounds.csv`` says; None where there is none, or it is of another evaluation.

    Raises
    ------
    UserError
        It is damaged, or cannot be read.
    """
    evaluation = record["eval"]
    columns = ["seed", "image", *names(evaluation["k"])]
    lines = evaluation["images"] * len(evaluation["seeds"]) + 1
    path, fix = folder / NAME, f"remove it; `cagem evaluate {folder}` writes it anew"
    try:
        content = files.read_bytes(path, min(lines * LINE_BYTES, BYTES))
        head, _, body = content.decode("ascii").partition("\n")
        if head != ",".join(columns):
            return None
        if not body.strip():
            raise ValueError("its head is all")
        table = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2, comments=None)  # (seeds N, columns)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {files.cause(error)}; {fix}") from None
    except ValueError as error:
        raise UserError(f"{path}: no table of numbers ({words(error)}); {fix}") from None
    if table.shape[1] != len(columns) or not (np.abs(table) < LARGEST).all() or (table[:, :2] % 1).any():
        raise UserError(f"{path}: no table of {len(columns)} finite numbers a line, the first two whole; {fix}")
    by_seed = [table[table[:, 0] == seed] for seed in evaluation["seeds"]]  # each (N, columns)
    images = by_seed[0][:, 1]
    if sum(map(len, by_seed)) != len(table) or not all(np.array_equal(one[:, 1], images) for one in by_seed):
        return None
    by_name = {name: [one[:, column] for one in by_seed] for column, name in enumerate(columns) if column > 1}
    found = ImageBounds(images.astype(np.int64), by_name)
    return found if belong(found, record) else None


def difference(one: ImageBounds, other: ImageBounds, name: str) -> tuple[float, float | None]:
    """Mean over images of ``other``'s bound less ``one``'s, each a mean over seeds, and its standard error; nats.

    The error is over images alone: what another seed of the training would change is no part of it. None for one image.
    """
    by_seed = [b - a for a, b in zip(one.by_name[name], other.by_name[name], strict=True)]
    return float(np.mean(by_seed)), standard_error(by_seed)


def standard_error(by_seed: Sequence[Images]) -> float | None:
    """Of the mean over images of each one's mean over seeds, nats; None for one image."""
    values = np.mean(by_seed, axis=0)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
