"""Tables as Markdown, LaTeX and CSV: nothing in a cell is taken for markup."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_tables import MADE, NASTY, build

from parmesan_cagem.report import render
from parmesan_cagem.report.table import Column, Row, Table

WORDS = Table(
    "words",
    NASTY,
    (Column(NASTY), Column("number", True)),
    (Row(NASTY, ("[x]", "-1.50"), True, (1, 2)), Row("", ("*y*\nz\x00", ""), False)),
    (NASTY, "second"),
    (NASTY,),
)


def test_markdown_has_as_many_cells_in_each_line_whatever_the_text():
    lines = [line for line in render.markdown(WORDS).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


@pytest.mark.parametrize("character", list("\\`*_[]<>|~&$"))
def test_markdown_leaves_no_special_character_bare(character):
    assert render.escape_markdown(f"a{character}b") == f"a\\{character}b"


@given(st.text())
def test_markdown_round_trips(text):
    assert re.sub(r"\\([\\`*_\[\]<>|~&$])", r"\1", render.escape_markdown(text)) == render.plain(text)


@given(st.text(alphabet='\\{}[]&%$#_^~|<>*"-\n 1aé±'))
def test_latex_leaves_nothing_unescaped_and_is_balanced(text):
    escaped = render.escape_latex(text)
    rest = re.sub(r"\\text[a-z]+\{\}|\\[{}&%$#_]|\$\\pm\$|\$-\$|\{\[\}|\{\]\}|\{\*\}|-\{\}", "", escaped)
    assert not re.search(r"[\\{}\[&%$#_^~|<>*\"\n]", rest)
    depth = 0
    for found in re.findall(r"(?<!\\)[{}]", escaped.replace("\\\\", "")):
        depth += 1 if found == "{" else -1
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize("name", ["table1", "table2", "table2-runs", "table3", "text", "words"])
def test_latex_is_whole(name):
    table = WORDS if name == "words" else build(*MADE)[name]
    text = render.latex(table)
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert len(re.findall(r"(?<!\\)\{", code)) == len(re.findall(r"(?<!\\)\}", code))
    for word in ("toprule", "midrule", "bottomrule", "begin{tabular}", "end{tabular}"):
        assert code.count("\\" + word) == 1
    wide = len(table.columns)
    body = code.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    for line in body.splitlines():
        if line.startswith(("\\multicolumn", "\\addlinespace")):
            continue
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == wide - 1
        assert line[0] not in "[*"
    assert len(re.findall(r"\\begin\{tabular\}\{([lr]+)\}", code)[0]) == wide


def test_csv_reads_back():
    rows = list(csv.reader(io.StringIO(render.comma_separated(WORDS))))
    assert rows[0] == ["group", NASTY, "number", "notes"]
    assert rows[1] == [NASTY, "[x]", "-1.50", f"{NASTY}; second"]
    assert rows[2] == ["", "*y* z", "", ""]
    text = render.comma_separated(build(*MADE)["table1"])
    assert {len(row) for row in csv.reader(io.StringIO(text))} == {16}


def test_a_group_has_its_heading_once():
    text = render.markdown(build()["table1"])
    assert text.count("**Permutation invariant**") == 1
    assert text.index("VLAE") < text.index("**Permutation invariant**") < text.index("AVAE")
