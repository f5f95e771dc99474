"""The paper's grid holds every cell and figure and nothing else; what a grid may say, and what it is refused for."""

import json
from pathlib import Path

import pytest

from parmesan_cagem import arguments, grid
from parmesan_cagem.config import LATER, experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import cells, choice, label_curve, missing, paper, sheet
from parmesan_cagem.run_queue import SCRIPTS

PRESETS = ["paper", "short", "demo"]
CELLS = [cell for table in paper.load().values() for cell in sheet.cells(table, ())]
# What commands/figures.py looks for, beside the cells.
CAGEM = {"dataset": "mnist", "model": "cagem", "clusters": 10}
FIGURES = {
    "Figure 3": [{**CAGEM, "z2_dim": 2, "labels": 100}],
    "Figure 4": [{**CAGEM, "z2_dim": 32, "labels": labels} for labels in label_curve.LABELS],
    "Figure 5": [
        {"dataset": "mnist", "model": "vae", "layers": 2, "train_iw": 1, "z2_dim": 32},
        *({**CAGEM, "z2_dim": 32, "labels": labels} for labels in (0, 100)),
    ],
    "Figure 6": [{"dataset": "omniglot", "model": "cagem", "labels": 500}],
}


def read(name="paper", preset="paper", out=Path("results/runs")):
    return grid.read(grid.CHECKOUT / f"{name}.yaml", preset, out)


def wanted(preset):
    """The experiments that fill all cells whole, every label subset of Table 2 too."""
    for cell in CELLS:
        for label_seed in range(1, cell.settings.get("subsets", 1) + 1):
            bound = cell.place.quantity in ("bound", "F_1", "KL_z2")
            yield cell, missing.wanted(cell.settings, preset, label_seed, bound)


def as_run(e):
    return choice.Run(Path("x"), e.to_dict(), [], None, True)


def test_the_papers_grid_has_the_very_experiment_of_every_cell():
    experiments = {run.experiment for run in read().runs}
    assert len({e for _, e in wanted("paper")}) > 30
    assert [cell.place.row for cell, e in wanted("paper") if e not in experiments] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_in_every_preset_its_weights_are_those_of_every_cell(preset):
    trained = {run.experiment.training_hash() for run in read(preset=preset).runs}
    assert [cell.place.row for cell, e in wanted(preset) if e.training_hash() not in trained] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_it_has_the_runs_of_the_figures_and_says_so(preset):
    runs = read(preset=preset).runs
    for figure, panels in FIGURES.items():
        chosen = [choice.choose([as_run(run.experiment) for run in runs], **wanted) for wanted in panels]
        assert None not in chosen, figure
        said = [run for run in runs if figure in run.fills]
        assert len(said) == len(panels), figure
        for panel in panels:
            assert choice.choose([as_run(run.experiment) for run in said], **panel), (figure, panel)


def test_nothing_in_it_fills_nothing():
    """Without a run some cell or figure would have fewer: no run is there for itself."""
    needed = {e.training_hash() for _, e in wanted("paper")}
    for run in read().runs:
        figure = any(choice.choose([as_run(run.experiment)], **panel) for panel in FIGURES["Figure 3"])
        assert run.experiment.training_hash() in needed or figure, run.name


def test_what_it_says_of_tables_is_true():
    """A run that names a table fits a cell of it; one that fits a cell of Tables 1 to 3 names that table."""
    for run in read().runs:
        fitting = {cell.place.table for cell in CELLS if cells.fits(cell.settings, run.experiment.to_dict())}
        said = {words.split(" (")[0].split(" with")[0].lower().replace(" ", "") for words in run.fills}
        assert {name for name in said if name.startswith(("table", "text"))} <= fitting, run.name
        # Runs without labels of one seed and further subsets fit more than they are for; the first subset says all.
        if run.experiment.label_seed == 1 and run.experiment.warmup_epochs:
            assert {name for name in fitting if name in ("table1", "table3")} <= said, run.name


@pytest.mark.parametrize("preset", [*PRESETS, "smoke"])
@pytest.mark.parametrize("name", ["paper", "reduced"])
def test_its_flags_make_the_run_that_it_names(name, preset, tmp_path):
    for run in read(name, preset, tmp_path).runs:
        script, *flags = run.entry.command
        e, job = arguments.parse([*flags, "--out", str(tmp_path)], SCRIPTS[script], script)
        assert (e, job.folder) == (run.experiment, run.entry.folder)


def test_the_reduced_grid():
    found = read("reduced", "short")
    assert found.shards == 2
    assert [(run.experiment.model, run.experiment.labels) for run in found.runs] == [
        ("cagem", 100),
        ("cagem", 0),
        ("vae", 0),
    ]
    assert {run.experiment for run in found.runs} < {run.experiment for run in read(preset="short").runs}


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "grid.yaml").write_text(text)
        return grid.read(tmp_path / "grid.yaml", "smoke", tmp_path / "runs")

    return write


ONE = "runs: [{for: [Table 1], labels: 10}]"


def test_lists_are_crossed_and_numbers_may_be_text(written):
    found = written("runs: [{for: Table 1, labels: [20, 50], label_seed: [1, 2], label_weight: 3, skip: false}]")
    assert found.shards == 1
    assert [run.fills for run in found.runs] == [("Table 1",)] * 4
    made = [(run.experiment.labels, run.experiment.label_seed) for run in found.runs]
    assert made == [(20, 1), (20, 2), (50, 1), (50, 2)]
    assert {run.experiment.label_weight for run in found.runs} == {"3"}
    assert "--no-skip" in found.runs[0].entry.command


def test_what_all_runs_share_stands_once_and_an_entry_may_differ(written):
    found = written("settings: {labels: 20, seed: [1, 2]}\nruns: [{for: a}, {for: b, labels: 50}]")
    made = [(run.fills, run.experiment.labels, run.experiment.seed) for run in found.runs]
    assert made == [(("a",), 20, 1), (("a",), 20, 2), (("b",), 50, 1), (("b",), 50, 2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs: [", ["not YAML"]),
        ("a: 2026-13-01", ["not YAML"]),
        ("- 1", ["not a grid"]),
        (f"{ONE}\nshard: 2", ["shard: unknown", "shards, settings and runs"]),
        (f"{ONE}\nshards: 0", ["shards: 0", "at least 1"]),
        (f"{ONE}\nshards: true", ["shards: True", "whole number"]),
        ("shards: 2", ["runs: give a list"]),
        ("runs: []", ["runs: give a list"]),
        ("runs: [vae]", ["entry 1", "vae", "give settings"]),
        (f"settings: [1]\n{ONE}", ["settings: [1]", "all runs share"]),
        (f"settings: {{colour: 1}}\n{ONE}", ["entry 1 (Table 1)", "colour", "no setting"]),
        ("runs: [{labels: 10}]", ["entry 1", "for: None", "what the run fills"]),
        ("runs: [{for: [3], labels: 10}]", ["entry 1", "for: [3]"]),
        ("runs: [{for: x, colour: 1}]", ["entry 1 (x)", "colour", "no setting"]),
        ("runs: [{for: x, 3: 1}]", ["entry 1 (x)", "3: no setting"]),
        ("runs: [{for: x, preset: short}]", ["preset", "command's to give"]),
        ("runs: [{for: x, labels: []}]", ["labels: []", "give a value"]),
        ("runs: [{for: x, labels: [[10]]}]", ["labels: [10]", "plain value"]),
        ("runs: [{for: x, labels: {a: 1}}]", ["labels", "plain value"]),
        ("runs: [{for: x, labels: null}]", ["labels: None", "plain value"]),
        ("runs: [{for: x, labels: true}]", ["--labels True", "int"]),
        ("runs: [{for: x, labels: ten}]", ["--labels 'ten'", "int"]),
        ("runs: [{for: x, model: gan}]", ["--model gan", "cagem"]),
        ("runs: [{for: x, dataset: cifar}]", ["cifar", "mnist"]),
        ("runs: [{for: x, model: vae, clusters: 7}]", ["--clusters 7", "no such setting"]),
        (
            "runs: [{for: x, labels: 10}, {for: y, labels: [20, 10]}]",
            ["entry 2 (y)", "mnist-cagem-10-smoke-s1", "already"],
        ),
        ("runs: [{for: x, labels: 10}, {for: y, labels: 10, iw_samples: 7}]", ["entry 2 (y)", "already"]),
    ],
)
def test_what_is_refused(written, text, words):
    with pytest.raises(UserError) as error:
        written(text)
    message = str(error.value)
    assert "grid.yaml" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_grid_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot read the grid: No such file"):
        grid.read(tmp_path / "none.yaml", "paper", tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"bytes\.yaml: not YAML"):
        grid.read(tmp_path / "bytes.yaml", "paper", tmp_path)


def test_yaml_makes_no_objects(written):
    with pytest.raises(UserError, match="not YAML"):
        written("runs: !!python/object/apply:os.getcwd []")


def log(folder, epochs):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "log.jsonl").write_text("".join(json.dumps({"epoch": n + 1}) + "\n" for n in range(epochs)))


def test_states(written):
    (run,) = written(ONE).runs
    folder, e = run.entry.folder, run.experiment
    assert run.entry.progress() == ("new", 0)
    log(folder, 0)
    assert run.entry.progress() == ("begun", 0)
    log(folder, 1)
    assert run.entry.progress() == ("begun", 1)
    log(folder, e.epochs)
    assert run.entry.progress() == ("begun", e.epochs)  # without weights there is nothing to evaluate
    (folder / "checkpoint.h5").touch()
    assert run.entry.progress() == ("trained", e.epochs)
    (folder / "failure.json").touch()
    assert run.entry.progress() == ("failed", e.epochs)
    record = {"config": {**e.to_dict(), "checkpoint_every": 7}, "epochs": e.epochs}
    (folder / "record.json").write_text(json.dumps(record))
    assert run.entry.progress() == ("finished", e.epochs)
    record["config"]["iw_samples"] = e.iw_samples + 1
    (folder / "record.json").write_text(json.dumps(record))
    assert run.entry.progress()[0] == "failed"


def test_a_record_of_an_older_version_counts(written):
    (run,) = written(ONE).runs
    log(run.entry.folder, 1)
    config = {name: value for name, value in run.experiment.to_dict().items() if name not in LATER}
    (run.entry.folder / "record.json").write_text(json.dumps({"config": config, "epochs": run.experiment.epochs}))
    assert run.entry.progress()[0] == "finished"
    assert experiment("smoke", labels=10) == run.experiment
