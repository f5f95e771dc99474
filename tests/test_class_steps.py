"""Training steps of ADGM, SDGM, M2 and AVAE: the objective with labels, its gradient, and both engines."""

import functools

import avae_oracle
import class_models
import numpy as np
import pytest
import toy
from toy_step import BATCH, BYTES, LABELLED, LABELLED_BATCH, LABELS, W_P, W_Q, slopes

from parmesan_cagem import training_step
from parmesan_cagem.engines.xla.engine import XLA

SIZES = {"batch_size": 4, "labelled_batch_size": 3, "seed": 3}
TEMPERATURE = 0.6


def built_step(model, labels=True):
    labelled = (LABELLED, (W_Q, W_P), LABELS) if labels else (None, (W_Q, W_P))
    return training_step.build(model, model.experiment, BYTES, *labelled)


def steps(step, engine, labels, count):
    """What ``count`` steps return, by name, and the state after them."""
    function = engine.steps(step.inputs, list(step.outputs.values()), list(step.updates.items()), "step")
    batches = [[BATCH] * count, [LABELLED_BATCH] * count] if labels else [[BATCH] * count]
    values = [*batches, [TEMPERATURE] * count, [1e-3] * count]
    outputs = function(*(np.array(v, variable.dtype) for v, variable in zip(values, step.inputs, strict=True)))
    getattr(function, "pull", lambda: None)()
    return dict(zip(step.outputs, outputs, strict=True)), {n: v.get_value() for n, v in step.state.items()}


# With noise that NumPy knows

CASES = {
    "adgm": {},
    "adgm, own statistics, bound halved": {"labelled_bn": "own", "labelled_bound": 0.5},
    "adgm without labels": {},
    "m2": {},
}


@functools.cache
def fixed(case):
    """In float64, with FixedStreams: (model, initial weights, outputs of one step, state after it)."""
    with pytest.MonkeyPatch.context() as patch, toy.precision("float64"):
        patch.setattr(training_step, "NamedStreams", toy.FixedStreams)
        model = class_models.model(case.split()[0].strip(","), **SIZES, **CASES[case])
        weights = toy.weights_of(model)
        outputs, state = steps(built_step(model, "without" not in case), toy.ENGINE, "without" not in case, 1)
    return model, weights, {name: value[0] for name, value in outputs.items()}, state


def drawn(model, images, batch, suffix):
    probability = images[batch] / 256
    name = "binarise" + suffix
    x = (toy.fixed_noise(name, probability.shape, "uniform") < probability).astype(float)
    shapes = model.noise_shapes(len(batch), given=bool(suffix))
    noise = [toy.fixed_noise(f"eps_{v.name}{suffix}", shape) for v, shape in zip(model.variables, shapes, strict=True)]
    return x, noise


def numbers(model, weights):
    """The means that a step reports, from the oracle; the labelled pass has the statistics of the unlabelled one."""
    oracle = class_models.Oracle(model.experiment, weights)
    t = oracle.forward(*drawn(model, BYTES, BATCH, ""), "batch")
    means = {"objective": class_models.bound(t, TEMPERATURE).mean(), "F": class_models.bound(t).mean()}
    own = model.experiment.labelled_bn == "own"
    statistics = "batch" if own else dict(oracle.seen)
    t = oracle.forward(*drawn(model, LABELLED, LABELLED_BATCH, "_labelled"), statistics, y=LABELS[LABELLED_BATCH])
    return {**means, "F_labelled": class_models.labelled(t).mean(), "H_q": -t.log_q_y.mean()}


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_a_step(case):
    model, weights, outputs, state = fixed(case)
    expected = numbers(model, weights)
    if "without" in case:
        expected = {name: expected[name] for name in ("objective", "F")}
        assert not any("labelled" in name for name in state)
    for name, value in expected.items():
        assert outputs[name] == pytest.approx(value, rel=1e-9), name
    assert {name for name in outputs if not name.startswith(("KL_", "reconstruction"))} == {
        *expected,
        "usage",
        "gradient_norm_rest",
    }


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_a_step_equals_finite_differences_of_the_published_objective(case):
    """Of mean U + labelled_bound mean L - 2 mean H_q, read off Adam's first moment; the weight of H_p is for none.

    The unlabelled statistics by which the labelled pass is normalised move with the weights.
    """
    model, weights, _, state = fixed(case)
    e = model.experiment

    def loss(moved):
        n = numbers(model, moved)
        of_labels = W_Q * n["H_q"] - e.labelled_bound * n["F_labelled"]
        return {"": -n["objective"] + (0 if "without" in case else of_labels)}

    for name in (p.name for p in model.params(trainable=True)):
        gradient = state[f"adam/m/{name}"] / (1 - e.adam_beta1)
        for place, slope in slopes(loss, weights, name, entries=2).items():
            assert gradient[place] == pytest.approx(slope[""], rel=1e-4, abs=1e-6), (name, place)


# Both engines, with the random numbers of a run


@pytest.mark.parametrize("name", ["adgm", "sdgm", "m2", "avae"])
def test_both_engines_take_the_same_steps(name):
    """Three steps with labels: the same random states to the bit, the same numbers to rounding."""
    labels = name != "avae"
    model = class_models.model(name, **SIZES) if labels else avae_oracle.model(layers=2, batch_size=4, seed=3)
    step = built_step(model, labels)
    start = {variable: variable.get_value() for variable in step.state.values()}
    found = []
    for engine in (toy.ENGINE, XLA()):
        for variable, value in start.items():
            variable.set_value(value)
        found.append(steps(step, engine, labels, 3))
    (outputs, state), (outputs_x, state_x) = found
    assert ("F_labelled" in outputs) == labels
    for output, values in outputs.items():
        np.testing.assert_allclose(outputs_x[output], values, rtol=1e-3, atol=1e-4, err_msg=output)
    for part, value in state.items():
        if part.startswith("random/"):
            np.testing.assert_array_equal(state_x[part], value, err_msg=part)
        elif part.startswith("weights/"):
            # Adam's steps are 1e-3 whatever the gradient: rounding can turn those of a gradient that is nearly zero.
            distance = np.linalg.norm(state_x[part] - value)
            assert distance <= 1e-3 * max(np.linalg.norm(value), 1), part
    assert not np.array_equal(state["weights/p_x.logits.b"], start[step.state["weights/p_x.logits.b"]])
