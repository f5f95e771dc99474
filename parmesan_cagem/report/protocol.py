"""What must be the same for two numbers to stand in one column, or to be subtracted image by image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from parmesan_cagem.errors import UserError

Protocol = tuple[tuple[str, Any], ...]
# With these and the protocol, the images, their pixels and their noise are the same; of held-out images a place alone
# does not say which one it is.
_PAIRED = ("k", "indices_sha256", "seeds")
_HELDOUT = ("holdout", "labels", "label_seed")


def protocol(record: Mapping[str, Any], quantity: str) -> Protocol:
    """What the number ``quantity`` of a record depends on beside the model, as pairs of key and value.

    Data are told apart by their SHA-256, not by the words for where they came from. The seed of a binarisation is no
    part: it is a draw, and several may be averaged. Images and k are no part either: they have columns. Errors know no
    estimator.
    """
    dataset, evaluation = record["dataset"], record["eval"]
    kind = re.sub(r"seeds? [\d, ]*\d", "seed", evaluation["binarisation"])
    pairs = [
        ("dataset.sha256", dataset["sha256"]),
        ("dataset.verified", dataset["verified"]),
        ("dataset.pixel_scale", dataset["pixel_scale"]),
        ("eval.binarisation", kind),
        ("eval.bn_mode", evaluation["bn_mode"]),
        ("eval.precision", evaluation["precision"]),
    ]
    if quantity in ("bound", "F_1", "KL_z2"):
        pairs.append(("eval.estimator", evaluation["estimator"]))
    return tuple(pairs)


def differences(one: Protocol, other: Protocol) -> str:
    """What ``other`` has in place of ``one``, as ``eval.bn_mode collect, not ema``; empty where they agree."""
    have = dict(one)
    return "; ".join(f"{key} {value}, not {have[key]}" for key, value in other if have[key] != value)


def obstacle(record: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What keeps ``other`` from being paired with ``record`` by image, as ``eval.k 100, not 5000``; or nothing."""
    ours, its = record["config"], other["config"]
    pairs = [(f"eval.{name}", record["eval"][name], other["eval"][name]) for name in _PAIRED]
    pairs.append(("eval_split", ours.get("eval_split", "test"), its.get("eval_split", "test")))
    if its.get("eval_split") == "heldout":
        pairs += [(name, ours.get(name), its.get(name)) for name in _HELDOUT]
    found = [f"{name} {theirs}, not {here}" for name, here, theirs in pairs if theirs != here]
    return "; ".join(filter(None, [*found, differences(protocol(record, "bound"), protocol(other, "bound"))]))


def words(kind: Protocol) -> str:
    """For the line below a table.

    Examples
    --------
    >>> words((("dataset.sha256", "ab" * 32), ("dataset.verified", True), ("dataset.pixel_scale", None)))
    'data with SHA-256 abababababab... (verified), pixels are probabilities'
    """
    said = dict(kind)
    scale = said["dataset.pixel_scale"]
    data = f"data with SHA-256 {said['dataset.sha256'][:12]}..."
    texts = [
        f"{data} ({'verified' if said['dataset.verified'] else 'not verified'})",
        "pixels are probabilities" if scale is None else f"pixel v is 1 with probability v/{scale:g}",
    ]
    for key, name in (
        ("eval.binarisation", "binarisation"),
        ("eval.bn_mode", "batch statistics"),
        ("eval.precision", "matrix products"),
        ("eval.estimator", "estimator"),
    ):
        texts += [f"{name} {said[key]}"] if key in said else []
    return ", ".join(texts)


def check(where: str, column: Sequence[tuple[str, Protocol]], mixed: bool) -> Protocol:
    """Refuse a column in which records of two protocols stand.

    Parameters
    ----------
    where : str
        Name of the column, for the message.
    column : sequence of (name of a record, its protocol)
        At least one.
    mixed : bool
        Let it pass: the caller marks the deviating cells.

    Returns
    -------
    Protocol
        The commonest, of equally common ones the first.

    Raises
    ------
    UserError
        Names the first two records that differ, and in what.
    """
    usual = Counter(kind for _, kind in column).most_common(1)[0][0]
    others = [(name, kind) for name, kind in column if kind != usual]
    if others and not mixed:
        name = next(name for name, kind in column if kind == usual)
        raise UserError(
            f"{where}: record {others[0][0]} has {differences(usual, others[0][1])} as record {name}: one column would "
            "mix protocols; evaluate them alike, move one away, or give --mixed to mark what deviates"
        )
    return usual
