"""Batch normalisation: whose statistics, what passes a gradient, and what moves the running averages."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
import toy
from lasagne.layers import InputLayer, get_output
from scipy.special import softmax

from parmesan_cagem.normalisation import (
    BatchNormLayer,
    BatchStatistics,
    GivenStatistics,
    RunningStatistics,
    running_average_updates,
    weighted_moments,
)

B, K, H = 4, 3, 2
EPSILON = 0.01  # large enough to be noticed


class Pass:
    """A layer of B*K pairs with random parameters, its inputs, and their values in one pass."""

    def __init__(self, weighted):
        rng = np.random.default_rng(0)
        rows_in, logits_in = InputLayer((None, H)), InputLayer((None, K))
        self.weighted = weighted
        self.layer = BatchNormLayer(rows_in, logits_in if weighted else None, EPSILON, name="bn")
        for param in self.layer.get_params():
            param.set_value(rng.uniform(0.5, 2.0, H).astype(param.dtype))
        self.layers = (rows_in, logits_in)
        self.rows, self.logits = T.matrix("rows"), T.matrix("logits")
        self.values = {
            self.rows: rng.normal(3, 2, size=(B * K, H)).astype("float32"),
            self.logits: rng.normal(0, 2, size=(B, K)).astype("float32"),
        }

    def output(self, statistics, rows=None, logits=None):
        inputs = dict(zip(self.layers, (self.rows if rows is None else rows, logits or self.logits), strict=True))
        return get_output(self.layer, inputs, statistics=statistics)

    def moments(self):
        rows, logits = (value.astype(float) for value in self.values.values())
        shares = softmax(logits, axis=1) if self.weighted else np.ones((B, K))
        mean, variance, total = np.zeros(H), np.zeros(H), shares.sum()
        for b in range(B):
            for c in range(K):
                mean += shares[b, c] * rows[b * K + c] / total
        for b in range(B):
            for c in range(K):
                variance += shares[b, c] * (rows[b * K + c] - mean) ** 2 / total
        return mean, variance

    def normalised(self, mean, variance, rows=None):
        gamma, beta = self.layer.gamma.get_value(), self.layer.beta.get_value()
        return gamma * ((self.values[self.rows] if rows is None else rows) - mean) / np.sqrt(variance + EPSILON) + beta

    def evaluate(self, expression, more=None):
        return toy.value(expression, {**self.values, **(more or {})})


@pytest.fixture(params=[False, True], ids=["uniform", "weighted by q(y|z1,x)"])
def one_pass(request):
    return Pass(request.param)


def test_batch_statistics(one_pass):
    statistics = BatchStatistics()
    output = one_pass.evaluate(one_pass.output(statistics))
    mean, variance = one_pass.moments()
    assert output == pytest.approx(one_pass.normalised(mean, variance), abs=1e-5)
    assert list(statistics.seen) == [one_pass.layer]
    for seen, expected in zip(statistics.seen[one_pass.layer], (mean, variance), strict=True):
        assert one_pass.evaluate(seen) == pytest.approx(expected, rel=1e-5)


def test_weights_change_the_statistics():
    plain, weighted = Pass(False).moments(), Pass(True).moments()
    assert np.abs(plain[0] - weighted[0]).min() > 0.05  # else the two cases above would be one


def test_given_statistics(one_pass):
    source = BatchStatistics()
    one_pass.output(source)
    other = T.matrix("other")
    rows = np.random.default_rng(1).normal(-5, 3, size=(2 * K, H)).astype("float32")
    output = one_pass.evaluate(one_pass.output(GivenStatistics(source), rows=other), {other: rows})
    assert output == pytest.approx(one_pass.normalised(*one_pass.moments(), rows), abs=1e-5)


def test_running_statistics(one_pass):
    output = one_pass.evaluate(one_pass.output(RunningStatistics()))
    mean, variance = one_pass.layer.running_mean.get_value(), one_pass.layer.running_variance.get_value()
    assert output == pytest.approx(one_pass.normalised(mean, variance), abs=1e-5)


def gradients(expression, wanted):
    objective = T.sum(expression * np.random.default_rng(2).normal(size=(1, H)).astype("float32"))
    return T.grad(objective, wanted, disconnected_inputs="ignore", return_disconnected="None")


def test_given_statistics_pass_no_gradient_into_their_source(one_pass):
    source, other = BatchStatistics(), T.matrix("other")
    one_pass.output(source)
    output = one_pass.output(GivenStatistics(source), rows=other)
    into_source, into_logits, into_rows = gradients(output, [one_pass.rows, one_pass.logits, other])
    assert into_source is None
    assert into_logits is None
    rows = np.ones((3, H), "float32")
    scale = one_pass.layer.gamma.get_value() / np.sqrt(one_pass.moments()[1] + EPSILON)
    expected = np.random.default_rng(2).normal(size=(1, H)) * scale * rows  # the statistics are constants
    assert one_pass.evaluate(into_rows, {other: rows}) == pytest.approx(expected, rel=1e-4)


def test_batch_statistics_pass_the_gradient_through_the_moments(one_pass):
    """The normalised rows keep their (weighted) mean whatever is added to all of them: the gradients sum to zero."""
    gradient, into_logits = gradients(one_pass.output(BatchStatistics()) ** 3, [one_pass.rows, one_pass.logits])
    value = one_pass.evaluate(gradient)
    assert np.abs(value).max() > 0.01
    assert value.sum(axis=0) == pytest.approx(0, abs=1e-4 * float(np.abs(value).max()))
    assert into_logits is None  # the weights are constants: q(y|z1,x) is not trained to make statistics convenient


@pytest.mark.parametrize("rows", [1, 5])
def test_moments_with_equal_weights_are_the_plain_ones(rows):
    a, w = T.matrix(), T.vector()
    values = {a: np.random.default_rng(0).normal(size=(rows, H)).astype("float32"), w: np.full(rows, 0.3, "float32")}
    plain = [toy.value(m, values) for m in weighted_moments(a, None)]
    assert plain[0] == pytest.approx(values[a].mean(axis=0), abs=1e-6)
    assert plain[1] == pytest.approx(values[a].var(axis=0), abs=1e-6)
    for one, other in zip(plain, weighted_moments(a, w), strict=True):
        assert toy.value(other, values) == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize("momentum", [0.1, 0.75])
def test_running_averages_move_by_the_momentum(one_pass, momentum):
    statistics, layer = BatchStatistics(), one_pass.layer
    output = one_pass.output(statistics)
    expected = [layer.running_mean.get_value(), layer.running_variance.get_value()]
    updates = running_average_updates(statistics, momentum)
    assert set(updates) == {layer.running_mean, layer.running_variance}
    function = theano.function(
        list(one_pass.values), output, updates=updates, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    for _ in range(3):
        function(*one_pass.values.values())
        moments = one_pass.moments()
        expected = [(1 - momentum) * old + momentum * new for old, new in zip(expected, moments, strict=True)]
        assert layer.running_mean.get_value() == pytest.approx(expected[0], rel=1e-5)
        assert layer.running_variance.get_value() == pytest.approx(expected[1], rel=1e-5)


def test_a_pass_without_batch_statistics_updates_nothing(one_pass):
    source = BatchStatistics()
    one_pass.output(source)
    before = dict(source.seen)
    one_pass.output(GivenStatistics(source), rows=T.matrix())
    assert source.seen == before
    assert running_average_updates(BatchStatistics(), 0.1) == {}


def test_only_gain_and_bias_are_trained(one_pass):
    layer = one_pass.layer
    assert layer.get_params(trainable=True) == [layer.gamma, layer.beta]
    assert set(layer.get_params()) == {layer.gamma, layer.beta, layer.running_mean, layer.running_variance}
    fresh = BatchNormLayer(InputLayer((None, H)))
    assert [param.get_value().tolist() for param in fresh.get_params()] == [[1, 1], [0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("changes", [{}, {"class_bn": "q"}, {"skip": False}], ids=str)
def test_batch_norms_stand_after_all_that_they_depend_on(changes):
    built = toy.model(**changes)
    norms = built.batch_norms
    assert len(norms) == len(set(norms)) == 12
    for place, layer in enumerate(norms):
        needed = {other for other in lasagne.layers.get_all_layers(layer) if isinstance(other, BatchNormLayer)}
        assert needed <= set(norms[: place + 1]), layer.name
    depends = {layer.name: len(lasagne.layers.get_all_layers(layer)) for layer in norms}
    assert depends["q_z1.bn1"] < depends["q_y.bn1"]
    order = [layer.name for layer in norms]
    assert order.index("q_z1.bn2") < order.index("q_y.bn1")
    assert order.index("q_z1.bn2") < order.index("q_z2.bn1")
    assert order.index("q_z2.bn2") < min(order.index("p_y.bn1"), order.index("p_z1.bn1"))
    if built.experiment.class_bn == "q":  # q(y|z1,x) weights the rows of these
        assert order.index("q_y.bn2") < min(order.index(f"{name}.bn1") for name in ("q_z2", "p_y", "p_z1", "p_x"))


def test_one_pass_normalises_every_layer_by_its_own_statistics():
    """The whole model under batch statistics, weighted and not, against NumPy: each of the twelve layers."""
    for class_bn in ("uniform", "q"):
        built = toy.model(class_bn=class_bn)
        x, eps_1, eps_2 = toy.draws(built, 6)
        variables = {T.matrix(): x, T.matrix(): eps_1, T.matrix(): eps_2}
        statistics = BatchStatistics()
        x_in, *noise = variables
        built.terms(x_in, noise, statistics)
        oracle = toy.Oracle.of(built)
        oracle.forward(x, eps_1, eps_2, "batch")
        seen = toy.compute({(m, n.name): pair[m] for n, pair in statistics.seen.items() for m in (0, 1)}, variables)
        assert len(seen) == 24
        for (moment, name), value in seen.items():
            assert value == pytest.approx(oracle.seen[name][moment], rel=1e-3, abs=1e-4), (class_bn, name)
