"""The report: sound HTML, nothing from outside, nothing of a record's text runs, the same bytes each time."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest
from html_pages import EVIL, SVG, Page, plane, text_of, write_runs
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import cli
from parmesan_cagem.report import build, explorer, html_figures, html_tables, inputs, markup, paper, sprites, tables
from parmesan_cagem.report.markup import element
from parmesan_cagem.report.table import Column, Row, Table


@pytest.fixture
def folders(tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    for stem in ("figure3", "figure4"):  # nobody says of what figure4 is drawn
        (figures / f"{stem}.svg").write_bytes(SVG)
    (figures / "captions.json").write_text('{"figure3": {"caption": "Three panels.", "runs": ["a run"]}}')
    (figures / "curves-mnist-cagem-100-short-s1.svg").write_bytes(SVG)
    return write_runs(tmp_path / "runs"), figures


@pytest.fixture
def report(folders):
    content, _ = build.build(*folders, None)
    return content.decode()


# The page as a whole


def test_the_page_is_sound_html(report):
    read = Page(report)
    assert len(read.ids) == len(set(read.ids))
    for wanted in ("tables", "figures", "explorer", "runs", "run-mnist-cagem-100-short-s1"):
        assert wanted in read.ids
    for attrs in read.all("a"):
        assert attrs["href"].startswith("#")
        assert attrs["href"][1:] in read.ids
    for attrs in read.elements:
        assert all(attrs[1].get(name) in (None, *read.ids) for name in ("aria-labelledby",))
    assert all(attrs["alt"] for attrs in read.all("img"))
    assert read.all("html")[0]["lang"] == "en"


def test_nothing_comes_from_outside(report):
    read = Page(report)
    for tag, attrs in read.elements:
        for name in ("src", "srcset", "data", "action", "poster", "background", "style"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
    assert {attrs["href"] for attrs in read.all("link")} == {"data:,"}
    assert not re.search(r"@import|url\(", read.texts["style"][0])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:|innerHTML|eval\(", read.texts["script"][-1])


@pytest.mark.parametrize("section", [explorer.missing(), explorer.section(plane()[0], "run")], ids=["none", "some"])
def test_the_policy_allows_the_pages_own_script_and_style_only(section):
    read = Page(text_of(section))
    (policy,) = [a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules.pop("script-src") == hashed(read.texts["script"][-1])
    assert rules.pop("style-src") == hashed(read.texts["style"][0])
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    kinds = [attrs.get("type") for attrs in read.all("script")]
    assert kinds in ([None], ["application/json", None])
    names = [tag for tag, _ in read.elements]
    assert names.index("meta") < names.index("style") < names.index("script")


def test_the_same_inputs_give_the_same_bytes(folders, tmp_path):
    runs, figures = folders
    elsewhere = tmp_path / "another place"
    shutil.copytree(runs, elsewhere / "r")
    shutil.copytree(figures, elsewhere / "f")
    first, _ = build.build(runs, figures, None)
    second, _ = build.build(elsewhere / "r", elsewhere / "f", None)
    assert first == second
    assert str(tmp_path) not in first.decode()


def test_what_is_not_there_is_named_with_its_command(report):
    read = Page(report)
    text = read.texts["main"][0]
    assert "run_mnist.py --labels 100 --z2-dim 2 --preset short makes one" in text
    assert "run_omniglot.py --labels 500, then cagem figures draws it" in text
    assert "No curves yet: cagem figures" in text
    assert "unfinished <b>: no record yet" in text
    assert re.search(r"damaged/record.json: .*required property", text)


def test_figures_stand_in_their_order_with_the_papers_captions(report, folders):
    read = Page(report)
    images = [attrs["src"] for attrs in read.all("img") if attrs["src"].startswith("data:image/svg")]
    assert images == [markup.data_uri("image/svg+xml", SVG)] * 2
    places = [report.index(f'id="{figure.stem}"') for figure in html_figures.FIGURES]
    assert places == sorted(places)
    assert all(figure.paper in read.texts["main"][0] for figure in html_figures.FIGURES)


def test_figures_say_what_they_show(folders):
    captions = {"figure3": {"caption": "Ours <b>.", "runs": ["a run"]}, "figure4": 3}
    (folders[1] / "captions.json").write_text(json.dumps(captions))
    text = Page(text_of(html_figures.section(folders[1]))).texts["main"][0]
    assert "Ours <b>. Of a run." in text
    (folders[1] / "captions.json").write_text("no json")
    assert "Ours" not in html_figures.section(folders[1])


# Tables


def test_a_table_is_rendered_whole():
    columns = (Column("model"), Column("nats <", numeric=True))
    rows = (Row("", ("a & b", "−81.60"), False), Row("ours", ("c", ""), True, (1, 2)), Row("ours", ("d", "1"), True))
    html = html_tables.render(Table("table9", "A <title>", columns, rows, ("first", "second"), ("of all",)))
    read = Page(html)
    assert read.texts["h3"] == ["A <title>"]
    assert read.texts["td"] == ["−81.60", "", "1"]
    assert read.texts["th"] == ["model", "nats <", "a & b", "ours", "c1, 2", "d"]
    assert read.texts["li"] == ["first", "second"]
    assert [a["href"] for a in read.all("a")] == ["#table9-note-1", "#table9-note-2"]
    assert sorted(read.ids) == ["table9", "table9-note-1", "table9-note-2", "table9-title"]
    assert html.count('class="ours"') == 2
    assert "of all" in html


def test_the_tables_of_the_page_are_those_of_cagem_tables(report, folders):
    runs, _ = inputs.collect(*folders)
    made = tables.build([run.of_tables for run in runs if run.of_tables], paper.load(), mixed=True)
    read = Page(report)
    for table in made:
        assert table.title in read.texts["h3"]
        assert table.name in read.ids
        cells = {html_tables._minus(cell) for row in table.rows for cell in row.cells}
        heads = read.texts["th"]  # with the numbers of their notes
        assert [c for c in cells if c not in read.texts["td"] and not any(h.startswith(c) for h in heads)] == []
    assert "−79.38" in read.texts["td"]  # the paper's
    assert "−90.25" in read.texts["td"]  # ours, of the example's records


# Text is never markup


def test_markup_in_records_shows_as_text(report):
    read = Page(report)
    (script,) = [text for text in read.texts["script"] if "evil" in text] or [""]
    assert script == ""
    for text in EVIL:
        assert text in read.texts["main"][0]
        assert any(text in cell for cell in read.texts["td"])
        assert any(text in note for note in read.texts["li"])
        assert text not in report or not set("<>&") & set(text)
    assert not [attrs for _, attrs in read.elements if "javascript" in f"{attrs.get('href')}{attrs.get('src')}"]
    assert not [attrs for _, attrs in read.elements if "onerror" in attrs or "onload" in attrs]
    assert {attrs["src"][:5] for attrs in read.all("img")} == {"data:"}


@given(st.text(), st.text())
def test_text_comes_back_as_it_was(text, value):
    """Whatever the text, one element with one attribute is read back, and both hold it."""
    read = Page(element("p", text, title=value))
    assert read.elements == [("p", {"title": visible(value)})]
    assert read.texts["p"] == [visible(text)]
    element("p", text, title=value).encode()


def visible(text):
    """What HTML can show of it."""
    return markup._NOT_IN_HTML.sub("\ufffd", text)


@given(st.text(st.characters(codec="utf-8")))
def test_a_run_of_any_name_is_named(name):
    ids = markup.Ids()
    made = [ids.new("run-", name), ids.new("run-", name)]
    assert len(set(made)) == 2
    assert all(re.fullmatch(r"run-[A-Za-z0-9._-]*", one) for one in made)


def test_lone_surrogates_and_controls_become_the_replacement_character():
    assert markup.escape("a\ud800\x00\x1bb\nc") == "a\ufffd\ufffd\ufffdb\nc"


def test_the_explorers_data_cannot_leave_their_script():
    text = sprites.to_json(plane()[0])
    assert not set("<>&") & set(text)
    json.loads(text)


# The command


def test_cagem_report_writes_the_page(folders, tmp_path, capsys):
    out = tmp_path / "deep" / "report.html"
    assert cli.main(["report", "--runs", str(folders[0]), "--figures", str(folders[1]), "--out", str(out)]) == 0
    assert Page(out.read_text(encoding="utf-8")).ids
    said = capsys.readouterr()
    assert str(out) in said.out
    assert "left out: unfinished" in said.err


def test_no_folder_of_runs_is_a_mistake_in_one_line(tmp_path, capsys):
    assert cli.main(["report", "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "r.html")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "name the folder of the runs" in line
    assert not (tmp_path / "r.html").exists()


def test_no_runs_at_all_still_make_a_page(tmp_path):
    content, _ = build.build(tmp_path, tmp_path / "none", None)
    assert "No run has a record yet." in Page(content.decode()).texts["main"][0]


def test_the_report_needs_theano_for_the_explorer_only():
    program = "import sys; import parmesan_cagem.report.build; sys.exit('theano' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
