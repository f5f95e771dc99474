"""A table of the paper in the making: its cells, what fills them, by what protocol, and the notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parmesan_cagem.report import details
from parmesan_cagem.report.cells import ERRORS, Choice, choose
from parmesan_cagem.report.paper import Published, PublishedRow, PublishedTable
from parmesan_cagem.report.protocol import Protocol, check, differences, protocol, words
from parmesan_cagem.report.runs import Run
from parmesan_cagem.report.table import Column, Row, Table

SPREAD = (
    "Ours: means over label subsets; ± is the sample standard deviation over them, of a single run the standard error "
    "over images."
)


@dataclass(frozen=True, eq=False)
class Cell:
    """A place that a run of ours could fill.

    Attributes
    ----------
    row : PublishedRow
    place : Published
    settings : mapping
        What identifies the run; in Table 2 once without temperature (the paper's) and once with it.
    choice : Choice or None
        What fills it.
    """

    row: PublishedRow
    place: Published
    settings: Mapping[str, Any]
    choice: Choice | None


def cells(table: PublishedTable, runs: Sequence[Run]) -> tuple[Cell, ...]:
    """Every place of a table that a run could fill, in the paper's order; of Table 2, those with temperature last."""
    variants: tuple[dict[str, bool], ...] = ({},)
    if table.name == "table2":
        variants = ({"temperature": False}, {"temperature": True})
    return tuple(
        Cell(row, place, settings, choose(runs, settings, place.quantity))
        for variant in variants
        for row in table.rows
        for place in row.values
        if place.settings is not None
        for settings in ({**place.settings, **variant},)
    )


class Sheet:
    """A table in the making: what fills it, by what protocol, and its notes.

    Parameters
    ----------
    table : PublishedTable
    found : sequence of Cell
        Its cells, and those of rows of ours that it has not.
    mixed : bool
        Mark cells whose protocol differs from their column's in place of refusing.
    """

    def __init__(self, table: PublishedTable, found: Sequence[Cell], mixed: bool) -> None:
        self.published, self.cells = table, tuple(found)
        self.notes: list[str] = []
        columns: dict[str, list[tuple[str, Protocol]]] = {}
        for cell in self.cells:
            for run in cell.choice.equals if cell.choice else ():
                one = (run.name, protocol(run.record, cell.place.quantity))
                columns.setdefault(_column(cell.place), []).append(one)
        where = f"{table.where}, " if table.name.startswith("table") else "text, "
        self.usual = {name: check(where + name, column, mixed) for name, column in columns.items()}

    def numbers(self, texts: Iterable[str]) -> tuple[int, ...]:
        """Numbers of these notes; equal ones are one."""
        found = set()
        for text in texts:
            if text not in self.notes:
                self.notes.append(text)
            found.add(self.notes.index(text) + 1)
        return tuple(sorted(found))

    def remarks(self, cell: Cell) -> list[str]:
        """What a reader should know of the records of a cell."""
        if cell.choice is None:
            return []
        texts = [*cell.row.notes, *details.remarks(cell.choice.entry, cell.place)]
        if deviation := differences(self.usual[_column(cell.place)], cell.choice.protocol):
            texts.append(f"protocol differs from the rest of the column: {deviation}")
        if hidden := [run.name for run in cell.choice.equals if run not in cell.choice.entry.runs]:
            texts.append(f"of equal standing and not shown: {', '.join(hidden)}")
        return texts

    def table(self, columns: Sequence[Column], rows: Sequence[Row], name: str = "", title: str = "") -> Table:
        """The table, and below it the protocol of our numbers."""
        remarks = []
        if self.published.name == "table2" and not name:
            remarks.append(SPREAD)
        remarks += [f"Protocol of our {column}: {words(usual)}." for column, usual in self.usual.items()]
        where = f"{self.published.where}. " if self.published.name != "text" else ""
        title = title or where + self.published.title
        return Table(name or self.published.name, title, tuple(columns), tuple(rows), tuple(self.notes), tuple(remarks))


def _column(place: Published) -> str:
    return "errors" if place.quantity in ERRORS else {"bound": "F_k"}.get(place.quantity, place.quantity)
