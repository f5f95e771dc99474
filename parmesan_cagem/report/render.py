"""A :class:`Table` as Markdown, CSV and LaTeX. Records may hold any text, so each format escapes its own characters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from parmesan_cagem.report.table import Row, Table

GENERATED = "Generated from the records by `cagem tables`. Do not edit: another run of it would undo the change."
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~&$]")
_FORMULA = re.compile(r"[=@\t\r＝＋＠－]|[+-](?![\d.]+( |$))")  # the wide ones, too: Excel reads them alike
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "[": "{[}",  # after a line's end it would begin an optional argument
    "]": "{]}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "*": "{*}",  # likewise
    '"': "''",
    "±": r"$\pm$",
    **{character: "\\" + character for character in "&%$#_"},
}


def plain(text: str) -> str:
    r"""One line without characters that do not print.

    Examples
    --------
    >>> plain("two\nlines, a bell\x07")
    'two lines, a bell'
    """
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def escape_markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, in a table's cell too.

    Examples
    --------
    >>> print(escape_markdown("q(y|x) < 1 & z_1"))
    q(y\|x) \< 1 \& z\_1
    """
    return _MARKDOWN.sub(lambda found: "\\" + found.group(), plain(text))


def escape_latex(text: str) -> str:
    r"""Text that LaTeX sets as it is; a minus before a number becomes a minus sign.

    Examples
    --------
    >>> print(escape_latex("-79.38 & 24 %"))
    $-$79.38 \& 24 \%
    """
    escaped = "".join(_LATEX.get(character, character) for character in plain(text))
    return re.sub(r"(?<![^\s(])-(?=\d)", "$-$", escaped).replace("--", "-{}-")


def inert(text: str) -> str:
    """Text that a spreadsheet takes for no formula; numbers stay numbers.

    Examples
    --------
    >>> inert("=1+1"), inert("+4.67"), inert("-79.38 ± 0.50"), inert("-x"), inert("+x")
    ("'=1+1", '+4.67', '-79.38 ± 0.50', "'-x", "'+x")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def markdown(table: Table) -> str:
    """A heading, a table of GitHub's kind, the notes."""
    titles = [escape_markdown(column.title) or " " for column in table.columns]
    rules = ["--:" if column.numeric else "---" for column in table.columns]
    lines = [f"## {escape_markdown(table.title)}", "", _line(titles), "|" + "|".join(rules) + "|"]
    for heading, row in _with_headings(table.rows):
        if heading:
            lines.append(_line([f"**{escape_markdown(heading)}**", *[""] * (len(table.columns) - 1)]))
        first, *others = (escape_markdown(cell) for cell in row.cells)
        mark = f" <sup>{_numbers(row)}</sup>" if row.notes else ""
        lines.append(_line([first + mark, *others]))
    lines += [""] if table.notes else []
    lines += [f"{number}. {escape_markdown(note)}" for number, note in enumerate(table.notes, 1)]
    for remark in table.remarks:
        lines += ["", escape_markdown(remark)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A ``tabular`` for the package booktabs, the notes in its last lines."""
    kinds = "".join("r" if column.numeric else "l" for column in table.columns)
    wide = len(table.columns)
    lines = [
        f"% {plain(GENERATED)}",
        r"% Needs \usepackage{booktabs}; " + plain(table.title),
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        " & ".join(escape_latex(column.title) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for number, (heading, row) in enumerate(_with_headings(table.rows)):
        if heading:
            lines += [r"\addlinespace"] if number else []
            lines.append(rf"\multicolumn{{{wide}}}{{l}}{{\textit{{{escape_latex(heading)}}}}} \\")
        first, *others = (escape_latex(cell) for cell in row.cells)
        mark = rf"\textsuperscript{{{_numbers(row)}}}" if row.notes else ""
        lines.append(" & ".join([first + mark, *others]) + r" \\")
    lines.append(r"\bottomrule")
    notes = [rf"\textsuperscript{{{number}}} {escape_latex(note)}" for number, note in enumerate(table.notes, 1)]
    for note in [*notes, *(escape_latex(remark) for remark in table.remarks)]:
        lines.append(rf"\multicolumn{{{wide}}}{{p{{\linewidth}}}}{{\footnotesize {note}}} \\")
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def comma_separated(table: Table) -> str:
    """A line of headings and one for each row; group first, last the text of its notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")

    def shown(text: str) -> str:
        return inert(plain(text))

    writer.writerow(["group", *(shown(column.title) for column in table.columns), "notes"])
    for row in table.rows:
        notes = "; ".join(plain(table.notes[number - 1]) for number in row.notes)
        writer.writerow([shown(row.group), *map(shown, row.cells), shown(notes)])
    return text.getvalue()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _numbers(row: Row) -> str:
    return ", ".join(str(number) for number in row.notes)


def _with_headings(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Each row, and the heading above it where a group begins."""
    groups = ["", *(row.group for row in rows)]
    return [(row.group if row.group != before else "", row) for before, row in zip(groups, rows, strict=False)]
