"""The console script: quick help, one-line errors, exit statuses."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parmesan_cagem import cli
from parmesan_cagem.commands import evaluate as command
from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Stopped

ROOT = Path(__file__).resolve().parent.parent


def cagem(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "parmesan_cagem", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def test_help_imports_neither_theano_nor_jax():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "parmesan_cagem", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0
    for name in cli.COMMANDS:
        assert re.search(rf"^ +{name} +\S", done.stdout, re.MULTILINE), name
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "parmesan_cagem" in imported
    assert not imported & {"theano", "lasagne", "jax", "matplotlib", "scipy"}


def test_help_is_quick():
    times = []
    for _ in range(3):  # the quickest: the machine may be busy
        clock = time.monotonic()
        assert cagem("evaluate", "--help").returncode == 0
        times.append(time.monotonic() - clock)
    assert min(times) < 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND", "cagem --help"]),
        (["paint"], ["'paint'", "evaluate"]),
        (["evaluate"], ["RUN", "cagem evaluate --help"]),
        (["data"], ["ACTION"]),
        (["data", "verify", "cifar"], ["'cifar'", "mnist"]),
        (["data", "verify", "mnist", "--data-dir", "/nowhere"], ["--data-dir /nowhere", "not a folder"]),
        (["tables", "--no-such-flag"], ["--no-such-flag"]),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("cagem: ")
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("a mistake"), 2),
        (FloatingPointError("a number is not finite"), 3),
        (Stopped(2), 130),
        (Stopped(15), 143),
    ],
)
def test_exit_statuses(error, status, monkeypatch, capsys):
    def fail(args, signals):
        raise error

    monkeypatch.setattr(command, "run", fail)
    assert cli.main(["evaluate", "somewhere"]) == status
    assert capsys.readouterr().err == f"cagem: {error}\n"


def test_the_data_set_is_verified_in_a_line(capsys):
    assert cli.main(["data", "verify", "mnist"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("mnist: verified; ")
    assert "train 60000 x 784 uint8, test 10000 x 784 uint8; 10 classes" in line


@pytest.mark.skipif(not os.environ.get("CAGEM_DATA"), reason="needs $CAGEM_DATA")
def test_all_data_sets_are_verified(capsys):
    assert cli.main(["data", "verify"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["mnist", "omniglot"]


def test_a_reader_that_leaves_is_no_error():
    line = f"{sys.executable} -m parmesan_cagem tables --check --records tests | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, timeout=60)
    first, status = done.stdout.splitlines()
    assert first.startswith("Table 1")
    assert status in ("141", "1")  # 1: all was written before head left
    assert "Traceback" not in done.stderr
