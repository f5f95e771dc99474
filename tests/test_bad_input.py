"""Every user's mistake: exit status 2 and one line that says what was given and what is allowed; nothing is begun."""

import os
import subprocess
import sys

import pytest
from refusals import ROOT, Begun, one_line, refuser, says


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    return refuser(tmp_path, monkeypatch, capsys)


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
    "name, too long": (["--name", "x" * 300], ["--name", "x" * 300, "too long", "255"]),
    "path, empty": (["--out", ""], ["--out", "''", "not a path"]),
    "path, with a null": (["--data-dir", "a\0b"], ["--data-dir", "not a path"]),
    "path, with a line end": (["--data-dir", "a\nb"], ["--data-dir a\\nb:", "not a folder"]),
    "path, no text": (["--data-dir", "a\udcff\x1b"], ["--data-dir a\\xff\\x1b:", "not a folder"]),
    "value, a double dash": (["--seed=--"], ["--seed", "expected one argument"]),
    "value, thousands of digits": (["--labels", "9" * 5000], ["--labels", "int", "characters]"]),
    "labels, hundreds of digits": (["--labels", "9" * 400], ["--labels 9", "at most 1000000000"]),
    "wide, larger than any machine": (["--wide", "10000000"], ["--wide 10000000:", "at most 65536"]),
    "epochs, without end": (["--epochs", str(10**18)], [f"--epochs {10**18}:", "at most 1000000000"]),
    "iw samples, without end": (["--iw-samples", str(10**12)], [f"--iw-samples {10**12}:", "at most 1000000000"]),
    "learning rate, beyond float32": (["--learning-rate", "1e300"], ["--learning-rate 1e+300:", "3.4e+38", "float32"]),
    "epsilon, 0 to float32": (["--adam-epsilon", "1e-60"], ["--adam-epsilon 1e-60:", "1.2e-38", "float32"]),
    "beta, 1 to float32": (["--adam-beta2", "0.9999999999"], ["--adam-beta2 0.9999999999:", "below 1"]),
}


# Flags


@pytest.mark.parametrize("case", FLAGS)
def test_a_bad_flag_is_refused_in_one_line(case, refused, tmp_path):
    flags, words = FLAGS[case]
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
