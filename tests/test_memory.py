"""What cannot fit the machine is refused before anything is built; what fits never is."""

import json
from pathlib import Path

import pytest
from refusals import refuser, says

from parmesan_cagem import errors, memory, pipeline
from parmesan_cagem.config import Experiment

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((*(ROOT / "results").glob("*/*/record.json"), ROOT / "docs/records/demo.json"))


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    return refuser(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_the_estimate_is_below_what_runs_took(path):
    record = json.loads(path.read_text())
    took = record["peak_memory_bytes"]
    assert 0.005 * took < memory.least(Experiment.from_dict(record["config"]), 784) < took


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--wide", "65536"], ["--wide 65536"]),
        (["--narrow", "60000"], ["--narrow 60000"]),
        (["--labels", "0", "--clusters", "400", "--train-iw", "500"], ["--clusters 400", "--train-iw 500"]),
        (["--model", "vae", "--train-iw", "1000000", "--iw-objective", "averaged"], ["--train-iw 1000000"]),
    ],
)
def test_what_no_machine_of_this_size_holds_is_refused(flags, words, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "of_this_machine", lambda: 16 * 2**30)
    assert says(refused(*flags), [*words, "GiB", "this machine has 16.0", "smaller"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["nvidiactl", "dxg", "kfd", "accel0", "vfio/0"])
def test_an_accelerator_of_any_maker_has_memory_of_its_own(name, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_DEVICES", tmp_path)
    monkeypatch.setattr(memory, "of_this_machine", lambda: 2**30)
    e = Experiment(model="vae", labels=0, train_iw=100_000, iw_objective="averaged")
    with pytest.raises(errors.UserError, match=r"this machine has 1\.0"):
        memory.check(e, 784)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    memory.check(e, 784)


def test_where_nobody_knows_the_memory_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "of_this_machine", lambda: None)
    memory.check(Experiment(wide=65536), 784)


def test_a_control_groups_limit_counts(monkeypatch):
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path: "1048576\n" if path.name == "memory.max" else real(path))
    assert memory.of_this_machine() == 2**20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1.82 TiB for an array with shape (500000, 500000)"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2000000000000 bytes."),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_one_line(error, monkeypatch, capsys):
    def run(*_):
        raise error

    monkeypatch.setattr(pipeline, "run", run)
    assert pipeline.main("mnist", ["--preset", "smoke"], "run_mnist.py") == 2
    line = capsys.readouterr().err
    assert line.startswith("run_mnist.py: not enough memory")
    assert line.count("\n") == 1
    assert all(amount in line for amount in ("1.82 TiB", "2000000000000 bytes") if amount in str(error))


def test_an_error_of_another_kind_keeps_its_traceback(monkeypatch):
    def run(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(RuntimeError, match="a bug"):
        pipeline.main("mnist", ["--preset", "smoke"], "run_mnist.py")


def test_devices_that_are_not_there_are_refused_before_anything_is_written(tmp_path, capsys):
    assert pipeline.main("mnist", ["--preset", "smoke", "--devices", "50", "--out", str(tmp_path / "x")], "run") == 2
    assert "--devices 50: JAX sees" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u202e", "\udcff", "x" * 100_000, "\0"])
def test_any_message_is_one_line_that_prints(text):
    line = errors.one_line(f"--out {text}: no")
    assert line.isprintable()
    assert line.startswith("--out ")
    assert line.endswith(": no")
    assert len(line) < errors.MOST + 50
