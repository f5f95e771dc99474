"""The table of all models: their settings hold, their steps run on both kinds of batches, names choose them."""

import argparse
import json

import numpy as np
import pytest
import toy
from small_runs import digits

from benchmarks import models as benchmark
from parmesan_cagem import config, presets

TINY = {"wide": 6, "narrow": 5, "z1_dim": 3, "z2_dim": 2, "batch_size": 10, "labelled_batch_size": 10}


@pytest.fixture
def tiny(monkeypatch):
    """Networks of a few units, digits of 7x7 pixels, the engine in Python code."""
    monkeypatch.setitem(presets.PRESETS, "smoke", {**presets.PRESETS["smoke"], **TINY})
    monkeypatch.setattr("parmesan_cagem.data.load", lambda *_: digits())
    monkeypatch.setattr(benchmark, "engine", lambda name: toy.ENGINE)
    monkeypatch.setattr(benchmark, "IMAGES", 50)


class Step:
    """In place of a model's step."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def parameters(self):
        return 1_500_000

    def run(self, steps):
        return {}


class Here:
    """In place of a child process: the object itself."""

    def __init__(self, name, factory, *arguments):
        self.served, self.asked = factory(*arguments), []

    def ask(self, method, *arguments):
        self.asked.append(method)
        return argparse.Namespace(value=getattr(self.served, method)(*arguments), seconds=0.5)

    def peak_bytes(self):
        return 2**20

    def forget_peak(self):
        self.asked.clear()

    def close(self):
        assert self.asked


def test_every_contestant_is_an_experiment_of_its_own():
    made = {name: config.experiment("paper", **changes) for name, changes in benchmark.MODELS.items()}
    assert len({e.training_hash() for e in made.values()}) == len(made) == 10
    assert {e.model for e in made.values()} == set(presets.MODELS)
    assert {e.wide for e in made.values()} == {1024}
    assert {name for name, e in made.items() if e.labels} == {"cagem-100", "adgm-100", "sdgm-100", "m2"}


@pytest.mark.parametrize("name", ["cagem-100", "iwae"])  # with labels and without
def test_a_block_of_steps(tiny, name):
    step = benchmark.ModelStep(name, "c", "smoke", None)
    values = step.run(2)
    assert values["F"].shape == (2,)
    assert np.isfinite(values["F"]).all()
    assert values["F"][0] != values["F"][1]  # it trains
    assert ("H_q" in values) == (name == "cagem-100")
    assert step.parameters() > 6 * 6


def test_the_table_and_the_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "Child", Here)
    monkeypatch.setattr(benchmark, "ModelStep", Step)
    monkeypatch.setattr(benchmark, "present", lambda names, say: names)
    flags = ["--preset", "smoke", "--only", "vae,cagem-100", "--rounds", "2", "--steps", "1"]
    assert benchmark.main([*flags, "--json", str(tmp_path / "out" / "models.json")]) == 0
    found = json.loads((tmp_path / "out" / "models.json").read_text())
    assert list(found["contestants"]) == ["vae/xla", "vae/c", "cagem-100/xla", "cagem-100/c"]
    assert found["contestants"]["vae/c"]["seconds"] == [0.5, 0.5]
    lines = capsys.readouterr().out.splitlines()
    assert any("ratio to cagem-100/xla" in line for line in lines)
    assert (
        sum(line.startswith("| vae/") and " 1.00 (1.00 to 1.00) |" in line and " 1.50 " in line for line in lines) == 2
    )


def test_names_choose_contestants():
    chosen = benchmark._listed(benchmark.MODELS)
    assert chosen("vae,lvae") == ["vae", "lvae-2", "lvae-5"]
    assert chosen("cagem") == ["cagem-0", "cagem-100"]
    assert chosen("lvae-5,lvae") == ["lvae-5", "lvae-2"]
    with pytest.raises(argparse.ArgumentTypeError, match="'gan' is none of cagem-0"):
        chosen("vae,gan")
