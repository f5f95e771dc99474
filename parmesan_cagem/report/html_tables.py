"""Tables as HTML: the same objects that ``cagem tables`` writes as Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

from parmesan_cagem.report.markup import Html, element, join, scroller
from parmesan_cagem.report.table import Row, Table


def render(table: Table) -> Html:
    """A table, its notes below it.

    Parameters
    ----------
    table : Table
    """
    head = element("tr", [element("th", c.title, scope="col", class_=_kind(c.numeric)) for c in table.columns])
    body: list[Html] = []
    group = ""
    for row in table.rows:
        if row.group and row.group != group:
            heading = element("th", element("span", row.group), colspan=len(table.columns), scope="colgroup")
            body.append(element("tr", heading, class_="group"))
        group = row.group
        body.append(_row(table, row))
    title = f"{table.name}-title"  # a caption would scroll away with the table
    content = element("table", element("thead", head), element("tbody", body), class_="results", aria_labelledby=title)
    notes = [element("li", note, id=_note(table, index)) for index, note in enumerate(table.notes, start=1)]
    below = [element("p", remark, class_="quiet") for remark in table.remarks]
    listed = element("ol", notes, class_="notes") if notes else None
    heading = element("h3", table.title, id=title)
    return element("div", heading, scroller(content, table.title), listed, below, id=table.name, class_="table")


def _row(table: Table, row: Row) -> Html:
    cells = []
    for index, (column, text) in enumerate(zip(table.columns, row.cells, strict=True)):
        if index == 0:
            marks = [element("a", number, href=f"#{_note(table, number)}") for number in row.notes]
            mark = element("sup", join(marks, ", ")) if marks else None
            cells.append(element("th", text, mark, scope="row", class_=_kind(column.numeric)))
        else:
            cells.append(element("td", _minus(text) if column.numeric else text, class_=_kind(column.numeric)))
    return element("tr", cells, class_="ours" if row.ours else None)


def _minus(text: str) -> str:
    """Numbers with a minus sign in place of a hyphen, which lines break after.

    Examples
    --------
    >>> _minus("-79.38 (-1.5)"), _minus("2-3")
    ('−79.38 (−1.5)', '2-3')
    """
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def _kind(numeric: bool) -> str | None:
    return "number" if numeric else None


def _note(table: Table, number: int) -> str:
    return f"{table.name}-note-{number}"
