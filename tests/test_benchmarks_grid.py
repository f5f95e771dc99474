"""The times that `cagem plan` reckons with: every configuration is measured once, and its operations are counted."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import toy
from test_benchmarks_models import TINY, Here

from benchmarks import configuration, flops
from benchmarks import grid as benchmark
from parmesan_cagem import config, engines, grid, presets, speeds
from parmesan_cagem.engines.xla import products

PAPER = grid.CHECKOUT / "paper.yaml"
RUNS = grid.read(PAPER, "paper", Path("runs")).runs


@pytest.fixture
def tiny(monkeypatch):
    """Networks of a few units, pictures of 12 pixels."""
    monkeypatch.setitem(presets.PRESETS, "smoke", {**presets.PRESETS["smoke"], **TINY})
    monkeypatch.setattr(configuration, "PIXELS", 12)
    monkeypatch.setattr(configuration, "IMAGES", 50)


def test_every_configuration_is_measured_once():
    measured = [(kind, speeds.key(e, kind)) for e, kinds in benchmark.configurations(PAPER) for kind in kinds]
    assert len(measured) == len(set(measured))
    assert set(measured) == {(kind, speeds.key(run.experiment, kind)) for run in RUNS for kind in speeds.KINDS}
    assert len(benchmark.configurations(PAPER)) == 17


def test_its_settings_say_the_configuration():
    for e, _ in benchmark.configurations(PAPER):
        assert benchmark.settings_of(e)["labels"] == e.labels  # also where they are the usual ones: a reader wants them
        again = config.experiment("paper", **benchmark.settings_of(e))
        for kind in speeds.KINDS:
            assert speeds.key(again, kind) == speeds.key(e, kind)


def test_what_is_written_times_every_run_of_a_grid(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "Child", Here)
    monkeypatch.setattr(engines, "get", lambda *_, **__: toy.ENGINE)
    monkeypatch.setattr(toy.ENGINE, "rows_per_call", 60, raising=False)
    (tmp_path / "grid.yaml").write_text("runs: [{for: x, labels: 10, label_seed: [1, 2]}]")
    path = tmp_path / "speeds.json"
    flags = ["--grid", str(tmp_path / "grid.yaml"), "--preset", "smoke", "--blocks", "3", "--seconds", "0"]
    assert benchmark.main([*flags, "--json", str(path)]) == 0
    content, printed = json.loads(path.read_text()), capsys.readouterr().out
    for kind in speeds.KINDS:
        (one,) = content[kind]
        assert 0 < one["least"] <= one["seconds"] <= one["most"]
        assert len(one["load"]) == 2
        assert f"{kind}: dataset mnist model cagem labels 10" in printed
    device, gpu = speeds.read(path)
    assert device.measured
    assert not gpu.measured
    for run in grid.read(tmp_path / "grid.yaml", "paper", tmp_path).runs:
        assert device.unit(run.experiment, "steps") == content["steps"][0]["seconds"]
        assert device.unit(run.experiment, "bounds") == content["bounds"][0]["seconds"]
    assert {"command", "date", "machine", "quiet", "minutes"} <= content.keys()


def test_a_busy_machine_is_said(tmp_path):
    one = {"settings": {}, "seconds": 1.0, "flop": 1, "ready_seconds": 9.0, "save_seconds": 0.5, "load": [0.1, 9.0]}
    calm = {**one, "load": [0.1, 1.0]}
    benchmark.write(tmp_path / "a.json", {"device": "D"}, {"steps": [one, calm], "bounds": [], "classes": []}, 60.0)
    content = json.loads((tmp_path / "a.json").read_text())
    (cores,) = [facts for facts in content["devices"].values() if facts["measured"]]
    assert (content["quiet"], cores["start_seconds"], cores["epoch_seconds"], cores["reasoning"]) == (
        False,
        9.0,
        0.5,
        "measured on D UNDER LOAD (up to 9.0)",
    )
    benchmark.write(tmp_path / "a.json", {"device": "D"}, {"steps": [calm, calm], "bounds": [], "classes": []}, 60.0)
    assert json.loads((tmp_path / "a.json").read_text())["quiet"]


def test_products_are_counted_when_they_are_traced():
    x, y = np.ones((3, 4), "float32"), np.ones((4, 5), "float32")
    run = jax.jit(lambda a, b: products.dot(a, b, "float32"))
    assert configuration.flop_of(lambda: [run(x, y), run(x, y)]) == 2 * 3 * 4 * 5
    vectors = (((1,), (1,)), ((0,), (0,)))  # three products of rows of four
    assert configuration.flop_of(lambda: products.dot_general(x, x, vectors, "float32")) == 3 * 2 * 4
    assert configuration.flop_of(lambda: None) == 0


@pytest.mark.parametrize("labels", [20, 50, 100])
def test_cagems_operations_are_those_that_its_mathematics_asks_for(labels):
    """Counted from the traced program, in the file of speeds; from the networks' shapes in benchmarks/flops.py."""
    content = json.loads((grid.CHECKOUT / "speeds.json").read_text())
    e = config.experiment("paper", labels=labels)

    def counted(kind):
        found = {speeds.key(config.experiment("paper", **one["settings"]), kind): one["flop"] for one in content[kind]}
        return found[speeds.key(e, kind)]

    assert counted("steps") == pytest.approx(flops.step_flops(e, 784), rel=0.001)
    assert counted("bounds") == pytest.approx(flops.bound_flops(e, 784), rel=0.001)
