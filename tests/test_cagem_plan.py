"""`cagem plan`: what a person reads, what a program reads, and that both come at once."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_plan import SPEEDS

from parmesan_cagem import cli
from parmesan_cagem.config import Experiment

ROOT = Path(__file__).resolve().parent.parent
GRID = """
shards: 4
runs:
  - {for: [Table 1, Figure 4], labels: 100}
  - {for: Table 2, labels: 100, warmup_epochs: 0, label_seed: [1, 2]}
"""
NAMES = ["mnist-cagem-100-short-s1", "mnist-cagem-100-short-s1-cd9ddcfb", "mnist-cagem-100-short-s1-9bc56a25"]
# By SPEEDS, preset short: 60 epochs of 600 steps; 500 images x 5000 and 10,000 x 100 draws.
TRAIN, EVALUATE = 20 + 60 * 303, 20 + 2_500_000 * 0.01 + 1_000_000 * 0.001
GPU = [30 + 60 * 2.9, 30 + 3_500_000 * 3e-6]


@pytest.fixture
def cagem(tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "speeds.json").write_text(json.dumps(SPEEDS))

    def run(*flags, grid="grid.yaml"):
        paths = [str(tmp_path / grid), "--speeds", str(tmp_path / "speeds.json"), "--out", str(tmp_path / "runs")]
        status = cli.main(["plan", *paths, "--preset", "short", *flags])
        return status, *capsys.readouterr()

    return run


def begin(folder, epochs):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "log.jsonl").write_text("".join(json.dumps({"epoch": n + 1}) + "\n" for n in range(epochs)))


def test_for_programs(cagem, tmp_path):
    begin(tmp_path / "runs" / NAMES[1], 15)
    status, out, err = cagem("--json", "--price", "3.6")
    assert (status, err) == (0, "")
    plan = json.loads(out)
    assert (plan["preset"], plan["shards"]) == ("short", 4)
    evaluation = plan["runs"][0].pop("evaluation")
    given = dict(zip(evaluation[::2], evaluation[1::2], strict=True))  # all of them, the usual ones too
    assert (given["--iw-samples"], given["--eval-images"], given["--estimator"]) == ("5000", "500", "marginal")
    assert len(given) == sum(field.metadata["role"] == "evaluation" for field in dataclasses.fields(Experiment))
    assert plan["runs"][0] == {
        "name": NAMES[0],
        "script": "run_mnist.py",
        "flags": ["--labels", "100", "--preset", "short"],
        "folder": str(tmp_path / "runs" / NAMES[0]),
        "fills": ["Table 1", "Figure 4"],
        "state": "new",
        "epochs": 0,
        "of": 60,
        "seconds": {
            "2 cores": {"train": TRAIN, "evaluate": EVALUATE},
            "H200": {"train": pytest.approx(GPU[0]), "evaluate": pytest.approx(GPU[1])},
        },
    }
    assert [run["name"] for run in plan["runs"]] == NAMES
    begun = plan["runs"][1]
    assert (begun["state"], begun["epochs"], begun["seconds"]["2 cores"]["train"]) == ("begun", 15, 20 + 45 * 303)
    assert plan["devices"]["2 cores"] == {"measured": True, "reasoning": "measured"}
    of = {(total["of"], total["device"], total["count"]): total for total in plan["totals"]}
    starts = 4 * 20  # of three further parts and the merge
    assert of["whole grid", "2 cores", 1]["busy"] == 3 * (TRAIN + EVALUATE + starts)
    assert of["left", "2 cores", 1]["until"] == 3 * (TRAIN + EVALUATE + starts) - 15 * 303
    whole = of["whole grid", "H200", 8]
    assert whole["until"] == pytest.approx(GPU[0] + 2 * (30 + GPU[1] / 4))  # 12 parts on 8: two rounds
    assert whole["eur"] == pytest.approx(whole["busy"] / 1000)
    assert of["whole grid", "2 cores", 1]["eur"] is None
    assert len(of) == len(plan["totals"]) == 6


def test_for_people(cagem, tmp_path):
    begin(tmp_path / "runs" / NAMES[2], 15)
    status, out, _ = cagem("--price", "2")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == [NAMES[0], "Table", "1,", "Figure", "4", "new", "5:03", "7:14", "0:03", "0:01"]
    assert (lines[3][0], " ".join(lines[3][1:])) == (NAMES[2], "Table 2 begun, 15 of 60 epochs 3:48 7:14 0:03 0:01")
    assert "training, one H200 (estimated)" in out.splitlines()[0]
    whole = [line for line in out.splitlines() if line.startswith("whole grid")]
    assert whole[0].split() == ["whole", "grid", "2", "cores", "36:55", "36:55"]
    assert whole[2].split()[2:6] == ["8", "x", "H200", "(estimated)"]
    assert "?" not in out
    assert "at least" not in out
    assert "3 runs, 0 finished" in out
    assert "one H200 (estimated): assumed" in out


def test_what_was_never_measured_is_not_guessed(cagem, tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID.replace("labels: 100}", "labels: [100, 50]}"))
    _, out, _ = cagem()
    (row,) = [line for line in out.splitlines() if line.startswith("mnist-cagem-50")]
    assert row.split()[-4:] == ["?", "7:14", "?", "0:01"]
    assert all("at least" in line for line in out.splitlines() if line.startswith(("left", "whole grid")))
    assert "?: settings of 1 runs" in out
    found = json.loads(cagem("--json")[1])
    assert found["runs"][1]["seconds"]["2 cores"] == {"train": None, "evaluate": EVALUATE}
    assert {total["unknown"] for total in found["totals"]} == {1}


@pytest.mark.parametrize(
    ("flags", "grid", "words"),
    [
        (["--price", "-1"], "grid.yaml", "--price -1.0"),
        (["--price", "nan"], "grid.yaml", "--price nan"),
        (["--preset", "long"], "grid.yaml", "--preset"),
        (["--session", "nowhere.json"], "grid.yaml", "nowhere.json: cannot read"),
        ([], "none.yaml", "none.yaml: cannot read the grid"),
    ],
)
def test_one_line_for_a_mistake(cagem, flags, grid, words):
    status, out, err = cagem(*flags, grid=grid)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_the_papers_plan_needs_no_theano_and_is_there_at_once():
    """A workflow asks for it before every start; from any folder."""
    program = (
        "import sys\nfrom parmesan_cagem import cli\nstatus = cli.main(['plan', '--json', '--preset', 'short'])\n"
        "print(*{'theano', 'lasagne', 'jax', 'h5py', 'scipy', 'matplotlib'} & set(sys.modules), file=sys.stderr)\n"
        "sys.exit(status)"
    )
    times = []
    for _ in range(3):  # the quickest: the machine may be busy
        clock = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(ROOT)},
        )
        times.append(time.monotonic() - clock)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert len(json.loads(done.stdout)["runs"]) > 30
    assert min(times) < 3.0  # 0.3 s where nothing else runs
