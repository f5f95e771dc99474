"""Where results go when no flag says so: ``results``, or ``$CAGEM_RESULTS``."""

from pathlib import Path

import pytest

from parmesan_cagem import arguments, cli, places
from parmesan_cagem.commands import figures


def folder(*flags):
    return arguments.parse(["--preset", "smoke", *flags], "mnist", "run_mnist.py")[1].folder


@pytest.mark.parametrize(("given", "root"), [(None, "results"), ("", "results"), ("/a/b c", "/a/b c")])
def test_the_root_of_the_runs(given, root, monkeypatch):
    if given is None:
        monkeypatch.delenv("CAGEM_RESULTS", raising=False)
    else:
        monkeypatch.setenv("CAGEM_RESULTS", given)
    assert (places.results(), places.runs()) == (Path(root), Path(root) / "runs")
    assert folder("--name", "n") == Path(root) / "runs" / "n"
    assert folder("--name", "n", "--out", "elsewhere") == Path("elsewhere/n")


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("tables", {"records": [Path("/r")], "out": Path("/r")}),
        ("report", {"runs": Path("/r/runs"), "figures": Path("/r/figures"), "out": Path("/r/report.html")}),
        ("figures", {"runs": Path("/r/runs")}),
        ("queue FILE", {"out": Path("/r/runs")}),
    ],
)
def test_every_command_begins_there(command, defaults, monkeypatch):
    monkeypatch.setenv("CAGEM_RESULTS", "/r")
    given = vars(cli._parser().parse_args(command.split()))
    assert {name: given[name] for name in defaults} == defaults


def test_tables_are_written_there_and_missing_cells_name_plain_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAGEM_RESULTS", str(tmp_path))
    (tmp_path / "runs").mkdir()
    assert cli.main(["tables"]) == 0
    assert (tmp_path / "TABLES.md").read_text().startswith("# Tables")
    assert cli.main(["tables", "--check"]) == 1
    told = capsys.readouterr().out
    assert "python run_mnist.py --labels 100" in told
    assert "--out" not in told  # the folder is the default


def test_figures_are_drawn_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CAGEM_RESULTS", str(tmp_path))
    (tmp_path / "runs").mkdir()
    folders, studio = [], figures._Studio
    monkeypatch.setattr(figures, "_Studio", lambda folder: folders.append(folder) or studio(folder))
    assert cli.main(["figures"]) == 0
    assert folders == [tmp_path / "figures"]


@pytest.mark.parametrize("words", [["figures"], ["tables"], ["report"], ["queue"]], ids=" ".join)
def test_help_names_the_variable(words, capsys):
    with pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    assert "$CAGEM_RESULTS" in capsys.readouterr().out
