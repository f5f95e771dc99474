"""The paper's tables with ours beside them, as plain :class:`Table` objects: records in, no format yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parmesan_cagem.report import details
from parmesan_cagem.report.cells import ERRORS, Choice, choose, entry
from parmesan_cagem.report.paper import Published, PublishedRow, PublishedTable
from parmesan_cagem.report.protocol import Protocol, check, differences, protocol, words
from parmesan_cagem.report.runs import Run
from parmesan_cagem.report.table import Column, Row, Table

SPREAD = (
    "Ours: means over label subsets; ± is the sample standard deviation over them, of a single run the standard error "
    "over images."
)
VARIANTS = {False: "no temperature", True: "with temperature"}


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


def build(runs: Sequence[Run], published: Mapping[str, PublishedTable], mixed: bool = False) -> tuple[Table, ...]:
    """Tables 1 to 3, the runs behind Table 2, and the numbers of the text.

    Parameters
    ----------
    runs : sequence of Run
        From :func:`parmesan_cagem.report.runs.read`.
    published : mapping
        From :func:`parmesan_cagem.report.paper.load`.
    mixed : bool
        Mark cells whose protocol differs from their column's in place of refusing.

    Returns
    -------
    tuple of Table
        ``table1``, ``table2``, ``table2-runs``, ``table3``, ``text``.

    Raises
    ------
    UserError
        Records in one column differ in protocol.
    """
    sheets = {name: _Sheet(table, runs, mixed) for name, table in published.items()}
    return (
        _long(sheets["table1"]),
        _errors(sheets["table2"]),
        _error_runs(_Sheet(published["table2"], runs, mixed)),
        _long(sheets["table3"]),
        _long(sheets["text"]),
    )


def shown(runs: Sequence[Run], published: Mapping[str, PublishedTable]) -> set[Run]:
    """The runs that fill some cell."""
    filled = [cell.choice for table in published.values() for cell in cells(table, runs) if cell.choice]
    return {run for choice in filled for run in choice.entry.runs}


class _Sheet:
    """A table in the making: what fills it, by what protocol, and its notes."""

    def __init__(self, table: PublishedTable, runs: Sequence[Run], mixed: bool) -> None:
        self.published, self.cells = table, cells(table, runs)
        self.notes: list[str] = []
        columns: dict[str, list[tuple[str, Protocol]]] = {}
        for cell in self.cells:
            for run in cell.choice.equals if cell.choice else ():
                found = (run.name, protocol(run.record, cell.place.quantity))
                columns.setdefault(_column(cell.place), []).append(found)
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
        texts = list(details.remarks(cell.choice.entry, cell.place))
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


def _long(sheet: _Sheet) -> Table:
    """A row for each number: Tables 1 and 3, and the text."""
    text, unit = (True, "") if sheet.published.name == "text" else (False, ", nats")
    filled = {cell.place: cell for cell in sheet.cells}
    rows = []
    for row in sheet.published.rows:
        for place in row.values:
            cell = filled.get(place)
            found = cell.choice.entry if cell and cell.choice else None
            notes = sheet.numbers(sheet.remarks(cell)) if cell else ()
            head = [f"{row.label} ({row.cited_as})", *([row.where] if text else [])]
            values = (details.published(place), details.ours(found), details.difference(found, place))
            rows.append(
                Row(row.group, (*head, *values, *details.details(found, place.quantity)), found is not None, notes)
            )
    columns = [Column("model"), *([Column("where")] if text else [])]
    columns += [Column(f"paper{unit}", True), Column(f"ours{unit}", True), Column("difference", True)]
    return sheet.table([*columns, *(Column(title) for title in details.DETAILS.values())], rows)


def _errors(sheet: _Sheet) -> Table:
    """Table 2 as in the paper, a column for each number of labels; below it ours, by classifier and temperature."""
    columns = sheet.published.columns
    rows = []
    for row in sheet.published.rows:
        values = {place.column: details.published(place) for place in row.values}
        rows.append(Row(row.group, (f"{row.label} ({row.cited_as})", *(values.get(c, "") for c in columns)), False))
    for temperature, variant in VARIANTS.items():
        found = {c.place.column: c for c in sheet.cells if c.settings["temperature"] == temperature}
        notes = sheet.numbers(
            f"{column} labels, {variant}: {text}" for column in columns for text in sheet.remarks(found[column])
        )
        for quantity, classifier in (("error_p", "p(y|x)"), ("error_q", "q(y|x)")):
            texts, gaps = [], []
            for cell in (found[column] for column in columns):
                value = entry(cell.choice.entry.runs, quantity) if cell.choice else None
                spread = f" (±{value.spread:.2f})" if value and value.spread is not None else ""
                texts.append(details.ours(value) + spread)
                gaps.append(details.difference(value, cell.place))
            ours, group = any(texts), "CaGeM, ours"
            rows.append(Row(group, (f"{classifier}, {variant}", *texts), ours, notes if ours else ()))
            if quantity == "error_p" and not temperature:
                rows.append(Row(group, (f"{classifier}, {variant}, difference", *gaps), ours))
    return sheet.table([Column("method"), *(Column(f"{c} labels, %", True) for c in columns)], rows)


def _error_runs(sheet: _Sheet) -> Table:
    """Where our numbers of Table 2 come from: a row for each number of labels, classifier and temperature."""
    rows = []
    for cell in sheet.cells:
        variant = VARIANTS[cell.settings["temperature"]]
        notes = sheet.numbers(sheet.remarks(cell))
        for quantity, classifier in (("error_p", "p(y|x)"), ("error_q", "q(y|x)")):
            found = entry(cell.choice.entry.runs, quantity) if cell.choice else None
            theirs = details.published(cell.place) if quantity == "error_p" and variant == VARIANTS[False] else ""
            gap = details.difference(found, cell.place) if theirs else ""
            head = (f"{cell.row.label}, {cell.place.column} labels, {classifier}", theirs, details.ours(found), gap)
            rows.append(Row(variant, (*head, *details.details(found, quantity)), found is not None, notes))
    columns = [Column("model"), Column("paper, %", True), Column("ours, %", True), Column("difference", True)]
    columns += [Column("draws" if name == "k" else title) for name, title in details.DETAILS.items()]
    title = f"{sheet.published.where}, the runs behind it"
    return sheet.table(columns, rows, f"{sheet.published.name}-runs", title)
