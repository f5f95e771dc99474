"""The published numbers, against a list typed from the paper once more, and independently of the file."""

import json
import re
from pathlib import Path

import pytest

from parmesan_cagem.errors import UserError
from parmesan_cagem.report import paper

TABLE_1 = """
DRAW+VGP -79.88
IAF VAE -79.10
VLAE -78.53
AVAE, L=2, IW=1 -82.97
IWAE, L=2, IW=50 -82.90
LVAE, L=5, IW=10 -81.74
VAE+VGP, L=2 -81.32
DVAE -80.04
CaGeM-0, L=2, IW=1, K=20 -82.18
CaGeM-0, L=2, IW=1, K=10 -81.60
CaGeM-20, L=2, IW=1 -81.47
CaGeM-50, L=2, IW=1 -80.49
CaGeM-100, L=2, IW=1 -79.38
"""
TABLE_2 = {
    "M1+M2": {"100": (3.33, 0.14)},
    "VAT": {"100": (2.12, None)},
    "CatGAN": {"100": (1.91, 0.1)},
    "SDGM": {"100": (1.32, 0.07)},
    "Ladder Network": {"100": (1.06, 0.37)},
    "ADGM": {"100": (0.96, 0.02)},
    "Imp. GAN": {"20": (16.77, 4.52), "50": (2.21, 1.36), "100": (0.93, 0.65)},
    "CaGeM": {"20": (15.86, None), "50": (2.42, None), "100": (1.16, None)},
}
TABLE_3 = """
VAE, L=2, IW=50 -106.30
IWAE, L=2, IW=50 -103.38
LVAE, L=5, FT, IW=10 -102.11
RBM -100.46
DBN -100.45
DVAE -97.43
CaGeM-500, L=2, IW=1 -100.86
"""
TEXT = [
    ("ADGM-100", "bound", -86.06, False),
    ("VAE", "F_1", -87.49, False),
    ("LVAE", "F_1", -85.23, False),
    ("LVAE with 2 layers", "KL_z2", 9, True),
    ("CaGeM, regardless of labels: CaGeM-0, K=10", "KL_z2", 17, True),
    ("CaGeM, regardless of labels: CaGeM-100", "KL_z2", 17, True),
    ("CaGeM-500", "accuracy_p", 24, True),
]
CITED = {
    "DRAW+VGP": "Tran et al., 2016",
    "IAF VAE": "Kingma et al., 2016",
    "VLAE": "Chen et al., 2017",
    "AVAE": "Maaløe et al., 2016",
    "IWAE": "Burda et al., 2015a",
    "LVAE": "Sønderby et al., 2016",
    "VAE+VGP": "Tran et al., 2016",
    "DVAE": "Rolfe, 2017",
    "VAE": "Burda et al., 2015a",
    "RBM": "Burda et al., 2015b",
    "DBN": "Burda et al., 2015b",
    "M1+M2": "Kingma et al., 2014",
    "VAT": "Miyato et al., 2015",
    "CatGAN": "Springenberg, 2015",
    "SDGM": "Maaløe et al., 2016",
    "Ladder Network": "Rasmus et al., 2015",
    "ADGM": "Maaløe et al., 2016",
    "Imp. GAN": "Salimans et al., 2016",
}
FILE = Path(__file__).parent.parent / "results" / "paper.json"


@pytest.fixture(scope="module")
def published():
    return paper.load()


@pytest.mark.parametrize(("name", "lines"), [("table1", TABLE_1), ("table3", TABLE_3)])
def test_the_bounds_are_the_papers_in_its_order(published, name, lines):
    expected = [(line.rpartition(" ")[0], float(line.rpartition(" ")[2])) for line in lines.strip().splitlines()]
    assert [(row.label, place.value) for row in published[name].rows for place in row.values] == expected


def test_table_1_has_the_papers_groups(published):
    groups = [row.group for row in published["table1"].rows]
    assert groups == ["Non-permutation invariant"] * 3 + ["Permutation invariant"] * 5 + ["CaGeM"] * 5


def test_the_errors_are_the_papers_and_so_are_the_empty_cells(published):
    table = published["table2"]
    found = {row.label: {place.column: (place.value, place.spread) for place in row.values} for row in table.rows}
    assert found == TABLE_2
    assert list(found) == list(TABLE_2)
    assert table.columns == ("20", "50", "100")


def test_the_numbers_of_the_text(published):
    places = [place for row in published["text"].rows for place in row.values if place.value is not None]
    assert [(place.row, place.quantity, place.value, place.about) for place in places] == TEXT


def test_points_that_the_paper_only_draws_have_no_number(published):
    drawn = [row.label for row in published["text"].rows if row.values[0].value is None]
    assert drawn == ["CaGeM-0, K=10", "CaGeM-20", "CaGeM-50", "CaGeM-100"]


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_every_row_has_its_reference(published, name):
    for row in published[name].rows:
        model = row.label.split(",")[0]
        expected = "this paper" if model.startswith("CaGeM") else CITED[model]
        assert row.cited_as == expected, row.label


def test_l_iw_and_k_are_those_of_the_label():
    tables = json.loads(FILE.read_text())["tables"]
    for name in ("table1", "table2", "table3"):
        for row in tables[name]["rows"]:
            for key in ("L", "IW", "K"):
                said = re.search(rf"\b{key}=(\d+)", row["label"])
                assert row[key] == (int(said.group(1)) if said else None), row["label"]


def test_references_have_authors_year_and_title_and_are_used():
    content = json.loads(FILE.read_text())
    used = {row["reference"] for table in content["tables"].values() for row in table["rows"]}
    assert used == content["references"].keys()
    for reference in content["references"].values():
        assert reference["authors"]
        assert reference["title"]
        assert reference["cited_as"] == "this paper" or str(reference["year"]) in reference["cited_as"]


def test_the_cells_that_cagem_fills_say_what_their_labels_say(published):
    for table in published.values():
        for row in table.rows:
            for place in row.values:
                if "CaGeM" not in row.label:
                    continue
                settings = place.settings
                labels = place.column or re.search(r"CaGeM-(\d+)", row.label).group(1)
                assert settings["model"] == "cagem"
                assert settings["labels"] == int(labels)
                omniglot = "OMNIGLOT" in table.title + row.group
                assert settings["dataset"] == ("omniglot" if omniglot else "mnist")
                k = re.search(r"K=(\d+)", row.label)
                assert settings["clusters"] == (int(k.group(1)) if k else 50 if omniglot else 10)
                assert settings["temperature"] == (table.name != "table2")


def test_the_cells_that_baselines_fill_say_what_their_labels_say(published):
    found = {}
    for name in ("table1", "table2", "table3", "text"):
        for row in published[name].rows:
            for place in (place for place in row.values if place.settings and "CaGeM" not in row.label):
                settings, (model, labels) = place.settings, re.match(r"([A-Z]+)(?:-(\d+))?", row.label).groups()
                assert settings["model"] == model.lower()
                assert settings["dataset"] == ("omniglot" if name == "table3" else "mnist")
                assert settings["labels"] == int(labels or place.column or 0)
                for letter, setting in (("L", "layers"), ("IW", "train_iw")):
                    if stated := re.search(rf"\b{letter}=(\d+)", row.label):
                        assert settings[setting] == int(stated.group(1)), row.label
                found.setdefault(name, []).append((model, place.quantity))
    assert found == {
        "table1": [("AVAE", "bound"), ("IWAE", "bound"), ("LVAE", "bound")],
        "table2": [("SDGM", "error_q"), ("ADGM", "error_q")],
        "table3": [("VAE", "bound"), ("IWAE", "bound"), ("LVAE", "bound")],
        "text": [("ADGM", "bound"), ("VAE", "F_1"), ("LVAE", "F_1"), ("LVAE", "KL_z2")],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{}", "not the published numbers: KeyError 'references'"),
        ('{"references": {}, "tables": {"table1": []}}', "not the published numbers: TypeError"),
        ("[]", "not JSON as expected"),
    ],
    ids=["missing", "empty", "list", "other"],
)
def test_another_file_is_refused_in_one_line(tmp_path, content, message):
    file = tmp_path / "paper.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError) as error:
        paper.load(file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_installed_package_finds_the_file_of_the_current_folder_or_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "CHECKOUT", tmp_path / "nowhere.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--paper"):
        paper.load()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "paper.json").write_text(FILE.read_text())
    assert list(paper.load()) == ["table1", "table2", "table3", "text"]


def test_a_cell_that_does_not_say_its_run_is_refused(tmp_path):
    numbers = json.loads(paper.CHECKOUT.read_bytes())
    rows = numbers["tables"]["table2"]["rows"]
    places = [place for row in rows for place in (row.get("values") or {"": row}).values()]
    del next(place["cell"] for place in places if place.get("cell"))["model"]
    (tmp_path / "paper.json").write_text(json.dumps(numbers))
    with pytest.raises(UserError, match="a cell has dataset, model, temperature"):
        paper.load(tmp_path / "paper.json")
