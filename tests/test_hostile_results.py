"""Results of strangers: whatever a record, a name or the published numbers say, nothing of it is taken for code."""

import csv
import json
import re
from xml.etree import ElementTree

import pytest
from figure_runs import entry
from hostile import ALL, FOLDERS, TEXTS, record, results
from html_pages import Page
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import cli
from parmesan_cagem.report import build, curves, render, style


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return results(tmp_path_factory.mktemp("hostile"))


def test_every_free_text_of_a_record_is_attacked():
    """The fixture does what it says: a field that the schema gets later is attacked too."""
    _, attacked = record(True)
    names = {".".join(map(str, path)) for path in attacked}
    assert {"name", "model", "device", "engine", "dataset.name", "dataset.source", "eval.device"} <= names
    assert {"config.preset", "config.label_weight", "warnings.0", "label_weight.given", "versions.python"} <= names


def test_nothing_in_the_report_is_code(places):
    content, _ = build.build(*places[:2], None, places[2])
    read = Page(content.decode())
    assert [attrs.get("type") for attrs in read.all("script")] == [None]
    for tag, attrs in read.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form", "image", "math", "template", "use", "a:href")
        assert not [name for name in attrs if name.startswith("on") or name in ("srcdoc", "formaction", "xlink:href")]
        assert attrs.get("href", "#")[:1] == "#" or (tag, attrs["href"]) == ("link", "data:,")
        assert attrs.get("src", "data:image/").startswith("data:image/")
    shown = " ".join(read.texts["main"])
    for text in TEXTS[:-1]:
        assert shown.count(text) > 20, text  # of records, captions, names and numbers: all shown as they are
    for name in FOLDERS:
        assert name in shown
    assert "evil" not in " ".join(read.texts["script"])


@pytest.fixture(scope="module")
def tables(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    flags = ["--records", str(places[0] / FOLDERS[1]), str(places[0] / FOLDERS[3]), "--paper", str(places[2])]
    assert cli.main(["tables", *flags, "--mixed", "--out", str(out)]) == 0
    return out


def test_no_cell_of_a_spreadsheet_is_a_formula(tables):
    cells = [cell for path in tables.glob("*.csv") for row in csv.reader(path.open()) for cell in row if cell]
    assert len(cells) > 200
    assert [cell for cell in cells if cell[0] in "=+@\t\r" or (cell[0] == "-" and not re.match(r"-[\d.]", cell))] == []


@given(st.text(st.sampled_from("=+-@|!'\t\r\n1.x ＝"), max_size=8))
def test_a_formula_is_never_left(text):
    shown = render.inert(render.plain(text))
    assert not re.match(r"[=@\t\r＝＋＠]|[+-](?![\d.]+( |$))", shown)
    assert shown.removeprefix("'") == render.plain(text).removeprefix("'")


def test_no_command_is_left_in_latex(tables):
    texts = "".join(path.read_text() for path in tables.glob("*.tex"))
    code = "\n".join(line for line in texts.splitlines() if not line.startswith("%"))
    assert r"\textbackslash{}input\{/etc/passwd\}" in code
    known = r"addlinespace|begin|bottomrule|end|footnotesize|linewidth|midrule|multicolumn|pm|text\w+|toprule"
    assert set(re.findall(r"\\([A-Za-z]+)", code)) <= set(re.findall(rf"\\({known})\b", code))


def test_no_link_picture_or_tag_is_left_in_markdown(tables):
    text = (tables / "TABLES.md").read_text().replace(render.GENERATED, "")
    assert re.sub(r"</?sup>|\*\*", "", text).count("window.evil") > 20
    bare = re.sub(r"\\[\\`*_\[\]<>|~&$]", "", text)
    assert not re.search(r"<(?!/?sup>)|`|!?\[[^]]*\]\(", bare)
    assert "\x1b" not in text


@pytest.mark.parametrize("name", [" ".join(FOLDERS), ALL], ids=["folders", "texts"])
def test_a_figures_title_is_no_mathematics_and_no_markup(name, tmp_path):
    """A run's name is the title of its curves: `$` does not begin a formula there, which may not parse."""
    figure = curves.curves(name, [entry(1, False, False), entry(2, False, False)])
    paths = style.save(figure, tmp_path / "x")
    svg = next(path for path in paths if path.suffix == ".svg").read_bytes()
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag.rpartition("}")[2] not in ("script", "foreignObject", "a", "text")
        for attribute, value in element.attrib.items():
            assert not attribute.startswith("on")
            assert not attribute.endswith("href") or value.startswith(("#", "data:image/"))
            assert "evil" not in value


def test_what_the_command_prints_is_lines(places, tmp_path, capsys):
    flags = ["--runs", places[0], "--figures", places[1], "--paper", places[2], "--out", tmp_path / "r.html"]
    assert cli.main(["report", *map(str, flags)]) == 0
    said = capsys.readouterr()
    assert json.dumps(said.err).count("\\u001b") == 0
    assert "\x1b" not in said.out + said.err
    assert ALL not in said.err
