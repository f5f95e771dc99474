"""The paper's tables with ours beside them, as plain :class:`Table` objects: records in, no format yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from parmesan_cagem.report import details, ours, paired, table2
from parmesan_cagem.report.paper import PublishedTable
from parmesan_cagem.report.runs import Run
from parmesan_cagem.report.sheet import Cell, Sheet, cells
from parmesan_cagem.report.table import Column, Row, Table


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
        ``table1``, ``table1-paired`` where there are runs to pair, ``table2``, ``table2-runs``, ``table3``, ``text``.

    Raises
    ------
    UserError
        Records in one column differ in protocol.
    """

    def sheet(name: str) -> Sheet:
        return Sheet(published[name], _all_cells(published, name, runs), mixed)

    in_table_1 = _fill(published, ("table1",), runs)
    beside = paired.table([run for run in runs if run in in_table_1])
    return (
        _long(sheet("table1")),
        *([beside] if beside else []),
        table2.errors(sheet("table2")),
        table2.error_runs(sheet("table2")),
        _long(sheet("table3")),
        _long(sheet("text")),
    )


def shown(runs: Sequence[Run], published: Mapping[str, PublishedTable]) -> set[Run]:
    """The runs that fill some cell."""
    return _fill(published, published, runs)


def _fill(published: Mapping[str, PublishedTable], names: Iterable[str], runs: Sequence[Run]) -> set[Run]:
    choices = [cell.choice for name in names for cell in _all_cells(published, name, runs)]
    return {run for choice in choices if choice for run in choice.entry.runs}


def _all_cells(published: Mapping[str, PublishedTable], name: str, runs: Sequence[Run]) -> list[Cell]:
    """The cells of the paper's table, then those of our further rows."""
    return [*cells(published[name], runs), *ours.cells(published, name, runs)]


def _long(sheet: Sheet) -> Table:
    """A row for each number: Tables 1 and 3, and the text."""
    text, unit = (True, "") if sheet.published.name == "text" else (False, ", nats")
    filled = {cell.place: cell for cell in sheet.cells}
    rows = []
    extra = [cell.row for cell in sheet.cells if cell.row not in sheet.published.rows]
    for row in (*sheet.published.rows, *extra):
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
