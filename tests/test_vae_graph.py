"""The graph of the VAE with L layers: which weights and variables there are, and what an IWAE is."""

import lasagne
import numpy as np
import pytest
import theano.tensor as T
import toy
import toy_vae
from toy_step import trained

from parmesan_cagem import models
from parmesan_cagem.normalisation import BatchNormLayer, RunningStatistics

D, WIDE, NARROW = toy.X_DIM, 16, 7
LAYERS = (1, 2, 3)
# Units of both hidden layers around z1 and x, z2, z3.
WIDTHS = {
    "nodes": ((WIDE, WIDE), (NARROW, NARROW), (NARROW, NARROW)),
    "tapered": ((WIDE, NARROW),) * 3,
    "doubled": ((16, 16), (8, 8), (4, 4)),
    "ladder": ((8, 8), (4, 4), (2, 2)),
}
UNITS = (3, 4, 2)  # of z1, z2, z3: half of z2


def fresh(layers, **changes):
    return models.build(
        toy.experiment(**{**toy_vae.SIZES, "layers": layers, "wide": WIDE, "narrow": NARROW, **changes}), D
    )


def expected_shapes(layers, widths):
    """q_z1, q_z2 ... upwards, p_z1, p_z2 ... (each with the widths around the variable above it), p_x."""
    networks = {"p_x": ("z1", UNITS[0], 1, {"logits": D})}
    for level in range(1, layers + 1):
        below, fan_in = ("x", D) if level == 1 else (f"z{level - 1}", UNITS[level - 2])
        heads = {"mu": UNITS[level - 1], "log_sigma": UNITS[level - 1]}
        networks[f"q_z{level}"] = (below, fan_in, level, heads)
        if level < layers:
            networks[f"p_z{level}"] = (f"z{level + 1}", UNITS[level], level + 1, heads)
    shapes = {}
    for name, (edge, fan_in, level, heads) in networks.items():
        first, second = WIDTHS[widths][level - 1]
        shapes[f"{name}.edge_{edge}.W"], shapes[f"{name}.dense2.W"] = (fan_in, first), (first, second)
        for norm, units in (("bn1", first), ("bn2", second)):
            for part in ("gamma", "beta", "running_mean", "running_variance"):
                shapes[f"{name}.{norm}.{part}"] = (units,)
        for head, units in heads.items():
            shapes[f"{name}.{head}.W"], shapes[f"{name}.{head}.b"] = (second, units), (units,)
    return shapes


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("widths", WIDTHS)
def test_weights_by_name_and_shape(widths, layers):
    built = fresh(layers, widths=widths)
    assert {p.name: p.get_value().shape for p in built.params()} == expected_shapes(layers, widths)
    assert len(built.params()) == len({p.name for p in built.params()})
    assert {p.dtype for p in built.params()} == {"float32"}
    assert {p.name for p in built.params()} - set(trained(built)) == {
        name for name in expected_shapes(layers, widths) if "running" in name
    }


@pytest.mark.parametrize("layers", LAYERS)
def test_variables_and_what_a_vae_lacks(layers):
    built = fresh(layers)
    assert [(v.name, v.units, v.per_class) for v in built.variables] == [
        (f"z{level}", UNITS[level - 1], False) for level in range(1, layers + 1)
    ]
    assert [v.analytic for v in built.variables] == [False] * (layers - 1) + [True]
    assert built.noise_shapes(9) == [(9, v.units) for v in built.variables]
    assert (built.q_y, built.classes, built.classifiers, built.routed) == (None, 1, (), frozenset())
    assert built.class_logits(T.matrix(), RunningStatistics()) is None
    with pytest.raises(TypeError, match="VAE has no classes"):
        built.labelled(T.matrix(), T.ivector(), [], RunningStatistics())


def test_a_vae_trained_on_the_importance_weighted_bound_is_an_iwae():
    """By its name, and by nothing else in the graph."""
    one, other = fresh(2), fresh(2, model="iwae", train_iw=3)
    assert fresh(2, train_iw=3).experiment.model == "iwae"
    assert fresh(2, train_iw=3, iw_objective="averaged").experiment.model == "vae"
    weights = [toy.weights_of(built) for built in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(np.array_equal(value, weights[1][name]) for name, value in weights[0].items())


def test_every_hidden_layer_is_normalised_and_rectified_and_no_head_is():
    built = fresh(3)
    layers = lasagne.layers.get_all_layers(built.heads)
    assert len(built.batch_norms) == 12
    for norm in built.batch_norms:
        above = [layer for layer in layers if getattr(layer, "input_layer", None) is norm]
        assert [layer.nonlinearity for layer in above] == [lasagne.nonlinearities.rectify], norm.name
    for head in built.heads:
        assert head.nonlinearity is lasagne.nonlinearities.identity
        assert isinstance(head.input_layer.input_layer, BatchNormLayer)
    places = {layer.name: place for place, layer in enumerate(built.batch_norms)}
    order = ["q_z1", "q_z2", "q_z3"]
    assert sorted(order, key=lambda name: places[f"{name}.bn1"]) == order
    assert all(places[f"{name}.bn2"] > places[f"{name}.bn1"] for name in ("q_z1", "q_z3", "p_z1", "p_z2", "p_x"))
