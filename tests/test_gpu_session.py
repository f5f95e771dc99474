"""tools/gpu_session.py on the CPU, from check to pack; its judgement; and, where there is a GPU, its check there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import log_of

from benchmarks import device_report
from parmesan_cagem import checkpoint, records

pytest.importorskip("jax")
ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    *("--platform", "cpu", "--precisions", "float32", "--batches", "50", "--check-preset", "smoke"),
    *("--time-preset", "smoke", "--time-steps", "2", "--time-images", "5", "--time-samples", "10"),
    *("--grace", "10", "--pack-seconds", "5"),
]


def session(*flags, seconds=280, **environment):
    """Run the script as its user does: elsewhere, with nothing but its path."""
    command = [sys.executable, str(ROOT / "tools" / "gpu_session.py"), *map(str, flags)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | environment
    clean = {name: value for name, value in os.environ.items() if name not in ("THEANO_FLAGS", "PYTHONPATH")}
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, timeout=seconds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A session that has time for everything."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "queue.txt").write_text("run_mnist.py --labels 100 --preset smoke --engine xla  # the only one\n")
    where = ["--runs", folder / "runs", "--out", folder / "out", "--queue", folder / "queue.txt"]
    done = session("all", "--minutes", "4.5", *SMALL, *where)
    assert done.returncode == 0, done.stderr
    return folder, where, json.loads((folder / "out" / "session.json").read_text()), done.stderr


def test_a_session_checks_times_trains_and_packs(whole):
    folder, _, found, _ = whole
    assert found["probe"]["backend"] == "cpu"
    assert [(row["precision"], row["verdict"]) for row in found["check"]] == [("float32", "passed")]
    step, bound = found["time"]
    assert (step["what"], step["batch"], step["gflops"] > 0) == ("step", 50, True)
    assert (bound["what"], len(bound["values"]), bound["rows_per_second"] > 0) == ("bound", 5, True)
    assert [run["outcome"] for run in found["queue"]] == ["finished"]
    assert sum(found["pack"]["parts"].values()) == sum(p.stat().st_size for p in (folder / "out").glob("runs.pack-*"))


def test_what_was_carried_is_unpacked_and_a_finished_run_is_skipped(whole):
    folder, where, _, _ = whole
    runs = folder / "elsewhere"
    carried = ["--carried", folder / "out", "--runs", runs, "--queue", where[-1], "--out", folder / "out-2"]
    done = session("queue", *SMALL, *carried)
    assert done.returncode == 0, done.stderr
    assert "mnist-cagem-100-smoke-s1: finished before, 2 of 2 epochs" in done.stderr
    run = runs / "mnist-cagem-100-smoke-s1"
    assert records.read(run / "record.json") == records.read(folder / "runs" / run.name / "record.json")
    assert log_of(run) == log_of(folder / "runs" / run.name)
    assert checkpoint.load(run).attributes["without_moments"] is True


def test_a_session_prints_tables_and_no_surprises(whole):
    *_, printed = whole
    assert "| batch 50 | float32 |" in printed
    assert "| F_10, 5 images, float32 |" in printed
    assert "Traceback" not in printed


def test_without_the_gpu_it_is_for_a_session_fails_at_once(tmp_path):
    done = session("all", "--out", tmp_path, "--runs", tmp_path, "--queue", ROOT / "tools" / "gpu_queue.txt")
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    assert done.returncode == 1
    assert "FAILED: probe" in done.stderr or "FAILED: JAX runs on" in done.stderr
    assert "-- check" not in done.stderr


def test_mistakes_are_one_line(tmp_path):
    done = session("unpack", "--carried", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = session("pack", tmp_path / "absent", "--out", tmp_path)
    assert done.returncode == 2
    assert "no run (no config.json)" in done.stderr


# Judgement


def arrays(precision="float32", output=0.0, bound=0.0, weight=0.0):
    return {
        f"{precision}/step/F": np.float32([-500 * (1 + output), -400]),
        f"{precision}/step/KL_y": np.float32([0.5, 1e-6]),
        f"{precision}/bound/F_10": np.array([-450.0, -300.0 * (1 + bound)]),
        f"{precision}/start/weights/a": np.zeros(4, "float32"),
        f"{precision}/end/weights/a": np.float32([1 + 2 * weight, 1, 1, 1]),  # moved by 2
    }


@pytest.mark.parametrize(
    ("precision", "errors", "verdict"),
    [
        ("float32", {"output": 1e-4, "bound": 1e-4, "weight": 0.04}, "passed"),
        ("float32", {"output": 3e-4}, "WRONG"),
        ("float32", {"bound": 3e-4}, "WRONG"),
        ("float32", {"weight": 0.06}, "WRONG"),
        ("float32", {"output": np.nan}, "WRONG"),
        ("float32", {"weight": np.nan}, "WRONG"),
        ("tf32", {"output": 1e-3, "weight": 0.06}, "passed"),
        ("tf32", {"output": 1e-2}, "WRONG"),
        ("bf16", {"output": 1e-2}, "reported only"),
    ],
)
def test_tolerances(precision, errors, verdict):
    assert device_report.compare(arrays(), arrays(precision, **errors), precision)["verdict"] == verdict


def test_the_table_shows_what_a_precision_does_to_the_bound():
    common = {"what": "bound", "k": 10, "images": 2, "rows_per_second": 5.0}
    found = [
        {**common, "precision": "float32", "mean": -100.0, "values": [-90.0, -110.0]},
        {**common, "precision": "tf32", "mean": -99.9, "values": [-90.1, -109.7]},
        {"what": "step", "batch": 100, "precision": "tf32", "seconds": 0.001, "gflops": 7.0},
    ]
    text = device_report.table(found)
    assert "| batch 100 | tf32 | 1.000 | 7 |" in text
    assert "| F_10, 2 images, tf32 | -99.9000 | +1.0e-01 | 3.0e-01 | 5 |" in text


# On a GPU


@pytest.mark.gpu
def test_a_gpu_computes_what_its_cpu_computes(tmp_path):
    found = session("check", "--out", tmp_path, "--check-preset", "smoke")
    if "FAILED: probe" in found.stderr or "FAILED: JAX runs on" in found.stderr:
        pytest.skip("no GPU that JAX can use")
    assert found.returncode == 0, found.stderr
