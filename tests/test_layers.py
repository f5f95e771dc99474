"""The sampling layer and the class axis, against loops in NumPy."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
import toy
from lasagne.layers import InputLayer, get_output
from theano.graph.basic import ancestors
from theano.tensor.basic import Dot

from parmesan_cagem import objectives
from parmesan_cagem.layers import ClassSumLayer, SampleLayer, split_pairs
from parmesan_cagem.normalisation import RunningStatistics

H, K = 4, 3


def operations(variable):
    return {type(v.owner.op).__name__ for v in ancestors([variable]) if v.owner}


def test_sample_layer_is_mu_plus_sigma_eps():
    inputs = {InputLayer((None, 2)): T.matrix() for _ in range(3)}
    layer = SampleLayer(*inputs)
    mu, log_sigma, eps = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    z = toy.value(get_output(layer, inputs), zip(inputs.values(), (mu, log_sigma, eps), strict=True))
    for row in range(5):
        for d in range(2):
            assert z[row, d] == pytest.approx(mu[row, d] + np.exp(log_sigma[row, d]) * eps[row, d], rel=1e-6)
    assert layer.output_shape == (None, 2)
    assert lasagne.layers.get_all_params(layer) == []


def test_sample_layer_is_differentiable_in_mu_and_sigma():
    inputs = {InputLayer((None, 1)): T.matrix() for _ in range(3)}
    mu, log_sigma, eps = inputs.values()
    values = {mu: [[2.0]], log_sigma: [[0.5]], eps: [[-1.5]]}
    gradients = T.grad(T.sum(get_output(SampleLayer(*inputs), inputs)), [mu, log_sigma])
    assert [toy.value(gradient, values).item() for gradient in gradients] == pytest.approx(
        [1.0, -1.5 * np.exp(0.5)], rel=1e-6
    )


def class_sum(kinds):
    """A layer with edges of these kinds, its expression's inputs and the edges' kinds in the layer's order."""
    edges = [(kind, InputLayer((None, H)), T.matrix(f"{kind}{i}")) for i, kind in enumerate(kinds)]
    of = {kind: [layer for k, layer, _ in edges if k == kind] for kind in ("image", "class", "pair")}
    return ClassSumLayer(of["image"], of["class"], of["pair"], K), edges


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    "kinds",
    [("image", "class"), ("class", "pair"), ("image", "image", "class"), ("image", "class", "pair"), ("pair", "pair")],
    ids="+".join,
)
def test_class_sum_over_all_classes(kinds, batch):
    layer, edges = class_sum(kinds)
    rng, rows = np.random.default_rng(0), {"image": batch, "class": K, "pair": batch * K}
    values = {variable: rng.normal(size=(rows[kind], H)).astype("float32") for kind, _, variable in edges}
    output = toy.value(get_output(layer, {incoming: variable for _, incoming, variable in edges}), values)
    assert output.shape == (batch * K, H)
    for b in range(batch):
        for c in range(K):
            for h in range(H):
                place = {"image": b, "class": c, "pair": b * K + c}
                expected = sum(values[variable][place[kind], h] for kind, _, variable in edges)
                assert output[b * K + c, h] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kinds", [("image", "class"), ("class", "pair"), ("image", "class", "pair")], ids="+".join)
def test_class_sum_with_a_given_class(kinds):
    layer, edges = class_sum(kinds)
    rng = np.random.default_rng(0)
    values = {variable: rng.normal(size=(5, H)).astype("float32") for _, _, variable in edges}
    output = get_output(layer, {incoming: variable for _, incoming, variable in edges}, classes="given")
    assert toy.value(output, values) == pytest.approx(sum(values.values()), rel=1e-5, abs=1e-6)


def test_class_sum_copies_no_input():
    layer, edges = class_sum(("image", "class", "pair"))
    output = get_output(layer, {incoming: variable for _, incoming, variable in edges})
    used = operations(output)
    assert used <= {
        "DimShuffle",
        "Elemwise",
        "Reshape",
        "Shape",
        "Shape_i",
        "Subtensor",
        "MakeVector",
        "ScalarFromTensor",
    }
    # A tiling is what the next line finds.
    assert operations(T.tile(edges[0][2], (3, 1))) - used


def test_inputs_are_projected_before_the_class_axis():
    """x and z1 once an image, y once a class; only what depends on z2 or lies above the sum once a pair."""
    built, batch = toy.model(), 5
    x, eps_1, eps_2 = toy.draws(built, batch)
    variables = {T.matrix(): x, T.matrix(): eps_1, T.matrix(): eps_2}
    x_in, *noise = variables
    f = objectives.bound(built.terms(x_in, noise, RunningStatistics()))
    products = [v for v in ancestors([f]) if v.owner and isinstance(v.owner.op, Dot)]
    names = [next(i.name for i in v.owner.inputs if isinstance(i, theano.compile.SharedVariable)) for v in products]
    rows = toy.compute({name: v.shape[0] for name, v in zip(names, products, strict=True)}, variables)
    k = built.classes
    expected = {"edge_x": batch, "edge_z1": batch, "edge_y": k, "edge_z2": batch * k}
    once = ("q_z1.", "q_y.")
    assert len(rows) == len(products) == len([p for p in built.params() if p.name.endswith("W")])
    for name, count in rows.items():
        default = batch if name.startswith(once) else batch * k
        assert count == expected.get(name.split(".")[1], default), name


@pytest.mark.parametrize("tail", [(), (4,)])
def test_split_pairs_is_image_major(tail):
    rows = np.arange(6 * int(np.prod(tail)), dtype="float32").reshape(6, *tail)
    variable = T.vector() if tail == () else T.matrix()
    split = toy.value(split_pairs(variable, K), {variable: rows})
    assert split.shape == (2, K, *tail)
    for b in range(2):
        for c in range(K):
            assert np.array_equal(split[b, c], rows[b * K + c])
