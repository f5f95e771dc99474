"""run_mnist.py as a user runs it: one process, and two that share its work."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import arrays_of, assert_same_arrays, log_of

from parmesan_cagem import checkpoint, records
from parmesan_cagem.data import load
from parmesan_cagem.data.labels import indices_sha256

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    *("--preset", "smoke", "--train-images", "2000", "--batch-size", "10", "--labelled-batch-size", "20"),
    *("--eval-images", "10", "--class-draws", "1"),
]


class Process:
    """run_mnist.py as a user runs it."""

    def __init__(self, out, *flags):
        command = [sys.executable, "run_mnist.py", *FLAGS, "--out", str(out), "--name", "n", *flags]
        # One thread each: two run at a time.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)
        self.lines = []

    def signal_after(self, line, number):
        """Send a signal as soon as a line that begins so has been printed."""
        for printed in self.process.stderr:
            self.lines.append(printed)
            if printed.startswith(line):
                self.process.send_signal(number)
                return
        pytest.fail(f"no {line!r} in: {''.join(self.lines)}")

    def wait(self):
        out, err = self.process.communicate(timeout=280)
        return self.process.returncode, out, "".join(self.lines) + err


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Four epochs; beside them a run of three that is stopped in its second, and then goes on to four."""
    out, results = tmp_path_factory.mktemp("runs"), {}
    whole = Process(out / "whole", "--epochs", "4")
    try:
        run = Process(out / "parts", "--epochs", "3")
        run.signal_after("epoch 1:", signal.SIGTERM)
        results["stopped"] = run.wait()
        saved = checkpoint.load(out / "parts" / "n")
        results["stopped at"] = saved.attributes["epoch"], saved.attributes["step"]
        results["log when stopped"] = log_of(out / "parts" / "n")
        results["rest"] = Process(out / "parts", "--epochs", "4", "--resume").wait()
        results["whole"] = whole.wait()
    finally:
        whole.process.kill()
    return out, results


def test_runs_end_well_and_a_stopped_one_with_128_and_the_signal(processes):
    out, results = processes
    status = {name: results[name][0] for name in ("whole", "stopped", "rest")}
    assert status == {"whole": 0, "stopped": 143, "rest": 0}, results
    assert results["stopped"][1] == ""
    assert results["stopped"][2].splitlines()[-1] == "run_mnist.py: stopped by SIGTERM"
    assert not [path for path in (out / "parts" / "n").iterdir() if path.name.endswith(".tmp")]


def test_the_signal_came_mid_epoch(processes):
    epoch, step = processes[1]["stopped at"]
    assert 1 <= epoch < 3
    assert 0 < step < 200


def test_processes_that_resume_equal_one_that_did_not_stop(processes):
    out, results = processes
    parts, whole = out / "parts" / "n", out / "whole" / "n"
    assert_same_arrays(arrays_of(parts), arrays_of(whole))
    assert log_of(parts) == log_of(whole)
    done = results["stopped at"][0]
    assert results["log when stopped"] == log_of(whole)[:done]
    assert len(log_of(whole)) == 4
    one, other = (records.read(folder / "record.json") for folder in (parts, whole))
    for key in ("bounds", "terms", "error_q", "error_p", "test", "active_units", "cluster_usage", "steps", "epochs"):
        assert one[key] == other[key], key
    assert (parts / "samples.png").read_bytes() == (whole / "samples.png").read_bytes()


def test_the_labelled_images_are_balanced_and_told(processes):
    folder = processes[0] / "whole" / "n"
    told = json.loads((folder / "labels.json").read_text())
    assert np.bincount(load("mnist", None).train_labels[told["indices"]]).tolist() == [10] * 10
    assert len(set(told["indices"])) == 100
    assert told["sha256"] == indices_sha256(told["indices"])
    assert records.read(folder / "record.json")["label_indices_sha256"] == told["sha256"]
    assert np.array_equal(arrays_of(folder)["labels/indices"], told["indices"])


def test_the_record_tells_the_run(processes):
    folder = processes[0] / "whole" / "n"
    record = records.read(folder / "record.json")
    assert (record["epochs"], record["steps"]) == (4, 800)
    assert record["config"] == json.loads((folder / "config.json").read_text())
    assert record["dataset"]["unlabelled"] == 2000
    assert record["label_weight"] == {"q": 10.0, "p": 10.0, "given": "10", "given_p": "same"}
    draws = record["config"]["class_draws"]
    assert record["warnings"] == [f"active units come from {draws} draws; fewer than 100 count too many"]


def test_training_on_real_images_raises_the_bound(processes):
    # Measured, means over 200 steps each: -314, -210, -202, -196 nats.
    F = [entry["F"] for entry in log_of(processes[0] / "whole" / "n")]
    assert F[-1] > F[0] + 30
    assert sorted(F) == F


def test_results_go_to_stdout_and_progress_to_stderr(processes):
    _, out, err = processes[1]["whole"]
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["bound", "test", "samples", "record", "|"]
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("epoch")] == [
        f"epoch {epoch}" for epoch in (1, 2, 3, 4)
    ]
    assert "\r" not in err  # no bar where there is no terminal
