"""The numbers of a training step, its state and its gradients, with and without labels."""

import functools

import numpy as np
import pytest
import theano
import theano.tensor as T
import toy
from scipy.special import logsumexp
from toy_step import (
    BATCH,
    BYTES,
    LABELLED,
    LABELLED_BATCH,
    LABELS,
    W_P,
    W_Q,
    Step,
    differing,
    in_networks,
    reached_by_labels,
    slopes,
    start,
    trained,
)

from parmesan_cagem import training_step
from parmesan_cagem.randomness import NamedStreams

# Its state


def test_the_step_changes_all_of_its_state_and_nothing_else():
    step = start()
    variables = list(step.built.state.values())
    assert len(variables) == len(set(variables))
    assert set(step.built.updates) == set(variables)
    before = step.state()
    step()
    assert differing(before, step.state()) == set(before)
    names = {p.name for p in step.model.params(trainable=True)}
    expected = {f"weights/{p.name}" for p in step.model.params()}
    expected |= {f"adam/{moment}/{name}" for moment in "mv" for name in names} | {"adam/t"}
    assert {name for name in before if not name.startswith("random/")} == expected


def test_steps_are_a_function_of_the_state():
    step = start()
    before = step.state()
    first = step()
    middle = step.state()
    second = step()
    assert first["F"] != second["F"]
    step.restore(middle)
    assert differing(step(), second) == set()
    step.restore(before)
    assert differing(step(), first) == set()


# Labels 0


def test_without_labels_no_labelled_pass_is_built():
    with_labels, without = start(), start(labels=False)
    assert [v.name for v in without.built.inputs] == ["batch", "temperature", "learning_rate"]
    assert [v.name for v in with_labels.built.inputs] == ["batch", "labelled_batch", "temperature", "learning_rate"]
    assert set(with_labels.built.outputs) - set(without.built.outputs) == {"H_q", "H_p"}
    streams = [{name for name in step.built.state if name.startswith("random/")} for step in (with_labels, without)]
    assert streams[1] == {"random/binarise", "random/eps_z1", "random/eps_z2"}
    assert streams[0] - streams[1] == {"random/binarise_labelled", "random/eps_z1_labelled", "random/eps_z2_labelled"}


def test_labels_do_not_disturb_the_unlabelled_pass():
    """Bitwise: the same noise and the same bound in the first step, and the same new weights outside."""
    with_labels, without = start(), start(labels=False)
    one, other = with_labels(), without()
    for name in other:
        assert np.array_equal(one[name], other[name]) == (name != "gradient_norm_y"), name
    after = without.state()
    mine = {name: value for name, value in with_labels.state().items() if name in after}
    assert {n for n in differing(mine, after) if "adam" in n} == {
        n for n in reached_by_labels(with_labels) if "adam" in n
    }
    assert differing(mine, after) <= reached_by_labels(with_labels)


# The numbers of a step, with noise that NumPy knows


def binary(images, batch, name):
    probability = images[batch] / 256
    return (toy.fixed_noise(name, probability.shape, "uniform") < probability).astype(float)


def noisy(suffix, count, e):
    shapes = (("eps_z1", (count, e.z1_dim)), ("eps_z2", (count * e.clusters, e.z2_dim)))
    return [toy.fixed_noise(name + suffix, shape) for name, shape in shapes]


@functools.cache
def fixed(**changes):
    """A step in float64 with FixedStreams, its initial weights, what one step returned and the state after it."""
    with pytest.MonkeyPatch.context() as patch, toy.precision("float64"):
        patch.setattr(training_step, "NamedStreams", toy.FixedStreams)
        step = Step(**changes)
        weights = toy.weights_of(step.model)
        outputs = step(temperature=0.6)
        after = step.state()
        step(temperature=0.6)
        return step, weights, outputs, after, step.state()


FIXED = [{}, {"labelled_bn": "own"}, {"class_bn": "q"}, {"labels": False}, {"tempered": "z"}]


def passes(e, weights):
    """The oracle's unlabelled pass, its statistics, and the labelled draws."""
    oracle = toy.Oracle(e, weights)
    x = binary(BYTES, BATCH, "binarise").repeat(e.train_iw, axis=0)
    terms = oracle.forward(x, *noisy("", len(x), e), "batch")
    statistics = dict(oracle.seen)
    x_l = binary(LABELLED, LABELLED_BATCH, "binarise_labelled")
    return oracle, terms, statistics, (x_l, *noisy("_labelled", len(x_l), e))


def labelled_terms(oracle, labelled, statistics):
    log_q, log_p = toy.classifiers(oracle.forward(*labelled, statistics))
    y = LABELS[LABELLED_BATCH]
    return {"H_q": -np.mean(log_q[range(3), y]), "H_p": -np.mean(log_p[range(3), y])}


@pytest.mark.parametrize("changes", FIXED, ids=str)
def test_outputs_of_a_step(changes):
    step, weights, outputs, _, _ = fixed(**changes)
    oracle, terms, statistics, labelled = passes(step.e, weights)
    of_y = 1.0 if step.e.tempered == "z" else 0.6
    expected = {"objective": toy.bound(terms, 0.6, of_y).mean(), "F": toy.bound(terms).mean()}
    if step.labels:
        own = step.e.labelled_bn == "own"
        expected.update(labelled_terms(oracle, labelled, "batch" if own else statistics))
    for name, value in expected.items():
        assert outputs[name] == pytest.approx(value, rel=1e-9), name
    assert outputs["usage"] == pytest.approx(np.exp(terms.q_y).mean(axis=0), rel=1e-9)
    parts = [outputs[name] for name in ("reconstruction", "KL_z1", "KL_y", "KL_z2_sampled")]
    assert parts[0] - sum(parts[1:]) == pytest.approx(outputs["F"], rel=1e-9)
    assert set(outputs) == {*expected, "usage", "gradient_norm_y", "gradient_norm_rest"} | {
        "reconstruction",
        "KL_z1",
        "KL_y",
        "KL_z2",
        "KL_z2_sampled",
    }


@pytest.mark.parametrize("changes", FIXED, ids=str)
def test_running_averages_move_once_a_step_and_by_the_unlabelled_pass_only(changes):
    step, weights, _, after, after_two = fixed(**changes)
    for start_of, end in ((weights, after), ({n.removeprefix("weights/"): v for n, v in after.items()}, after_two)):
        _, _, statistics, _ = passes(step.e, start_of)
        assert len(statistics) == 12
        for name, (mean, variance) in statistics.items():
            for part, new in (("running_mean", mean), ("running_variance", variance)):
                expected = 0.9 * start_of[f"{name}.{part}"] + 0.1 * new
                assert end[f"weights/{name}.{part}"] == pytest.approx(expected, rel=1e-9, abs=1e-9), (name, part)


@pytest.mark.parametrize("changes", [{}, {"labels": False}, {"train_iw": 2, "labelled_bn": "own"}], ids=str)
def test_the_gradient_of_a_step_equals_finite_differences_of_the_objective(changes):
    """Of mean F - 2 mean H_q - 3 mean H_p, read off Adam's first moment: m = (1 - beta_1) gradient after one step.

    The statistics of the unlabelled pass move with the weights in F and are constants in H (but not its own ones).
    """
    step, weights, outputs, after, _ = fixed(**changes)
    e = step.e
    _, _, held, _ = passes(e, weights)

    def losses(moved):
        oracle, terms, _, labelled = passes(e, moved)
        if e.train_iw == 1:
            loss = {"unlabelled": -toy.bound(terms, 0.6).mean(), "labelled": 0.0}
        else:
            blocks = toy.log_weight(terms, 0.6).reshape(-1, e.train_iw)
            loss = {"unlabelled": -(logsumexp(blocks, axis=1) - np.log(e.train_iw)).mean(), "labelled": 0.0}
        if step.labels:
            h = labelled_terms(oracle, labelled, "batch" if e.labelled_bn == "own" else held)
            loss["labelled"] = W_Q * h["H_q"] + W_P * h["H_p"]
        return loss

    squares = {"gradient_norm_y": 0.0, "gradient_norm_rest": 0.0}
    for name in trained(step.model):
        routed = in_networks(name, "p_y", "q_y")
        gradient = after[f"adam/m/{name}"] / (1 - e.adam_beta1)
        for place, slope in slopes(losses, weights, name, entries=3).items():
            expected = slope["unlabelled"] + (slope["labelled"] if routed else 0)
            assert gradient[place] == pytest.approx(expected, rel=1e-4, abs=1e-6), (name, place)
        squares["gradient_norm_y" if routed else "gradient_norm_rest"] += np.sum(gradient**2)
        assert after[f"adam/v/{name}"] == pytest.approx(gradient**2 * (1 - e.adam_beta2), rel=1e-6, abs=1e-15), name
        moved = weights[name] - 1e-3 * gradient / (np.abs(gradient) + e.adam_epsilon / np.sqrt(1 - e.adam_beta2))
        assert after[f"weights/{name}"] == pytest.approx(moved, rel=1e-9, abs=1e-9), name
    for name, value in squares.items():
        assert outputs[name] == pytest.approx(np.sqrt(value), rel=1e-6)


def test_clipping_takes_the_two_norms_apart():
    plain, clipped = fixed(), fixed(clip_norm=1.0)
    for name in trained(plain[0].model):
        norm = plain[2]["gradient_norm_y" if in_networks(name, "p_y", "q_y") else "gradient_norm_rest"]
        assert norm > 1
        moment = f"adam/m/{name}"
        assert clipped[3][moment] == pytest.approx(plain[3][moment] / norm, rel=1e-5, abs=1e-12), name
        assert clipped[2]["gradient_norm_y"] == pytest.approx(plain[2]["gradient_norm_y"])


@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_importance_weighted_objective(temperature):
    """The mean over images of log mean_s w_s: rows of one image are neighbours, each with its own noise."""
    step, weights, _, _, _ = fixed(train_iw=2, labelled_bn="own")
    for name, value in weights.items():
        step.built.state[f"weights/{name}"].set_value(value)
    outputs = step(temperature=temperature)
    _, terms, _, _ = passes(step.e, weights)
    log_weights = toy.log_weight(terms, temperature)
    expected = np.mean([np.log((np.exp(log_weights[2 * b]) + np.exp(log_weights[2 * b + 1])) / 2) for b in range(4)])
    assert outputs["objective"] == pytest.approx(expected, rel=1e-9)
    assert outputs["F"] == pytest.approx(toy.bound(terms).mean(), rel=1e-9)
    assert np.abs(log_weights[::2] - log_weights[1::2]).min() > 1e-3


@pytest.mark.parametrize("scale", [256.0, 510.0])
def test_images_are_binarised_afresh_at_every_step(scale):
    """A pixel v is 1 with probability v / pixel_scale, drawn anew for the same image."""
    e, batch, calls = toy.experiment(pixel_scale=scale), T.ivector(), 300
    streams = NamedStreams(e.seed)
    x = training_step._binary_batch(BYTES, batch, e, streams, "binarise", len(BATCH))
    function = theano.function([batch], x, updates=list(streams.updates()), mode="FAST_COMPILE")
    draws = np.stack([function(BATCH) for _ in range(calls)])
    assert draws.dtype == theano.config.floatX
    assert set(np.unique(draws)) == {0.0, 1.0}
    p = BYTES[BATCH] / scale
    assert (np.abs(draws.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / calls)).all()
    assert len(np.unique(draws.reshape(calls, -1), axis=0)) > 0.9 * calls
