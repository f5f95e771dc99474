"""The benchmarks: the peers do the same mathematics, FLOPs are counted right, processes answer and sleep."""

import dataclasses
import doctest
import importlib.util
import json
import time

import numpy as np
import pytest
import toy

from benchmarks import children, contestants, flops, iw_bound, rounds, step_time
from benchmarks.peers import check
from benchmarks.problem import OUTPUTS, Problem
from parmesan_cagem.config import Experiment
from parmesan_cagem.models.cagem import CaGeM

PIXELS = 12
# Adam's epsilon is large enough to matter.
SIZES = {"wide": 8, "narrow": 6, "z1_dim": 4, "z2_dim": 3, "labels": 20, "batch_size": 16, "adam_epsilon": 1e-2}


def problem(**changes):
    e = Experiment(**{**SIZES, "labelled_batch_size": 10, **changes})
    model = CaGeM(e, PIXELS)
    toy.randomise(model, seed=1)
    weights = {p.name: p.get_value() for p in model.params()}
    rng = np.random.default_rng(3)
    images, labelled = (rng.integers(0, 256, (n, PIXELS)).astype("uint8") for n in (40, 20))
    return Problem(e, weights, images, labelled, np.arange(20, dtype="int32") % 10, (2.0, 3.0))


@pytest.fixture(scope="module")
def given():
    return problem()


@pytest.fixture(scope="module")
def reference(given):
    return check.trajectory(contestants.EngineStep(given, toy.ENGINE, given.fixed_noise()), given, given.fixed_noise())


def peer(name, given):
    if name == "jax":
        from benchmarks.peers.jax_step import JaxStep

        return JaxStep(given)
    pytest.importorskip("torch")
    from benchmarks.peers.torch_step import TorchStep

    return TorchStep(given, compiled=name == "torch-compile")


# Equality


@pytest.mark.parametrize("name", ["jax", "torch", pytest.param("torch-compile", marks=pytest.mark.slow)])
def test_a_peer_takes_the_steps_of_engine_c(name, given, reference):
    found = check.errors(reference, check.trajectory(peer(name, given), given, given.fixed_noise()))
    assert check.failures(found) == []
    assert {kind: error for kind, (error, _) in check.worst(found).items() if error > 1e-3} == {}


def test_the_check_looks_at_everything(given, reference):
    weights = set(given.trainable)
    for kind, step in (("gradients", 1), ("movements", 1), ("movements", 3)):
        assert {name for name in reference if name.startswith(f"{kind}/{step}/")} == {
            f"{kind}/{step}/{name}" for name in weights
        }
    assert {f"outputs/{step}/{name}" for step in (1, 2, 3) for name in OUTPUTS} < set(reference)
    assert all(np.linalg.norm(value) > 0 for name, value in reference.items() if name.startswith("gradients"))
    assert all(np.linalg.norm(value) > 0 for name, value in reference.items() if name.startswith("movements"))


@pytest.mark.parametrize("changes", [{"adam_epsilon": 1e-3}, {"bn_epsilon": 1e-3, "bn_momentum": 0.11}])
def test_the_check_sees_other_mathematics(changes, given, reference):
    other = dataclasses.replace(given, experiment=dataclasses.replace(given.experiment, **changes))
    assert check.failures(check.errors(reference, check.trajectory(peer("jax", other), given, given.fixed_noise())))


def test_the_check_sees_another_weight_of_the_labels(given, reference):
    other = dataclasses.replace(given, label_weights=(2.0, 2.9))
    assert check.failures(check.errors(reference, check.trajectory(peer("jax", other), given, given.fixed_noise())))


def test_nan_is_a_failure():
    found = check.errors({"outputs/1/F": np.float32(1)}, {"outputs/1/F": np.float32(np.nan)})
    kinds = {f"{kind}/x": 0.0 for kind in check.TOLERANCES}
    assert len(check.failures({**kinds, **found})) == 1


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_block_draws_new_noise_at_every_step(name, given):
    contestant = peer(name, given)
    inputs = [np.repeat(values[:1], 3, axis=0) for values in given.inputs(1)]
    inputs[-1][:] = 0  # a step size of zero: only the noise differs
    outputs = contestant.run(*inputs)
    assert tuple(sorted(outputs)) == tuple(sorted(OUTPUTS))
    assert outputs["usage"].shape == (3, 10)
    assert len(set(outputs["F"].tolist())) == 3
    assert np.ptp(outputs["F"]) < 5


def test_settings_that_the_peers_lack_are_refused():
    with pytest.raises(ValueError, match="routing"):
        peer("jax", problem(routing="full"))


# FLOPs


def dots(jaxpr):
    """FLOPs of every matrix product in a JAX program."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * int(np.prod([left[i] for i in contracted]))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += dots(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize("widths", ["nodes", "tapered"])
def test_flops_are_those_of_the_program_that_jax_traces(widths):
    import jax

    from benchmarks.peers.jax_step import Pass, unlabelled_pass

    given = problem(widths=widths)
    step = peer("jax", given)
    arguments = (step.state, step.data, given.fixed_noise(), [values[0] for values in given.inputs(1)])
    assert dots(jax.make_jaxpr(step._gather_and_step)(*arguments).jaxpr) == flops.step_flops(given.experiment, PIXELS)

    def forward(w, noise, x):
        return unlabelled_pass(Pass(w, given.experiment), x, noise["eps_z1"], noise["eps_z2"], 1.0)

    x = np.ones((given.experiment.batch_size, PIXELS), "float32")
    jaxpr = jax.make_jaxpr(forward)(step.state["weights"], given.fixed_noise(), x).jaxpr
    assert dots(jaxpr) == given.experiment.batch_size * flops.bound_flops(given.experiment, PIXELS)


def test_flops_at_the_papers_widths():
    assert flops.step_flops(Experiment(), 784) == 22_613_196_800


# Processes and rounds


def test_a_child_answers_sleeps_and_reports_its_failures():
    child = children.Child("letters", bytearray, b"abba")
    assert child.ask("count", b"b").value == 2
    time.sleep(0.2)
    assert child.ask("count", b"b").idle_cpu < 0.2
    with pytest.raises(RuntimeError, match=r"(?s)^letters: Traceback.*IndexError"):
        child.ask("pop", 9)
    before = child.peak_bytes()
    child.ask("extend", bytes(50_000_000))
    child.ask("clear")
    assert child.peak_bytes() > before + 40_000_000
    child.forget_peak()
    assert child.peak_bytes() < before + 40_000_000
    child.close()


def test_a_child_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="TypeError"):
        children.call(bytearray, "no encoding")


def test_a_child_that_died_is_a_failure():
    child = children.Child("dead", bytearray)
    child.ask("clear")
    child._process.kill()
    with pytest.raises(RuntimeError, match="dead: its process died"):
        child.ask("clear")


def test_rounds_rotate():
    order = []
    rounds.interleave({name: lambda name=name: order.append(name) or 0.0 for name in "abc"}, 3)
    assert "".join(order) == "abcbcacab"


def test_ratios_are_within_rounds():
    assert rounds.ratios([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == (2.0, 1.0, 3.0)


def test_examples():
    assert doctest.testmod(rounds).failed == 0
    assert doctest.testmod(rounds).attempted


def test_a_missing_torch_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert contestants.absent("torch").endswith("pip install torch==2.13.0")
    assert contestants.absent("torch-compile") == contestants.absent("torch")
    assert contestants.absent("jax") is None


# The programs


@pytest.mark.slow
def test_step_time(tmp_path, capsys):
    flags = ["--preset", "smoke", "--only", "c", "jax", "--batch", "20", "--rounds", "2", "--sgemm", "256"]
    assert step_time.main([*flags, "--baseline", "c", "--json", str(tmp_path / "out" / "step.json")]) == 0
    found = json.loads((tmp_path / "out" / "step.json").read_text())["batches"][0]["contestants"]
    assert set(found) == {"c", "jax"}
    assert all(len(c["seconds"]) == 2 and c["gflops"] > 0 and c["peak_bytes"] > 1e7 for c in found.values())
    assert all(found["jax"]["errors"][kind] <= limit for kind, limit in check.TOLERANCES.items())
    assert "| jax " in capsys.readouterr().out


@pytest.mark.slow
def test_step_time_refuses_to_time_other_mathematics(monkeypatch, capsys):
    monkeypatch.setitem(check.TOLERANCES, "gradients/1", 0.0)
    monkeypatch.setattr(step_time, "measure", None)
    assert step_time.main(["--preset", "smoke", "--only", "jax", "--batch", "20"]) == 1
    assert "not timed" in capsys.readouterr().err


@pytest.mark.slow
def test_iw_bound(tmp_path, capsys):
    flags = ["--preset", "smoke", "--only", "c", "--rounds", "2", "--calls", "1", "--sgemm", "256"]
    assert iw_bound.main([*flags, "--json", str(tmp_path / "bound.json")]) == 0
    found = json.loads((tmp_path / "bound.json").read_text())
    assert set(found["contestants"]) == {"bound c", "step c"}
    assert "| bound c " in capsys.readouterr().out
