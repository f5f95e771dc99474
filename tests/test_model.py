"""The Lasagne graph: which weights there are, how they start, which of them count as theta_y and phi_y."""

import re

import lasagne
import numpy as np
import pytest
import theano.tensor as T
import toy

from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import BatchNormLayer, RunningStatistics

D, K, Z1, Z2, WIDE, NARROW = 5, 3, 2, 6, 8, 7
NETWORKS = ("q_z1", "q_y", "q_z2", "p_y", "p_z1", "p_x")
IN = {"x": D, "y": K, "z1": Z1, "z2": Z2}
# Around z1 and x, and around z2.
WIDTHS = {
    "nodes": ((WIDE, WIDE), (NARROW, NARROW)),
    "tapered": ((WIDE, NARROW), (WIDE, NARROW)),
    "doubled": ((WIDE, WIDE), (WIDE // 2, WIDE // 2)),
    "ladder": ((WIDE // 2, WIDE // 2), (WIDE // 4, WIDE // 4)),
}
EDGES = {
    "q_z1": ("x",),
    "q_y": ("x", "z1"),
    "q_z2": ("x", "z1", "y"),
    "p_y": ("z2",),
    "p_z1": ("y", "z2"),
    "p_x": ("z1", "y"),
}
HEADS = {
    "q_z1": {"mu": Z1, "log_sigma": Z1},
    "q_y": {"logits": K},
    "q_z2": {"mu": Z2, "log_sigma": Z2},
    "p_y": {"logits": K},
    "p_z1": {"mu": Z1, "log_sigma": Z1},
    "p_x": {"logits": D},
}


def fresh(**changes):
    sizes = {"z1_dim": Z1, "z2_dim": Z2, "wide": WIDE, "narrow": NARROW, "clusters": K}
    return CaGeM(toy.experiment(**{**sizes, **changes}), D)


def expected_shapes(widths, skip):
    shapes = {}
    for name in NETWORKS:
        around_z2 = name in ("q_z2", "p_z1", "p_y")
        first, second = WIDTHS[widths][around_z2]
        for edge in EDGES[name]:
            if skip or (name, edge) != ("q_z2", "x"):
                shapes[f"{name}.edge_{edge}.W"] = (IN[edge], first)
        shapes[f"{name}.dense2.W"] = (first, second)
        for norm, units in (("bn1", first), ("bn2", second)):
            for part in ("gamma", "beta", "running_mean", "running_variance"):
                shapes[f"{name}.{norm}.{part}"] = (units,)
        for head, units in HEADS[name].items():
            shapes[f"{name}.{head}.W"], shapes[f"{name}.{head}.b"] = (second, units), (units,)
    return shapes


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "no skip"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_weights_by_name_and_shape(widths, skip):
    built = fresh(widths=widths, skip=skip)
    assert {p.name: p.get_value().shape for p in built.params()} == expected_shapes(widths, skip)
    assert len(built.params()) == len({p.name for p in built.params()})
    assert {p.dtype for p in built.params()} == {"float32"}


def test_trainable_are_all_but_the_running_averages():
    built = fresh()
    trained = {p.name for p in built.params(trainable=True)}
    assert {p.name for p in built.params()} - trained == {n for n in expected_shapes("nodes", True) if "running" in n}


@pytest.mark.parametrize(("name", "network"), [("theta_y", "p_y"), ("phi_y", "q_y")])
def test_theta_y_and_phi_y(name, network):
    shapes = expected_shapes("nodes", True)
    expected = {n for n in shapes if n.startswith(network + ".") and "running" not in n}
    assert {"logits.W", "logits.b", "bn1.gamma", "bn2.beta"} <= {n.partition(".")[2] for n in expected}
    given = [p.name for p in getattr(fresh(), name)]
    assert len(given) == len(set(given))
    assert set(given) == expected


def test_routed_are_theta_y_and_phi_y():
    built = fresh()
    assert built.routed == {*built.theta_y, *built.phi_y}
    assert len(built.routed) == len(built.theta_y) + len(built.phi_y)


@pytest.mark.parametrize(
    "changes", [{"clusters": 20}, {"z2_dim": 2}, {"clusters": 20, "class_bn": "q", "skip": False, "z2_dim": 2}], ids=str
)
def test_other_sizes_run(changes):
    built = fresh(**changes)
    e = built.experiment
    x, eps_1, eps_2 = toy.draws(built, 3)
    variables = {T.matrix(): x, T.matrix(): eps_1, T.matrix(): eps_2}
    x_in, *noise = variables
    terms = built.terms(x_in, noise, RunningStatistics())
    values = toy.compute({**terms.classifiers, "mu_z2": terms.latents["z2"].mu}, variables)
    assert values["q"].shape == values["p"].shape == (3, e.clusters)
    assert values["mu_z2"].shape == (3, e.clusters, e.z2_dim)
    assert np.exp(values["q"]).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.exp(values["p"]).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_y_edge_scale_scales_only_the_y_edges():
    plain, scaled = toy.weights_of(fresh()), toy.weights_of(fresh(y_edge_scale=5.0))
    edges = {name for name in plain if ".edge_y." in name}
    assert len(edges) == 3
    for name, value in plain.items():
        if name in edges:
            assert scaled[name] == pytest.approx(5 * value, rel=1e-6)
        else:
            assert np.array_equal(scaled[name], value), name


def test_initial_scales():
    """Glorot with a gain of sqrt(2) in hidden layers and 1 in logits; mu and log sigma almost zero."""
    built = CaGeM(toy.experiment(wide=300, narrow=200, z1_dim=64, z2_dim=32, clusters=10), 400)
    for name, value in toy.weights_of(built).items():
        if re.search(r"\.(mu|log_sigma)\.W$", name):
            scale = 1e-3
        elif name.endswith(".W"):
            scale = (1.0 if ".logits." in name else np.sqrt(2)) * np.sqrt(2 / sum(value.shape))
        elif name.endswith(("gamma", "running_variance")):
            assert (value == 1).all(), name
            continue
        else:  # beta, running_mean and the biases of heads
            assert (value == 0).all(), name
            continue
        error = scale / np.sqrt(value.size)
        assert value.mean() == pytest.approx(0, abs=5 * error), name
        assert value.std() == pytest.approx(scale, abs=5 * error), name


def test_weights_are_a_function_of_the_seed():
    one, same, other = (toy.weights_of(fresh(seed=seed)) for seed in (1, 1, 2))
    drawn = [name for name in one if name.endswith(".W")]
    for name in one:
        assert np.array_equal(one[name], same[name]), name
    assert [name for name in drawn if (one[name] == other[name]).any()] == []
    values = np.concatenate([one[name].ravel() for name in drawn])
    assert len(np.unique(values)) == len(values)  # no two layers began from one state


def test_lasagnes_generator_is_left_as_it_was():
    before = lasagne.random.get_rng()
    state = before.get_state()
    fresh()
    assert lasagne.random.get_rng() is before
    assert np.array_equal(before.get_state()[1], state[1])
    assert before.get_state()[2:] == state[2:]


@pytest.mark.parametrize("class_bn", ["uniform", "q"])
def test_class_weights_stand_on_exactly_the_networks_inside_the_class_sum(class_bn):
    built = fresh(class_bn=class_bn)
    inside = {f"{name}.{bn}" for name in ("q_z2", "p_y", "p_z1", "p_x") for bn in ("bn1", "bn2")}
    weighted = {layer.name for layer in built.batch_norms if built.q_y in layer.input_layers}
    assert weighted == (inside if class_bn == "q" else set())
    assert all(len(layer.input_layers) == 1 + (layer.name in weighted) for layer in built.batch_norms)


def test_every_hidden_layer_is_normalised_and_rectified_and_no_head_is():
    built = fresh()
    layers = lasagne.layers.get_all_layers(built.heads)
    for norm in built.batch_norms:
        above = [layer for layer in layers if getattr(layer, "input_layer", None) is norm]
        assert [layer.nonlinearity for layer in above] == [lasagne.nonlinearities.rectify], norm.name
    for head in built.heads:
        assert head.nonlinearity is lasagne.nonlinearities.identity
        assert isinstance(head.input_layer.input_layer, BatchNormLayer)
