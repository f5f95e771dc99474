"""Every user's mistake: exit status 2 and one line that says what was given and what is allowed; nothing is begun."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parmesan_cagem import checkpoint, config, data, pipeline
from parmesan_cagem.data import mnist
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals

ROOT = Path(__file__).resolve().parent.parent
REAL_MNIST = data.load
SMOKE = {"preset": "smoke"}

# What is given; the words that the line must have: what was given, what is allowed.
FLAGS = {
    "labels, no multiple of the classes": (["--labels", "7"], ["--labels 7:", "multiple of the 10 classes", "0 or 10"]),
    "labels, too many": (["--labels", "60001"], ["--labels 60001:", "54210"]),
    "labels, more than the smallest class": (["--labels", "60000"], ["--labels 60000:", "54210"]),
    "labels, negative": (["--labels", "-1"], ["--labels -1:", "at least 0"]),
    "labels, a word": (["--labels", "many"], ["--labels", "int", "'many'"]),
    "labels, a fraction": (["--labels", "1e2"], ["--labels", "int", "'1e2'"]),
    "labels, nothing": (["--labels"], ["--labels", "expected one argument"]),
    "epochs": (["--epochs", "0"], ["--epochs 0:", "at least 1"]),
    "label weight, nan": (["--label-weight", "nan"], ["--label-weight nan:", "finite number >= 0", "paper:BETA"]),
    "label weight, inf": (["--label-weight", "inf"], ["--label-weight inf:", "finite number >= 0", "adgm:BETA"]),
    "label weight, a word": (["--label-weight", "abc"], ["--label-weight abc:", "finite number >= 0"]),
    "label weight, no beta": (["--label-weight", "paper:x"], ["--label-weight paper:x:", "paper:BETA"]),
    "label weight, negative": (["--label-weight", "-1"], ["--label-weight -1:", "finite number >= 0"]),
    "label weight of p": (["--label-weight-p", "beta:1"], ["--label-weight-p beta:1:", "adgm:BETA"]),
    "clusters, one": (["--clusters", "1"], ["--clusters 1:", "at least 2"]),
    "clusters, one, no labels": (["--clusters", "1", "--labels", "0"], ["--clusters 1:", "at least 2"]),
    "clusters, not the classes": (
        ["--clusters", "20", "--labels", "100"],
        ["--clusters 20 --labels 100:", "10 classes", "--clusters 10 or --labels 0"],
    ),
    "batch size, none": (["--batch-size", "0"], ["--batch-size 0:", "at least 1"]),
    "batch size, too large": (["--batch-size", "70000", "--train-images", "0"], ["--batch-size 70000:", "60000"]),
    "batch size, more than the images": (["--batch-size", "501"], ["--batch-size 501:", "500 unlabelled images"]),
    "engine": (["--engine", "gpu"], ["--engine gpu:", "choose one of xla, c"]),
    "devices, two": (["--engine", "c", "--devices", "2"], ["--devices 2:", "engine c", "--devices 1"]),
    "devices, none": (["--devices", "0"], ["--devices 0:", "at least 1"]),
    "unknown flag": (["--lables", "100"], ["--lables", "--help"]),
    "abbreviated flag": (["--epoch", "3"], ["--epoch", "--help"]),
    "stray word": (["mnist"], ["unrecognized", "mnist", "--help"]),
    "preset": (["--preset", "nope"], ["--preset nope:", "paper, short, demo, smoke"]),
    "choice": (["--widths", "wide"], ["--widths wide:", "nodes, tapered"]),
    "pixel scale, 0": (["--pixel-scale", "0"], ["--pixel-scale 0", "above 0"]),
    "pixel scale, nan": (["--pixel-scale", "nan"], ["--pixel-scale nan", "finite"]),
    "pixel scale, below the pixels": (["--pixel-scale", "100"], ["--pixel-scale 100", "255"]),
    "pixel scale, below the pixels, no labels": (
        ["--pixel-scale", "100", "--labels", "0"],
        ["--pixel-scale 100", "255"],
    ),
    "momentum": (["--bn-momentum", "1"], ["--bn-momentum 1", "below 1"]),
    "learning rate": (["--learning-rate", "-0.001"], ["--learning-rate -0.001:", "above 0"]),
    "iw samples, none": (["--iw-samples", "0"], ["--iw-samples 0:", "at least 1"]),
    "eval images": (["--eval-images", "10001"], ["--eval-images 10001:", "1 .. 10000"]),
    "eval images, negative": (["--eval-images", "-5"], ["--eval-images -5:", "at least 0"]),
    "holdout, all": (["--holdout", "60000"], ["--holdout 60000:", "59900"]),
    "holdout, no labels": (["--holdout", "60000", "--labels", "0"], ["--holdout 60000:", "59999"]),
    "train images": (["--train-images", "70000"], ["--train-images 70000:", "60000"]),
    "train images after the holdout": (
        ["--train-images", "59500", "--holdout", "1000"],
        ["--train-images 59500:", "59000"],
    ),
    "seed, negative": (["--seed", "-1"], ["--seed -1:", "at least 0"]),
    "seed, too large for the weights": (["--seed", str(2**32)], [f"--seed {2**32}:", "4294967"]),
    "eval seed, too large for its noise": (["--eval-seed", str(2**58)], [f"--eval-seed {2**58}:", "4294967"]),
    "name, empty": (["--name", ""], ["--name", "''", "name of a folder"]),
    "name, a path": (["--name", "a/b"], ["--name", "'a/b'", "name of a folder"]),
    "name, the parent": (["--name", ".."], ["--name", "'..'", "name of a folder"]),
    "name, with a null": (["--name", "a\0b"], ["--name", "name of a folder"]),
    "name, too long": (["--name", "x" * 300], ["--out", "x" * 300, "too long"]),
}


class Begun(AssertionError):
    """A run began although the input was bad."""


class NothingCompiled:
    """An engine for runs that must end before the first step."""

    name, rows_per_call = "c", 5000

    def function(self, inputs, outputs, name):
        return self._call

    def steps(self, inputs, outputs, updates, name):
        return self

    def prepare(self, *_):
        pass

    def pull(self):
        pass

    @staticmethod
    def _call(*_):
        raise Begun("a step was taken")

    __call__ = _call


@pytest.fixture(scope="module")
def whole_mnist():
    return REAL_MNIST("mnist", None)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys, whole_mnist):
    """Run the arguments; returns the one line that they are refused with, after all other checks."""

    def load(name, data_dir, unverified=False):
        return whole_mnist if data_dir is None else REAL_MNIST(name, data_dir)

    monkeypatch.setattr(pipeline, "load", load)
    monkeypatch.delenv("CAGEM_DATA", raising=False)

    def refused(*flags, begins=False):
        given = ["--preset", "smoke", "--no-progress", "--out", str(tmp_path / "runs"), *map(str, flags)]
        with monkeypatch.context() as patch:

            def begin(*_):
                raise Begun(f"{flags} began a run")

            # Rather fail than train, and unless told otherwise, than write the run's first file.
            patch.setattr(Signals, "deferred", begin)
            patch.setattr("parmesan_cagem.engines.check", lambda name: None)
            patch.setattr("parmesan_cagem.engines.get", lambda *settings: NothingCompiled())
            if not begins:
                patch.setattr("parmesan_cagem.pipeline.files.write_json", begin)
            status = pipeline.main("mnist", given, "run_mnist.py")
        return one_line(status, *capsys.readouterr())

    return refused


def one_line(status, out, err):
    assert (status, out) == (2, "")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert err.startswith("run_mnist.py: ")
    assert "Traceback" not in err
    return err.removeprefix("run_mnist.py: ").strip()


def says(line, words):
    assert [word for word in words if word not in line] == [], line
    return True


# Flags


@pytest.mark.parametrize("case", FLAGS)
def test_a_bad_flag_is_refused_in_one_line(case, refused, tmp_path):
    flags, words = FLAGS[case]
    if case == "name, too long":
        assert says(refused(*flags, begins=True), words)
    else:
        assert says(refused(*flags), words)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(
            ["--seed", str(2**32 - 1), "--label-seed", str(2**32 - 1), "--eval-seed", str(2**32 - 1)], id="large seeds"
        ),
        pytest.param(["--labels", "54210", "--label-weight", "0", "--iw-samples", "15"], id="all labels"),
        pytest.param(["--labels", "0", "--clusters", "20", "--eval-images", "10000"], id="no labels"),
        pytest.param(["--holdout", "59900", "--train-images", "100", "--batch-size", "100"], id="all held out"),
    ],
)
def test_what_is_allowed_is_not_refused(flags, refused):
    with pytest.raises(Begun):
        refused(*flags)


def test_mistakes_are_found_before_theano_is_imported():
    program = """
import sys, time
from parmesan_cagem.pipeline import main
assert main("mnist", ["--labels", "7"], "run_mnist.py") == 2
assert time.process_time() < 5, time.process_time()
print([name for name in ("theano", "lasagne") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert done.stdout == "[]\n"


def test_the_script_itself_ends_with_status_2():
    command = [sys.executable, "run_mnist.py", "--epochs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert says(one_line(done.returncode, done.stdout, done.stderr), ["--epochs 0", "at least 1"])


# Data


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Four sound files, quickly packed."""
    folder = tmp_path_factory.mktemp("data")
    for name, content in mnist.read_wheel().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return folder


@pytest.fixture
def copied_data(data_folder, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for path in data_folder.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_sound_data_are_not_refused(copied_data, refused):
    with pytest.raises(Begun):
        refused("--data-dir", copied_data)


def put(path, content):
    path.unlink()
    path.write_bytes(content)


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


TRAIN, LABELS, TEST = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"
DAMAGE = {
    "missing": (LABELS, lambda path: path.unlink(), ["lacks " + LABELS]),
    "truncated": (LABELS, lambda path: put(path, path.read_bytes()[:1000]), ["truncated"]),
    "empty": (LABELS, lambda path: put(path, b""), ["truncated", "empty"]),
    "HTML": (TRAIN, lambda path: put(path, b"<!DOCTYPE html><title>404</title>"), ["HTML"]),
    "corrupt": (LABELS, lambda path: put(path, flipped(path.read_bytes())), ["damaged"]),
    "not packed": (LABELS, lambda path: put(path, gzip.decompress(path.read_bytes())), ["IDX", "gzip it"]),
    "another content": (
        LABELS,
        lambda path: put(path, gzip.compress(flipped(gzip.decompress(path.read_bytes())))),
        ["wrong checksum"],
    ),
    "another file": (TEST, lambda path: put(path, path.with_name(LABELS).read_bytes()), ["wrong length"]),
    "a folder": (LABELS, lambda path: (path.unlink(), path.mkdir()), ["not a regular file"]),
}


@pytest.mark.parametrize(
    ("how", "case"), [*(("--data-dir", case) for case in DAMAGE), ("CAGEM_DATA", "missing"), ("CAGEM_DATA", "corrupt")]
)
def test_bad_data_are_refused_in_one_line(how, case, copied_data, refused, monkeypatch, tmp_path):
    name, damage, words = DAMAGE[case]
    damage(copied_data / name)
    if how == "--data-dir":
        line = refused("--data-dir", copied_data)
    else:
        monkeypatch.setattr(pipeline, "load", REAL_MNIST)
        monkeypatch.setenv("CAGEM_DATA", str(copied_data))
        line = refused()
    assert says(line, [name, str(copied_data), "fix: ", *words])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["absent", "a file"])
def test_a_data_folder_that_is_none_is_refused(kind, refused, tmp_path):
    path = tmp_path / "nowhere"
    if kind == "a file":
        path.write_text("")
    assert says(refused("--data-dir", path), [f"--data-dir {path}:", "not a folder", "train-images-idx3-ubyte.gz"])


# The run's folder


@pytest.mark.parametrize("parent", ["a file", "/proc"])
def test_an_unwritable_out_is_refused(parent, refused, tmp_path):
    out = Path("/proc/runs")
    if parent == "a file":
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "runs"
    line = refused("--out", out, "--name", "n", begins=True)
    assert says(line, [f"--out {out / 'n'}", "cannot write", "another folder"])


def begin_a_run(folder, **changes):
    RunFolder.create(folder, config.experiment("smoke", **changes).to_dict()).close()
    return folder


@pytest.fixture
def begun(tmp_path):
    """A run of the smoke preset that has been begun, under the name "n"."""
    return begin_a_run(tmp_path / "runs" / "n")


def test_an_existing_run_is_not_overwritten(begun, refused):
    before = (begun / "config.json").read_bytes()
    assert says(refused("--name", "n", begins=True), [str(begun), "holds a run", "--resume", "--name"])
    assert (begun / "config.json").read_bytes() == before


def test_a_run_in_use_is_not_touched(begun, refused):
    config_now = config.experiment("smoke").to_dict()
    with RunFolder.open(begun, config_now, config.MAY_CHANGE):
        line = refused("--name", "n", "--resume", begins=True)
    assert says(line, [str(begun), "in use", str(os.getpid())])


def test_resume_without_a_run(refused, tmp_path):
    line = refused("--name", "n", "--resume", begins=True)
    assert says(line, ["--resume", "no run", str(tmp_path / "runs" / "n"), "--name"])
    assert not (tmp_path / "runs").exists()


def test_resume_with_other_settings_names_each_with_both_values(begun, refused):
    flags = ["--name", "n", "--resume", "--learning-rate", "0.002", "--no-skip", "--epochs", "9"]
    line = refused(*flags, begins=True)
    assert says(line, ["--resume", "learning_rate was 0.001, now 0.002", "skip was true, now false", "--name"])
    assert "epochs" not in line  # these may change


def test_resume_without_a_name_finds_the_run_and_names_what_differs(tmp_path, refused):
    folder = begin_a_run(tmp_path / "runs" / "mnist-cagem-100-smoke-s1")
    line = refused("--resume", "--learning-rate", "0.002", begins=True)
    assert says(line, ["--resume", str(folder), "learning_rate was 0.001, now 0.002"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b'{"labels": 100', ["not JSON"], id="cut short"),
        pytest.param(b"", ["not JSON"], id="empty"),
        pytest.param(b"[1]", ["not JSON", "object"], id="a list"),
        pytest.param(b"\xff\xfe\0", ["not JSON"], id="binary"),
        pytest.param(b"{}", ["began with other settings", "absent"], id="no settings"),
    ],
)
def test_resume_with_a_damaged_config(content, words, begun, refused):
    (begun / "config.json").write_bytes(content)
    assert says(refused("--name", "n", "--resume", begins=True), [str(begun), *words, "--name"])
    assert (begun / "config.json").read_bytes() == content


# Checkpoints


def test_resume_with_both_checkpoints_damaged(begun, refused):
    for _ in range(2):
        checkpoint.save(begun, {"weights/W": np.ones(3)}, {"epoch": 1})
    (begun / checkpoint.NEWEST).write_bytes(flipped((begun / checkpoint.NEWEST).read_bytes()))
    (begun / checkpoint.PREVIOUS).write_bytes(b"<!DOCTYPE html>")
    line = refused("--name", "n", "--resume", begins=True)
    assert says(line, [str(begun), checkpoint.NEWEST, checkpoint.PREVIOUS, "no usable checkpoint", "--name"])


# The machine


def test_a_missing_compiler_is_told_in_one_line(c_engine, tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    command = [sys.executable, "run_mnist.py", "--preset", "smoke", "--engine", "c", "--no-progress"]
    command += ["--out", str(tmp_path / "runs")]
    environment = {**os.environ, "PATH": str(empty)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    line = one_line(done.returncode, done.stdout, done.stderr)
    assert says(line, ["g++", "PATH", "apt-get install g++"])
    # Whoever installs it and tries again must not be told that a run exists.
    assert not list((tmp_path / "runs").glob("*/config.json"))
