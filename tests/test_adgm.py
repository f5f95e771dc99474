"""ADGM and SDGM: their weights, what a changes and what not, and log p(x) at large k."""

import itertools

import class_models
import numpy as np
import pytest
import theano.tensor as T
import toy
from convergence import IMAGES, SAMPLES, assert_converged, broad, standard
from scipy.integrate import trapezoid
from scipy.stats import norm
from toy_bounds import ESTIMATORS

from parmesan_cagem import models
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import RunningStatistics

WIDE, NARROW = 9, 8
UNITS = {"x": 5, "y": 3, "a": 4, "z1": 2}
EDGES = {
    "adgm": {
        **{"q_a": ("x",), "q_y": ("x", "a"), "q_z1": ("x", "a", "y")},
        **{"p_a": ("x", "y", "z1"), "p_x": ("y", "z1")},
    },
    "sdgm": {
        **{"q_a": ("x",), "q_y": ("x", "a"), "q_z1": ("x", "a", "y")},
        **{"p_a": ("y", "z1"), "p_x": ("a", "y", "z1")},
    },
    "m2": {"q_y": ("x",), "q_z1": ("x", "y"), "p_x": ("y", "z1")},
}


@pytest.mark.parametrize("name", class_models.NAMES)
def test_weights_by_name_and_shape(name):
    """Wide networks for q(a|x), q(y|.) and p(x|.), narrow ones for q(z|.) and p(a|.)."""
    expected = {}
    for network, edges in EDGES[name].items():
        width, v = NARROW if network in ("q_z1", "p_a") else WIDE, network.partition("_")[2]
        for edge in edges:
            expected[f"{network}.edge_{edge}.W"] = (UNITS[edge], width)
        expected[f"{network}.dense2.W"] = (width, width)
        for part in itertools.product(("bn1", "bn2"), ("gamma", "beta", "running_mean", "running_variance")):
            expected[".".join((network, *part))] = (width,)
        for head in ("logits",) if v in ("x", "y") else ("mu", "log_sigma"):
            expected[f"{network}.{head}.W"], expected[f"{network}.{head}.b"] = (width, UNITS[v]), (UNITS[v],)
    built = models.build(class_models.experiment(name, wide=WIDE, narrow=NARROW), UNITS["x"])
    assert {p.name: p.get_value().shape for p in built.params()} == expected
    assert len(built.params()) == len(expected)


@pytest.mark.parametrize("name", class_models.NAMES)
def test_what_training_and_evaluation_know_of_it(name):
    built = class_models.model(name)
    first = [("a", False, False)] if name in class_models.WITH_A else []
    assert [(v.name, v.per_class, v.analytic) for v in built.variables] == [*first, ("z1", True, True)]
    assert (built.classes, built.classifiers, built.labelled_sums_over_y) == (3, ("q",), False)
    assert built.routed == frozenset()
    rows = [(2, 4)] if first else []
    assert built.noise_shapes(2) == [*rows, (6, 2)]
    assert built.noise_shapes(2, given=True) == [*rows, (2, 2)]


def test_its_networks_are_as_wide_as_cagems():
    """Layer for layer: a in place of CaGeM's z1, z in place of its z2."""
    sizes = {"wide": WIDE, "narrow": NARROW, "z1_dim": 4, "z2_dim": 4}
    cagem = CaGeM(toy.experiment(**sizes), 5)
    adgm = models.build(class_models.experiment("adgm", wide=WIDE, narrow=NARROW, z1_dim=4), 5)
    shapes = [{p.name: p.get_value().shape for p in one.params()} for one in (cagem, adgm)]
    for mine, theirs in (("q_a", "q_z1"), ("q_y", "q_y"), ("q_z1", "q_z2"), ("p_a", "p_z1"), ("p_x", "p_x")):
        assert shapes[1][f"{mine}.dense2.W"] == shapes[0][f"{theirs}.dense2.W"], mine
        heads = [n for n in shapes[1] if n.startswith(f"{mine}.") and n.split(".")[1] in ("mu", "log_sigma", "logits")]
        for name in heads:
            assert shapes[1][name] == shapes[0][name.replace(mine, theirs)], name


@pytest.mark.parametrize(("name", "moves"), [("adgm", False), ("sdgm", True)])
def test_generated_images_know_a_in_the_skip_variant_only(name, moves):
    built = class_models.model(name)
    _, (eps_a, eps_z) = class_models.draws(built, 3, given=True)
    a, z, y = T.matrix(), T.matrix(), T.matrix()
    logits = built.generate([a, z], RunningStatistics(), y)
    one, other = (
        toy.ENGINE.function([a, z, y], [logits], "p(x|.)")(
            *(v.astype("float32") for v in (sign * eps_a, eps_z, np.eye(3)))
        )
        for sign in (1, -1)
    )
    assert np.array_equal(one[0], other[0]) != moves


# log p(x) at large k

Z, A = np.linspace(-8, 8, 401)[:, None], np.linspace(-15, 15, 501)[:, None]


def true_log_p(built):
    """p(x) = sum_y 1/K int p(z) p(x|y,z), and with the skip variant int p(z) p(a|y,z) p(x|a,y,z): a in no other."""
    oracle, p = class_models.Oracle.of(built), np.zeros(len(IMAGES))
    for c in range(3):
        y = oracle.one_hot([c] * len(Z))
        if built.experiment.model == "sdgm":
            mu, log_sigma = oracle.p_a(y, Z, None)
            weights = standard(Z)[:, None] * norm.pdf(A[:, 0][None, :], mu, np.exp(log_sigma))  # (z, a)
            rows = [values.repeat(len(A), axis=0) for values in (y, Z)]
            logits = oracle.p_x(*rows, a=np.tile(A, (len(Z), 1)))
        else:
            weights, logits = standard(Z), oracle.p_x(y, Z)
        for i, x in enumerate(IMAGES):
            given = np.exp(toy.log_bernoulli(x, logits)).reshape(weights.shape)
            of_z = weights * given if weights.ndim == 1 else trapezoid(weights * given, A[:, 0], axis=1)
            p[i] += trapezoid(of_z, Z[:, 0]) / 3
    return np.log(p)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", class_models.NAMES)
def test_the_bound_converges_to_log_p(name, estimator):
    a = {"a_dim": 1} if name in class_models.WITH_A else {}
    built = broad(class_models.model(name, x_dim=3, z1_dim=1, **a))
    e = class_models.experiment(name, z1_dim=1, **a, iw_samples=SAMPLES, estimator=estimator)
    assert_converged(built, e, true_log_p(built))
