"""Table 2, the test errors: ours below the paper's, by model, classifier and temperature, and the runs behind them."""

from __future__ import annotations

from collections.abc import Iterator

from parmesan_cagem.report import details
from parmesan_cagem.report.cells import entry
from parmesan_cagem.report.paper import Published, PublishedRow
from parmesan_cagem.report.sheet import Cell, Sheet
from parmesan_cagem.report.table import Column, Row, Table

VARIANTS = {False: "no temperature", True: "with temperature"}


def errors(sheet: Sheet) -> Table:
    """Table 2 as in the paper, a column for each number of labels; below it ours, by classifier and temperature."""
    columns = sheet.published.columns
    rows = []
    for row in sheet.published.rows:
        values = {place.column: details.published(place) for place in row.values}
        rows.append(Row(row.group, (f"{row.label} ({row.cited_as})", *(values.get(c, "") for c in columns)), False))
    for row in sheet.published.rows:
        for temperature in VARIANTS:
            rows += _ours(sheet, row, temperature)
    return sheet.table([Column("method"), *(Column(f"{c} labels, %", True) for c in columns)], rows)


def _ours(sheet: Sheet, row: PublishedRow, temperature: bool) -> Iterator[Row]:
    """Our rows of a model: none where no run of ours could fill one."""
    columns, variant = sheet.published.columns, VARIANTS[temperature]
    found = {
        cell.place.column: cell
        for cell in sheet.cells
        if cell.row is row and cell.settings["temperature"] == temperature and _has_rows(cell)
    }
    if not found:
        return
    notes = sheet.numbers(f"{c} labels, {variant}: {text}" for c, cell in found.items() for text in sheet.remarks(cell))
    place = next(iter(found.values())).place
    for quantity, classifier in _classifiers(place):
        texts, gaps = [], []
        for cell in (found.get(column) for column in columns):
            value = entry(cell.choice.entry.runs, quantity) if cell and cell.choice else None
            spread = f" (±{value.spread:.2f})" if value and value.spread is not None else ""
            texts.append(details.ours(value) + spread)
            gaps.append(details.difference(value, cell.place) if cell else "")
        ours, group = any(texts), f"{row.label}, ours"
        yield Row(group, (f"{classifier}, {variant}", *texts), ours, notes if ours else ())
        if quantity == place.quantity and not temperature:
            yield Row(group, (f"{classifier}, {variant}, difference", *gaps), ours)


def error_runs(sheet: Sheet) -> Table:
    """Where our numbers of Table 2 come from: a row for each number of labels, classifier and temperature."""
    rows = []
    for cell in filter(_has_rows, sheet.cells):
        place, variant = cell.place, VARIANTS[cell.settings["temperature"]]
        notes = sheet.numbers(sheet.remarks(cell))
        for quantity, classifier in _classifiers(place):
            found = entry(cell.choice.entry.runs, quantity) if cell.choice else None
            beside = quantity == place.quantity and variant == VARIANTS[False]
            theirs = details.published(place) if beside else ""
            gap = details.difference(found, place) if beside else ""
            head = (f"{cell.row.label}, {place.column} labels, {classifier}", theirs, details.ours(found), gap)
            rows.append(Row(variant, (*head, *details.details(found, quantity)), found is not None, notes))
    columns = [Column("model"), Column("paper, %", True), Column("ours, %", True), Column("difference", True)]
    columns += [Column("draws" if name == "k" else title) for name, title in details.DETAILS.items()]
    title = f"{sheet.published.where}, the runs behind it"
    return sheet.table(columns, rows, f"{sheet.published.name}-runs", title)


def _has_rows(cell: Cell) -> bool:
    """The paper's own model always, a baseline where a record exists."""
    return cell.choice is not None or cell.settings["model"] == "cagem"


def _classifiers(place: Published) -> tuple[tuple[str, str], ...]:
    """Quantity and words of each classifier that the row's model has."""
    both = (("error_p", "p(y|x)"), ("error_q", "q(y|x)"))
    return both if place.quantity == "error_p" else both[1:]
