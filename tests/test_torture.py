"""What counts the injected faults cannot hide one."""

import json

import pytest

from torture import __main__ as every_part
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
    page.write_text(f"# Before\n{every_part.BEGIN}\nold\n{every_part.END}\nafter\n")
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
    assert kept.startswith(f"# Before\n{every_part.BEGIN}\n| part |")
    assert kept.endswith(f"{every_part.END}\nafter\n")
    assert "old" not in kept
    (row,) = [line for line in kept.splitlines() if line.startswith("| `kill` |")]
    assert row.endswith("| 1,200 | 1,199 | 1 | 1.5 |")
    (row,) = [line for line in kept.splitlines() if line.startswith("| `numeric` |")]
    assert row.endswith("|  |  |  |  |")  # nothing is known of a part without a record
    assert kept.split(every_part.BEGIN)[1].split(every_part.END)[0].strip() in capsys.readouterr().out


def test_a_part_that_dies_leaves_the_record_of_before(checkout):
    every_part.main(["soak"])
    before = (every_part.RECORDS / "soak.json").read_bytes()
    (checkout.parent.parent / "torture" / "soak.py").write_text("raise SystemExit(1)\n")
    assert every_part.main(["soak"]) == 1
    assert (every_part.RECORDS / "soak.json").read_bytes() == before


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
