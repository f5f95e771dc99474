"""Runs that must end before they begin: with one line that says why."""

import functools
from pathlib import Path

from parmesan_cagem import data, pipeline
from parmesan_cagem.signals import Signals

ROOT = Path(__file__).resolve().parent.parent
REAL_MNIST = data.load


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


@functools.cache
def whole_mnist():
    return REAL_MNIST("mnist", None)


def refuser(tmp_path, monkeypatch, capsys):
    """A function that runs the arguments; returns the one line that they are refused with, after all other checks."""
    mnist = whole_mnist()

    def load(name, data_dir, unverified=False):
        return mnist if data_dir is None else REAL_MNIST(name, data_dir)

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


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
