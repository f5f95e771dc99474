"""`cagem tables --check`: what is missing, and commands that are good for it."""

import dataclasses
import shlex
from pathlib import Path

import pytest
from fake_runs import record, runs, write

from parmesan_cagem import arguments, cli, speeds
from parmesan_cagem.report import cells, missing, paper, sheet
from parmesan_cagem.run_queue import SCRIPTS

RUNS = Path("results/runs")
PRESETS = ["paper", "short", "demo"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A current folder without runs: a checkout may well have begun some."""
    monkeypatch.chdir(tmp_path)


def find(*made, preset="paper"):
    return missing.find(runs(RUNS, *made), paper.load(), preset, RUNS)[0]


def named(found, beginning):
    return next(one for one in found if one.name.startswith(beginning))


def experiment_of(words):
    python, script, *flags = words
    assert python == "python"
    return arguments.parse(shlex.split(shlex.join(flags)), SCRIPTS[script], script)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_command_parses_and_fills_that_very_cell(preset):
    found = find(preset=preset)
    # Table 1: three baselines, five CaGeMs; Table 2: CaGeM with 20, 50, 100 labels, ADGM and SDGM with 100, each
    # without temperature and with it; Table 3: three baselines, CaGeM; the text's eleven numbers.
    assert len(found) == 8 + 2 * 5 + 4 + 11
    commands = 0
    for one in found:
        for number, command in enumerate(one.commands, 1):
            experiment, job = experiment_of(command.words)
            assert experiment == command.experiment  # whose cost is told
            assert cells.fits(one.cell.settings, experiment.to_dict()), command
            assert experiment.preset == preset
            assert experiment.label_seed == number
            assert not job.resume
            if one.cell.place.quantity == "bound":
                assert (experiment.iw_samples, experiment.eval_images) == (5000, 0)
            commands += 1
    assert commands == 8 + 2 * 5 * 3 + 4 + 11  # Table 2 has three label subsets


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_commands_make_leaves_nothing_missing(preset):
    made = {}
    for one in find(preset=preset):
        for command in one.commands:
            experiment, job = experiment_of(command.words)
            e = experiment.to_dict()
            known = made.get(job.folder.name)
            # The same run with a small evaluation and with a full one: the second replaces the first.
            if known is None or known["config"]["eval_images"] != 0:
                del e["preset"]
                made[job.folder.name] = record(job.folder.name, preset, **e)
    assert find(*made.values(), preset=preset) == ()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("Table 1, AVAE", "run_mnist.py --model avae"),
        ("Table 1, IWAE", "run_mnist.py --model iwae"),  # its own default has 50 samples
        ("Table 1, LVAE", "run_mnist.py --model lvae --widths doubled --layers 5 --train-iw 10"),
        ("Table 2, ADGM, 100 labels, no temperature", "run_mnist.py --model adgm --labels 100 --warmup-epochs 0"),
        ("Table 2, SDGM, 100 labels, with temperature", "run_mnist.py --model sdgm --labels 100"),
        ("Table 3, VAE", "run_omniglot.py --model vae --train-iw 50 --iw-objective averaged"),
        ("Table 3, IWAE", "run_omniglot.py --model iwae"),
        ("Table 3, LVAE", "run_omniglot.py --model lvae --widths doubled --layers 5 --train-iw 10"),
        ("text, ADGM-100, bound", "run_mnist.py --model adgm --labels 100"),
        ("text, VAE, F_1", "run_mnist.py --model vae"),
        ("text, LVAE with 2 layers, KL_z2", "run_mnist.py --model lvae"),
    ],
)
def test_the_command_of_a_baseline(name, command):
    assert shlex.join(named(find(), name).commands[0].words) == f"python {command}"


def test_rows_of_ours_that_the_paper_has_not_are_not_missing():
    reduced = record("r", "short", model="iwae", train_iw=5)
    assert len(find(reduced)) == len(find())
    assert named(find(reduced), "Table 1, IWAE").have == "no record"


@pytest.mark.parametrize(
    ("made", "name", "have", "commands"),
    [
        (
            [record("r", "short")],
            "Table 1, CaGeM-100",
            "preset short, 60 of 1000 epochs",
            ["python run_mnist.py --labels 100"],
        ),
        ([record("r", epochs=300)], "Table 1, CaGeM-100", "300 of 1000 epochs", ["python run_mnist.py --labels 100"]),
        (
            [record("a b", iw_samples=100, eval_images=500)],
            "Table 1, CaGeM-100",
            "k = 100 of 5000, 500 of 10000 images",
            ["cagem evaluate 'results/runs/a b' --iw-samples 5000 --eval-images 0"],
        ),
        (
            [record("r", warmup_epochs=0), record("s", warmup_epochs=0, label_seed=3)],
            "Table 2, CaGeM, 100 labels, no temperature",
            "2 of 3 label subsets",
            ["python run_mnist.py --labels 100 --label-seed 2 --warmup-epochs 0"],
        ),
        (
            [record("r", eval_images=500)],
            "text, CaGeM-100, F_1",
            "500 of 10000 images",
            ["cagem evaluate results/runs/r --iw-samples 5000 --eval-images 0"],
        ),
    ],
    ids=["preset", "epochs", "evaluation", "subsets", "text"],
)
def test_what_exists_is_said_with_the_command_that_completes_it(made, name, have, commands):
    one = named(find(*made), name)
    assert one.have == have
    assert one.lines([])[1:] == [f"    {command}" for command in commands]


@pytest.mark.parametrize(
    ("have", "asked", "enough"), [("paper", "short", True), ("short", "short", True), ("demo", "short", False)]
)
def test_a_better_preset_is_enough(have, asked, enough):
    found = find(record("r", have, iw_samples=5000, eval_images=0), preset=asked)
    assert any(one.name.startswith("Table 1, CaGeM-100") for one in found) != enough


def test_a_run_that_was_begun_is_resumed(tmp_path, capsys):
    begun = tmp_path / "results" / "runs" / "mnist-cagem-100-short-s1"
    begun.mkdir(parents=True)
    (begun / "config.json").write_text("{}")
    assert cli.main(["tables", "--check", "--preset", "short"]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = lines[lines.index("Table 1, CaGeM-100, L=2, IW=1: no record") + 1]
    command = line.partition("  # ")[0].strip()
    assert command == "python run_mnist.py --labels 100 --preset short --eval-images 0 --resume"
    _, job = experiment_of(shlex.split(command))
    assert job.folder == begun.relative_to(tmp_path)


def test_another_folder_is_named_in_the_commands(tmp_path, capsys):
    (tmp_path / "other" / "runs").mkdir(parents=True)
    assert cli.main(["tables", "--check", "--records", "other"]) == 1
    command = "    python run_mnist.py --labels 100 --out other/runs"
    assert command in [line.partition("  # ")[0] for line in capsys.readouterr().out.splitlines()]
    _, job = experiment_of(shlex.split(command))
    assert job.folder.parent == Path("other/runs")


class Clock:
    """A device on which every epoch takes an hour, and every evaluation as many minutes as it has images."""

    def __init__(self, name, measured=True):
        self.name, self.measured = name, measured

    def seconds(self, e, state, epochs):
        images = e.eval_images or 10_000
        train = None if e.model == "iwae" else 3600.0 * (e.epochs - epochs)
        return speeds.Seconds(train, 60.0 * images, 1.0)


def test_every_command_has_its_cost(tmp_path):
    devices = [Clock("a"), Clock("b", measured=False)]
    (line,) = named(find(preset="short"), "Table 1, CaGeM-100").lines(devices)[1:]
    command = "    python run_mnist.py --labels 100 --preset short --eval-images 0"
    assert line == f"{command}  # 60:00 + 166:40 on a, 60:00 + 166:40 on b (estimated)"
    (line,) = named(find(preset="short"), "Table 1, IWAE").lines(devices[:1])[1:]
    assert line.endswith("  # ? + 166:40 on a")
    (evaluated,) = named(find(record("r", eval_images=500)), "text, CaGeM-100, F_1").lines(devices[:1])[1:]
    assert evaluated.endswith("  # 0:00 + 166:40 on a")


def test_a_command_that_fills_two_cells_is_paid_once():
    found = find(record("r", eval_images=500))
    both = [named(found, "Table 1, CaGeM-100"), named(found, "text, CaGeM-100, F_1")]
    assert both[0].commands == both[1].commands
    assert missing.total(both, [Clock("a")]) == ["1 commands: 166:40 on a"]
    assert missing.total([named(found, "Table 1, IWAE")], [Clock("a")]) == ["1 commands: at least 166:40 on a"]


def test_what_is_trained_of_a_run_costs_nothing_again(tmp_path):
    folder = tmp_path / "runs" / "mnist-cagem-100-short-s1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "log.jsonl").write_text('{"epoch": 1}\n{"epoch": 20}\n')
    one = named(missing.find((), paper.load(), "short", tmp_path / "runs")[0], "Table 1, CaGeM-100")
    assert one.lines([Clock("a")])[1].endswith("--resume  # 40:00 + 166:40 on a")


def test_check_writes_nothing_and_says_how_many(tmp_path, capsys):
    write(tmp_path / "results" / "runs", record("r"))
    assert cli.main(["tables", "--check"]) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["runs"]
    said = capsys.readouterr()
    assert said.err == "cagem: 30 of 33 cells lack a record of preset paper, or a full evaluation\n"
    assert "Table 1, CaGeM-100, L=2" not in said.out


def test_a_complete_set_ends_with_0(tmp_path, monkeypatch, capsys):
    table = paper.load()["table1"]
    row = next(row for row in table.rows if row.label.startswith("CaGeM-100"))
    monkeypatch.setattr(paper, "load", lambda path=None: {"table1": dataclasses.replace(table, rows=(row,))})
    write(tmp_path / "results" / "runs", record("r"))
    assert cli.main(["tables", "--check"]) == 0
    assert capsys.readouterr().out == "all 1 cells have their records\n"


def test_cells_of_table_2_come_with_and_without_temperature():
    found = sheet.cells(paper.load()["table2"], ())
    places = [("SDGM", "100"), ("ADGM", "100"), *(("CaGeM", labels) for labels in ("20", "50", "100"))]
    assert [((cell.row.label, cell.place.column), cell.settings["temperature"]) for cell in found] == [
        (place, temperature) for temperature in (False, True) for place in places
    ]
