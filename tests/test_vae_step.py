"""A training step of a VAE and of an IWAE: its numbers, gradient and state; engine c against engine xla."""

import functools

import numpy as np
import pytest
import toy
import toy_vae
from toy_step import BATCH, BYTES, Step, slopes, trained

from parmesan_cagem import training_step

SAMPLES = 3
OBJECTIVES = {
    "vae": {"model": "vae"},
    "averaged": {"model": "vae", "train_iw": SAMPLES, "iw_objective": "averaged"},
    "iwae": {"model": "iwae", "train_iw": SAMPLES},
}


@pytest.fixture(params=OBJECTIVES)
def name(request):
    return request.param


@functools.cache
def fixed(name, layers=2):
    """A step in float64 with FixedStreams, its initial weights, what one step at T = 0.6 returned, the state after."""
    with pytest.MonkeyPatch.context() as patch, toy.precision("float64"):
        patch.setattr(training_step, "NamedStreams", toy.FixedStreams)
        step = Step(labels=False, layers=layers, **{**toy_vae.SIZES, **OBJECTIVES[name]})
        weights = toy.weights_of(step.model)
        return step, weights, step(temperature=0.6), step.state()


def forward(step, weights):
    """The oracle's pass: every image binarised once, and repeated in neighbouring rows, each with noise of its own."""
    samples = step.e.train_iw
    uniform = toy.fixed_noise("binarise", (len(BATCH), toy.X_DIM), "uniform")
    binary = (uniform < BYTES[BATCH] / 256).astype(float)
    x = np.array([binary[b] for b in range(len(BATCH)) for _ in range(samples)])
    eps = [toy.fixed_noise(f"eps_{v.name}", (len(x), v.units)) for v in step.model.variables]
    oracle = toy_vae.Oracle(step.e, weights)
    return oracle.forward(x, *eps, statistics="batch"), oracle.seen


def objective(name, terms, temperature):
    weighted, averaged = toy_vae.mean_bounds(terms, 1 if name == "vae" else SAMPLES, temperature)
    return weighted if name == "iwae" else averaged


def test_outputs(name):
    """The objective: F; the mean of F over an image's samples; their log-mean-exp, of neighbouring rows."""
    step, weights, outputs, _ = fixed(name)
    terms, _ = forward(step, weights)
    assert outputs["objective"] == pytest.approx(objective(name, terms, 0.6), rel=1e-9)
    assert outputs["F"] == pytest.approx(toy_vae.bound(terms).mean(), rel=1e-9)
    expected = {
        "reconstruction": terms.p_x,
        "KL_z1": terms.q[0] - terms.p[0],
        "KL_z2": terms.kl,
        "KL_z2_sampled": terms.q[1] - terms.p[1],
    }
    for term, values in expected.items():
        assert outputs[term] == pytest.approx(values.mean(), rel=1e-9), term
    assert set(outputs) == {*expected, "objective", "F", "gradient_norm_rest"}


def test_the_three_objectives_differ():
    terms, _ = forward(*fixed("iwae")[:2])
    rows = toy_vae.bound(terms, 0.6).reshape(-1, SAMPLES)
    assert np.ptp(rows, axis=1).min() > 1e-3  # every row has noise of its own
    weighted, averaged = toy_vae.mean_bounds(terms, SAMPLES, 0.6)
    assert weighted > averaged + 1e-3
    crossed = np.mean(np.log(np.exp(rows.reshape(SAMPLES, -1)).mean(axis=0)))  # as if an image's rows lay apart
    assert abs(crossed - weighted) > 1e-3


def test_the_gradient_equals_finite_differences_of_the_objective(name):
    """Read off Adam's first moment: m = (1 - beta_1) gradient after one step."""
    step, weights, outputs, after = fixed(name)

    def loss(moved):
        return {"loss": -objective(name, forward(step, moved)[0], 0.6)}

    square = 0.0
    for weight in trained(step.model):
        gradient = after[f"adam/m/{weight}"] / (1 - step.e.adam_beta1)
        for place, slope in slopes(loss, weights, weight, entries=3).items():
            assert gradient[place] == pytest.approx(slope["loss"], rel=1e-4, abs=1e-6), (weight, place)
        square += np.sum(gradient**2)
    assert outputs["gradient_norm_rest"] == pytest.approx(np.sqrt(square), rel=1e-6)


def test_running_averages_move_once_a_step(name):
    step, weights, _, after = fixed(name)
    _, seen = forward(step, weights)
    assert len(seen) == 8
    for norm, moments in seen.items():
        for part, new in zip(("running_mean", "running_variance"), moments, strict=True):
            expected = 0.9 * weights[f"{norm}.{part}"] + 0.1 * new
            assert after[f"weights/{norm}.{part}"] == pytest.approx(expected, rel=1e-9, abs=1e-9), (norm, part)


@pytest.mark.parametrize("layers", [1, 3])
def test_every_variable_has_a_stream_of_its_own(layers):
    step = Step(labels=False, layers=layers, **{**toy_vae.SIZES, **OBJECTIVES["iwae"]})
    streams = {name for name in step.built.state if name.startswith("random/")}
    assert streams == {"random/binarise", *(f"random/eps_z{level}" for level in range(1, layers + 1))}
    before = step.state()
    step()
    after = step.state()
    assert [name for name in before if np.array_equal(before[name], after[name])] == []


def test_clipping_a_model_without_classes_takes_one_norm():
    settings = {**toy_vae.SIZES, "layers": 2}
    plain, clipped = Step(labels=False, **settings), Step(labels=False, clip_norm=0.5, **settings)
    norm = plain()["gradient_norm_rest"]
    assert norm > 0.5
    assert clipped()["gradient_norm_rest"] == pytest.approx(norm, rel=1e-5)
    one, other = plain.state(), clipped.state()
    for weight in trained(plain.model):
        expected = one[f"adam/m/{weight}"] * 0.5 / norm
        assert other[f"adam/m/{weight}"] == pytest.approx(expected, rel=1e-4, abs=1e-8), weight


# The engines


@pytest.mark.parametrize("name", ["vae", "iwae"])
def test_both_engines_take_the_same_steps(name):
    """From the same random streams: outputs, gradients, running averages and streams of two steps, to rounding."""
    pytest.importorskip("jax")
    from parmesan_cagem.engines.xla.engine import XLA

    found = []
    for engine in (toy.ENGINE, XLA()):
        step = Step(labels=False, engine=engine, layers=2, **{**toy_vae.SIZES, **OBJECTIVES[name]})
        outputs = [step(temperature=0.4), step(temperature=0.8)]
        found.append((outputs, step.state()))
    (outputs, state), (others, other_state) = found
    for one, other in zip(outputs, others, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert state.keys() == other_state.keys()
    for key, value in state.items():
        if key.startswith("random/") or key == "adam/t":
            assert np.array_equal(value, other_state[key]), key
        else:
            scale = max(np.abs(value).max(), 1e-3)
            assert other_state[key] == pytest.approx(value, rel=1e-3, abs=1e-3 * scale), key
