"""Runs of a second: from flags to record, on small pictures of real digits, with engine c in Python code."""

import contextlib
import functools
import io
import sys

import numpy as np
import pytest

from parmesan_cagem import cli, pipeline
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.signals import Stopped

RUN = [
    *("--preset", "smoke", "--epochs", "1", "--wide", "6", "--narrow", "5", "--z1-dim", "3", "--z2-dim", "2"),
    *("--batch-size", "10", "--labelled-batch-size", "10", "--train-images", "30", "--eval-images", "20"),
    *("--class-draws", "2", "--no-progress", "--name", "run"),
]

# Flags of a small run of every model but CaGeM: all that concerns every model is tested with these.
MODELS = {
    "vae": ["--model", "vae", "--layers", "3", "--holdout", "20"],
    "iwae": ["--model", "iwae", "--layers", "1", "--train-iw", "3"],
}


@functools.cache
def digits():
    """400 training and 60 test images of MNIST, every fourth pixel in each direction: 7x7."""
    mnist = load("mnist", None)

    def shrunk(images):
        return np.ascontiguousarray(images.reshape(-1, 28, 28)[:, ::4, ::4].reshape(-1, 49))

    return Dataset(
        "mnist",
        10,
        shrunk(mnist.train_images[:400]),
        mnist.train_labels[:400],
        shrunk(mnist.test_images[:60]),
        mnist.test_labels[:60],
        source="small digits",
        sha256=mnist.sha256,
    )


@contextlib.contextmanager
def small(engine=None, data=None):
    """While it lasts, the package's programs have small data and an engine of Python code."""
    machine = engine or TheanoC(mode="FAST_COMPILE")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("parmesan_cagem.pipeline", "parmesan_cagem.data"):
            patch.setattr(f"{module}.load", lambda *_: data or digits())
        patch.setattr("parmesan_cagem.engines.check", lambda name: None)
        patch.setattr("parmesan_cagem.engines.get", lambda *settings: machine)
        yield


def main_of(command):
    return {"run_mnist.py": lambda argv: pipeline.main("mnist", argv, "run_mnist.py"), "cagem": cli.main}[command]


def called(command, *arguments, engine=None, data=None):
    """(exit status, standard output, standard error) of ``run_mnist.py`` or ``cagem``, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with small(engine, data), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main_of(command)([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


def train(out, *flags):
    """What a run into ``<out>/run`` printed."""
    status, printed, _ = called("run_mnist.py", *RUN, *flags, "--out", out)
    assert status == 0
    return printed


class Counting:
    """An engine that counts calls and is told to stop at one of them."""

    name, precision, rows_per_call = "c", "float32", 40

    def __init__(self, stop_at=10**9, device="a toy"):
        self.calls, self.stop_at, self.device = 0, stop_at, device

    def function(self, inputs, outputs, name):
        call = TheanoC(mode="FAST_COMPILE").function(inputs, outputs, name)

        def counted(*values):
            self.calls += 1
            if self.calls == self.stop_at:
                raise Stopped(15)
            return call(*values)

        return counted


def without_times(record):
    record["eval"] = {k: v for k, v in record["eval"].items() if k not in ("finished", "seconds", "peak_memory_bytes")}
    return record


if __name__ == "__main__":
    with small():
        sys.exit(main_of(sys.argv[1])(sys.argv[2:]))
