"""What counts the injected faults cannot hide one."""

import json

import pytest

from torture import __main__ as every_part
from torture import tables
from torture.figures import Figures


@pytest.mark.parametrize(
    ("survived", "losses", "status"),
    [(3, [], 0), (3, ["a bit of epoch 2"], 1), (0, [], 1)],
    ids=["all", "one lost", "none"],
)
def test_a_part_ends_well_only_if_it_injected_something_and_lost_nothing(tmp_path, capsys, survived, losses, status):
    figures = Figures("kill")
    figures.survive(survived)
    for loss in losses:
        figures.lose(loss)
    figures.details["phases"] = {"start": 2}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert figures.finish(tmp_path / "new" / "kill.json", scratch) == status
    assert scratch.exists() == bool(losses)
    facts = json.loads((tmp_path / "new" / "kill.json").read_text())
    assert (facts["injected"], facts["survived"], facts["lost"]) == (survived + len(losses), survived, len(losses))
    assert facts["losses"] == losses
    assert facts["details"] == {"phases": {"start": 2}}
    assert {"git", "versions", "machine", "finished"} <= set(facts)
    printed = capsys.readouterr()
    assert f"{len(losses)} lost" in printed.out
    assert all(loss in printed.err for loss in losses)
    assert (str(scratch) in printed.err) == bool(losses)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with a page, in which every part is a program that writes its record and ends as its name says."""
    page = tmp_path / "docs" / "reliability.md"
    page.parent.mkdir()
    page.write_text(
        "# Before\n" + "".join(f"{tables.BEGIN.format(name)}\nold\n{tables.END}\nafter\n" for name in tables.TABLES)
    )
    package = tmp_path / "torture"
    package.mkdir()
    for part in ("kill", "soak"):
        (package / f"{part}.py").write_text(
            "import pathlib, sys\n"
            "path = pathlib.Path(sys.argv[2])\n"
            "path.parent.mkdir(parents=True, exist_ok=True)\n"
            "assert not list(pathlib.Path('docs').rglob('*.json'))\n"  # what git has is left alone while a part runs
            'path.write_text(\'{"injected": 1200, "survived": 1199, "lost": 1, "seconds": 90}\')\n'
            f"sys.exit({part == 'kill':d})\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return page


def test_a_part_that_lost_something_stops_no_other_and_is_told_by_the_exit_status(checkout, capsys):
    assert every_part.main(["soak"]) == 0
    (every_part.RECORDS / "soak.json").unlink()
    assert every_part.main(["kill", "soak"]) == 1
    kept = checkout.read_text()
    assert kept.startswith(f"# Before\n{tables.BEGIN.format('parts')}\n| part |")
    assert kept.endswith(f"{tables.END}\nafter\n")
    assert kept.count("after\n") == 3
    assert "old" not in kept
    (row,) = [line for line in kept.splitlines() if line.startswith("| `kill` |")]
    assert row.endswith("| 1,200 | 1,199 | 1 | 1.5 |")
    (row,) = [line for line in kept.splitlines() if line.startswith("| `numeric` |")]
    assert row.endswith("|  |  |  |  |")  # nothing is known of a part without a record
    assert tables.parts() in kept
    assert tables.parts() in capsys.readouterr().out


def test_a_part_that_dies_leaves_the_record_of_before(checkout):
    every_part.main(["soak"])
    before = (every_part.RECORDS / "soak.json").read_bytes()
    (checkout.parent.parent / "torture" / "soak.py").write_text("raise SystemExit(1)\n")
    assert every_part.main(["soak"]) == 1
    assert (every_part.RECORDS / "soak.json").read_bytes() == before


def test_what_the_long_runs_and_the_repeated_ones_found_is_told_row_by_row(checkout):
    tables.RECORDS.mkdir(parents=True)
    run = {"epochs": 300, "F": [-533.14, -140.78], "rss_mib": [465.1, 464.4], "rss_kib_per_epoch": 2.23}
    run |= {"standard_error": 0.07, "open_files": [7, 8]}
    facts = {"injected": 1, "survived": 1, "lost": 0, "seconds": 6}
    found = {"soak": {"xla-q": run, "limit_kib_per_epoch": 20.0}}
    found["determinism"] = {
        "xla, small: again": {"promised": "every bit", "weights": 0.0, "F": 0.0},
        "c, small: 2 BLAS threads": {"promised": "up to rounding", "weights": 0.00085, "F": 2.4e-8},
    }
    for part, details in found.items():
        (tables.RECORDS / f"{part}.json").write_text(json.dumps({**facts, "details": details}))
    assert every_part.main(["--table"]) == 0
    rows = checkout.read_text().splitlines()
    assert "| xla, q | 300 | -533.1, -140.8 | 465.1 to 464.4 | +2.23 ± 0.07 | 7 to 8 |" in rows
    assert "| xla, small: again | every bit | none | none |" in rows
    assert "| c, small: 2 BLAS threads | up to rounding | 8.5e-04 | 2.4e-08 |" in rows


def test_an_unknown_part_runs_nothing(checkout, capsys):
    with pytest.raises(SystemExit) as stopped:
        every_part.main(["kill", "sleep"])
    assert stopped.value.code == 2
    assert "no part 'sleep'" in capsys.readouterr().err
    assert not every_part.RECORDS.exists()


def test_a_page_without_the_marks_is_left_alone(checkout):
    checkout.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks"):
        every_part.main(["--table"])
    assert checkout.read_text() == "no marks"


def test_every_part_is_a_program():
    for part in every_part.PARTS:
        assert (every_part.Path(every_part.__file__).parent / f"{part}.py").is_file(), part
