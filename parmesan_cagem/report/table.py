"""A table without a format: what Markdown, LaTeX, CSV and the HTML page render."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes
    ----------
    title : str
        Heading, with the unit where it has one.
    numeric : bool
        Set flush right.
    """

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes
    ----------
    group : str
        Heading above the first row of each group; empty: none.
    cells : tuple of str
        Plain text, one for each column, not escaped for any format; empty where there is no number.
    ours : bool
        The row holds a number of ours.
    notes : tuple of int
        Which of the table's notes belong here, counted from 1.
    """

    group: str
    cells: tuple[str, ...]
    ours: bool
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        Of the files: ``table1``.
    title : str
    columns : tuple of Column
    rows : tuple of Row
    notes : tuple of str
        Footnotes, numbered from 1, plain text. A renderer marks the rows with them.
    remarks : tuple of str
        Lines below the table that hold for all of it, plain text.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
