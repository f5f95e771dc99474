"""Training steps of the ladder VAE against NumPy and on both engines; whole runs on small real digits."""

import json

import numpy as np
import pytest
import toy
import toy_ladder
from runs import arrays_of, assert_same_arrays, log_of
from scipy.special import logsumexp
from small_runs import train
from toy_step import BATCH, BYTES

from parmesan_cagem import config, records, training_step
from parmesan_cagem.engines.xla.engine import XLA

SAMPLES = 3


def compiled(engine, **changes):
    """(what is compiled, a function of a batch, temperature and step size)."""
    built = toy_ladder.model(weights=5, layers=3, batch_size=len(BATCH), train_iw=SAMPLES, **changes)
    step = training_step.build(built, built.experiment, BYTES, None, (0.0, 0.0))
    call = engine.steps(step.inputs, list(step.outputs.values()), list(step.updates.items()), "step")

    def run(batches, temperatures):
        rows = [np.array(batches, "int32"), temperatures, [1e-3] * len(batches)]
        values = call(*(np.array(row, v.dtype) for row, v in zip(rows, step.inputs, strict=True)))
        call.pull()
        return dict(zip(step.outputs, values, strict=True))

    return built, step, run


@pytest.mark.parametrize("objective", ["weighted", "averaged"])
def test_the_objective_of_a_step(objective, monkeypatch):
    monkeypatch.setattr(training_step, "NamedStreams", toy.FixedStreams)
    with toy.precision("float64"):
        built, _, run = compiled(toy.ENGINE, iw_objective=objective)
        oracle = toy_ladder.Oracle.of(built)
        outputs = {name: values[0] for name, values in run([BATCH], [0.4]).items()}
    uniform = toy.fixed_noise("binarise", (len(BATCH), toy.X_DIM), "uniform")
    x = (uniform < BYTES[BATCH] / 256).astype(float).repeat(SAMPLES, axis=0)
    noise = [toy.fixed_noise(f"eps_{v.name}", (len(x), v.units)) for v in built.variables]
    weights = oracle.bound(x, noise, "batch", 0.4).reshape(-1, SAMPLES)
    f = weights if objective == "averaged" else logsumexp(weights, axis=1) - np.log(SAMPLES)
    p_x, latents = oracle.forward(x, noise, "batch")
    expected = {"objective": f.mean(), "F": oracle.bound(x, noise, "batch").mean(), "reconstruction": p_x.mean()}
    for v, latent in zip(built.variables, latents, strict=True):
        expected |= {f"KL_{v.name}": latent.kl.mean(), f"KL_{v.name}_sampled": (latent.log_q - latent.log_p).mean()}
    assert list(outputs) == [*expected, "gradient_norm_rest"]
    for name, value in expected.items():
        assert outputs[name] == pytest.approx(value, rel=1e-9), name


def test_both_engines_take_the_same_steps():
    batches, temperatures = [BATCH, BATCH[::-1]], [0.1, 1.0]
    (_, one, run_one), (_, other, run_other) = compiled(toy.ENGINE), compiled(XLA())
    first = {name: variable.get_value() for name, variable in one.state.items()}
    found, expected = run_other(batches, temperatures), run_one(batches, temperatures)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-4, err_msg=name)
    assert one.state.keys() == other.state.keys()
    for name, variable in one.state.items():
        before, after, value = first[name], variable.get_value(), other.state[name].get_value()
        if name.startswith("random/") or name == "adam/t":
            np.testing.assert_array_equal(value, after, err_msg=name)
        elif name.startswith("weights/"):  # Adam's steps are 1e-3 however small a gradient
            np.testing.assert_allclose(value, after, rtol=1e-3, atol=2e-4, err_msg=name)
        assert not np.array_equal(after, before), name


RUNS = {
    "two layers": ["--widths", "ladder", "--warmup-epochs", "2", "--bn-eval", "collect"],
    "five layers": ["--layers", "5", "--widths", "doubled", "--wide", "32", "--train-iw", "2"],
}


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run_and_its_resumption(name, tmp_path):
    """Two epochs at once, and one resumed for another: the same weights, log and bounds."""
    flags = ["--model", "lvae", *RUNS[name]]
    printed = train(tmp_path / "once", *flags, "--epochs", "2")
    train(tmp_path / "twice", *flags)
    train(tmp_path / "twice", *flags, "--epochs", "2", "--resume")
    once, twice = tmp_path / "once" / "run", tmp_path / "twice" / "run"
    assert_same_arrays(arrays_of(twice), arrays_of(once))
    assert log_of(twice) == log_of(once)
    record, other = (records.read(folder / "record.json") for folder in (once, twice))
    assert record["bounds"] == other["bounds"]
    layers = 5 if name == "five layers" else 2
    variables = [f"z{level}" for level in range(1, layers + 1)]
    assert set(record["terms"]) == {"reconstruction"} | {f"KL_{v}{s}" for v in variables for s in ("", "_sampled")}
    assert set(record["active_units"]) == set(variables)
    means = {bound: value["mean"] for bound, value in record["bounds"].items()}
    assert means["F_1"] < means["F_10"] < 0
    kept = record["terms"]["reconstruction"] - sum(record["terms"][f"KL_{v}_sampled"] for v in variables)
    assert kept == pytest.approx(means["F_1"], rel=1e-5)
    assert record["error_q"] is None
    assert json.loads((once / "config.json").read_text())["labels"] == 0
    assert (once / "samples.png").stat().st_size > 0
    assert "bound      F_10" in printed


def test_the_settings_of_the_paper_are_flags():
    e = config.experiment("paper", model="lvae", layers=5, widths="doubled", train_iw=10)
    assert (e.labels, e.train_iw, e.iw_objective, e.latent_units) == (0, 10, "weighted", (64, 32, 16, 8, 4))
    built = toy_ladder.build(e, 784)
    shapes = {p.name: p.get_value().shape for p in built.params()}
    widths = [shapes[f"q_z{level}.dense2.W"][1] for level in range(1, 6)]
    assert widths == [1024, 512, 256, 128, 64]
    assert [shapes[f"p_z{level}.dense2.W"][1] for level in range(1, 5)] == widths[1:]
    assert shapes["q_z5.edge_d4.W"] == (128, 64)
    assert shapes["p_z4.edge_z5.W"] == (4, 64)
