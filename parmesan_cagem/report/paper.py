"""The published numbers: ``results/paper.json``, read once into plain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files
from parmesan_cagem.errors import UserError
from parmesan_cagem.report.runs import DEFAULTS

QUANTITIES = ("bound", "F_1", "KL_z2", "error_p", "error_q", "accuracy_p")
TABLES = ("table1", "table2", "table3", "text")
CHECKOUT = Path(__file__).resolve().parents[2] / "results" / "paper.json"


@dataclass(frozen=True, eq=False)
class Published:
    """One place of the paper that holds a number, or could hold one of ours; equal to itself only.

    Attributes
    ----------
    table : str
        ``table1``, ``table2``, ``table3`` or ``text``.
    row, column : str
        Label as in the paper; for Table 2, the number of labels.
    quantity : str
        ``bound`` (F_k), ``F_1`` or ``KL_z2`` in nats; ``error_p``, ``error_q`` or ``accuracy_p`` in percent.
    value : float or None
        In those units; None where the paper draws a point and prints no number.
    spread : float or None
        What the paper prints after ±.
    about : bool
        The paper says ≈.
    settings : mapping or None
        What identifies a run of ours that fills this place (:mod:`parmesan_cagem.report.cells`); None where no model of
        this package can.
    """

    table: str
    row: str
    column: str
    quantity: str
    value: float | None
    spread: float | None
    about: bool
    settings: Mapping[str, Any] | None


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table of the paper.

    Attributes
    ----------
    group, label, where : str
        Group heading (may be empty), label as in the paper, and where it stands.
    cited_as : str
        The reference, as the paper cites it.
    values : tuple of Published
        One for each column that holds a number.
    notes : tuple of str
        What a reader should know of a number of ours in this row.
    """

    group: str
    label: str
    where: str
    cited_as: str
    values: tuple[Published, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper, its rows in the paper's order."""

    name: str
    title: str
    where: str
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def load(path: Path | None = None) -> dict[str, PublishedTable]:
    """Read the published numbers.

    Parameters
    ----------
    path : Path, optional
        The file; without it, ``results/paper.json`` of the checkout, else of the current folder.

    Returns
    -------
    dict
        ``table1``, ``table2``, ``table3`` and ``text``.

    Raises
    ------
    UserError
        The file is missing (as in an installed package) or is something else.
    """
    path = path or (CHECKOUT if CHECKOUT.exists() else Path("results/paper.json"))
    content = files.read_json(path, "give the results/paper.json of a checkout with --paper")
    try:
        cited = {key: reference["cited_as"] for key, reference in content["references"].items()}
        _require_texts(*cited.values())
        return {name: _table(name, content["tables"][name], cited) for name in TABLES}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: not the published numbers: {type(error).__name__} {error}; restore it with git checkout"
        ) from error


def _table(name: str, table: dict[str, Any], cited: dict[str, str]) -> PublishedTable:
    rows = []
    for row in table["rows"]:
        places = row.get("values") or {"": row}
        quantity = row.get("quantity") or table["quantity"]
        values = tuple(_published(name, row["label"], column, quantity, place) for column, place in places.items())
        where = row.get("where", table["where"])
        notes = tuple(row.get("notes", ()))
        _require_texts(row["label"], where, row.get("group", ""), *notes)
        rows.append(PublishedRow(row.get("group", ""), row["label"], where, cited[row["reference"]], values, notes))
    _require_texts(table["title"], table["where"], *table.get("columns", ()))
    return PublishedTable(name, table["title"], table["where"], tuple(table.get("columns", ())), tuple(rows))


def _require_texts(*texts: Any) -> None:
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{wrong[0]!r:.50} is no text")


def _published(table: str, row: str, column: str, quantity: str, place: dict[str, Any]) -> Published:
    texts, numbers = (table, row, column, quantity), (place["value"], place.get("spread"))
    if not all(type(text) is str for text in texts) or quantity not in QUANTITIES:
        raise ValueError(f"{texts}: not a place of a table")
    if not all(number is None or type(number) in (int, float) for number in numbers):
        raise ValueError(f"{row} {column}: {numbers}: not numbers")
    if not all(type(place.get(name, kind())) in (kind, type(None)) for name, kind in (("about", bool), ("cell", dict))):
        raise ValueError(f"{row} {column}: about or cell is of another kind")
    needed = {"dataset", "model", *(["temperature"] if table == "table2" else [])}
    if place.get("cell") is not None and not needed <= place["cell"].keys():
        raise ValueError(f"{row} {column}: a cell has {', '.join(sorted(needed))}")
    for setting, value in (place.get("cell") or {}).items():
        kind = {"temperature": bool, "subsets": int}.get(setting) or type(DEFAULTS[setting])
        if not all(type(one) is kind for one in (value if isinstance(value, list) and value else [value])):
            raise ValueError(f"{row} {column}: {setting}: {value!r} is no {kind.__name__}")
    return Published(
        table,
        row,
        column,
        quantity,
        place["value"],
        place.get("spread"),
        place.get("about", False),
        place.get("cell"),
    )
