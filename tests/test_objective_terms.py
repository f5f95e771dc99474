"""The bound and its parts from terms that no model made: formulas in NumPy, with a loop over the classes.

Three variables: ``a`` is drawn before y (its log q has no class axis), ``z`` after it, for every class.
"""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import theano.tensor as T
import toy
from scipy.special import log_softmax

from parmesan_cagem import objectives
from parmesan_cagem.models.networks import Variable
from parmesan_cagem.models.terms import Latent, Terms

B, K, D = 3, 4, 2
CLOSE = {"rel": 1e-12, "abs": 1e-12}


def numbers():
    """Names as in ``Latent``; p(a|.) depends on the class, as in an auxiliary model."""
    rng = np.random.default_rng(5)
    found = {name: rng.normal(size=(B, K)) for name in ("p_x", "a.log_p", "y.log_p", "z.log_p", "z.log_q", "z.kl")} | {
        "a.log_q": rng.normal(size=B),
        "a.mu": rng.normal(size=(B, D)),
        "z.mu": rng.normal(size=(B, K, D)),
    }
    return {**found, "y.log_q": log_softmax(rng.normal(size=(B, K)), axis=1)}


def made(classes):
    """Terms of symbolic inputs, and these inputs with their values; without classes those of one class, without y."""
    values = numbers()
    if not classes:
        values = {name: value if name.startswith("a.") else value[:, 0] for name, value in values.items()}
        values["a.log_p"] = values["a.log_p"][:, 0]
        del values["y.log_p"], values["y.log_q"]
    variables = {name: T.TensorType("float64", [False] * value.ndim)(name) for name, value in values.items()}
    latents = {
        one: Latent(**{part: variables[f"{one}.{part}"] for part in parts if f"{one}.{part}" in variables})
        for one, parts in {
            "a": ("log_p", "log_q", "mu"),
            "y": ("log_p", "log_q"),
            "z": ("log_p", "log_q", "mu", "kl"),
        }.items()
        if f"{one}.log_p" in variables
    }
    return Terms(variables["p_x"], latents, {}), {variables[name]: value for name, value in values.items()}


@functools.cache
def results(classes):
    with toy.precision("float64"):
        terms, inputs = made(classes)
        outputs = {("F", t): objectives.bound(terms, t) for t in (0.0, 0.3, 1.0)} | {
            ("w", t): objectives.log_weight(terms, t) for t in (0.0, 0.3, 1.0)
        }
        outputs |= {"F": objectives.bound(terms), "w": objectives.log_weight(terms)}
        parts = objectives.decomposition(terms)
        outputs |= {("part", name): part for name, part in parts.items()}
        outputs |= {("mean", name): objectives.posterior_mean(terms, name) for name in ("a", "z")}
        if classes:
            outputs["log p(y)"] = objectives.expected_log_p_y(terms)
        return toy.compute(outputs, inputs), list(parts)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_bound_and_weight_with_a_class(t):
    found, _ = results(True)
    n = numbers()
    for b in range(B):
        bound, weight = -t * n["a.log_q"][b], 0.0
        for k in range(K):
            latent = sum(n[f"{v}.log_p"][b, k] for v in "ayz") - n["z.log_q"][b, k] - n["y.log_q"][b, k]
            each = n["p_x"][b, k] + t * latent
            bound += np.exp(n["y.log_q"][b, k]) * each
            weight += np.exp(n["y.log_q"][b, k] + each)
        assert found["F", t][b] == pytest.approx(bound, **CLOSE)
        assert found["w", t][b] == pytest.approx(np.log(weight) - t * n["a.log_q"][b], **CLOSE)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_bound_and_weight_without_a_class(t):
    found, _ = results(False)
    n = numbers()
    latent = n["a.log_p"][:, 0] + n["z.log_p"][:, 0] - n["a.log_q"] - n["z.log_q"][:, 0]
    for name in ("F", "w"):  # one sample's weight is its bound
        assert found[name, t] == pytest.approx(n["p_x"][:, 0] + t * latent, **CLOSE)


@pytest.mark.parametrize("classes", [True, False])
def test_no_temperature_is_one(classes):
    found, _ = results(classes)
    for name in ("F", "w"):
        assert np.array_equal(found[name], found[name, 1.0])
        assert found[name].shape == (B,)


def test_parts_with_a_class():
    found, order = results(True)
    n = numbers()
    q = np.exp(n["y.log_q"])
    expected = {
        "reconstruction": (q * n["p_x"]).sum(axis=1),
        "KL_a": n["a.log_q"] - (q * n["a.log_p"]).sum(axis=1),
        "KL_z": (q * n["z.kl"]).sum(axis=1),
        "KL_z_sampled": (q * (n["z.log_q"] - n["z.log_p"])).sum(axis=1),
        "KL_y": (q * (n["y.log_q"] - n["y.log_p"])).sum(axis=1),
    }
    assert order == list(expected)  # y last
    for name, value in expected.items():
        assert found["part", name] == pytest.approx(value, **CLOSE), name
    exact = sum(found["part", name] for name in ("KL_a", "KL_z_sampled", "KL_y"))
    assert found["part", "reconstruction"] - exact == pytest.approx(found["F"], **CLOSE)
    assert found["log p(y)"] == pytest.approx((q * n["y.log_p"]).sum(axis=1), **CLOSE)
    assert found["mean", "a"] == pytest.approx(n["a.mu"], **CLOSE)
    assert found["mean", "z"] == pytest.approx((q[:, :, None] * n["z.mu"]).sum(axis=1), **CLOSE)


def test_parts_without_a_class():
    found, order = results(False)
    n = numbers()
    expected = {
        "reconstruction": n["p_x"][:, 0],
        "KL_a": n["a.log_q"] - n["a.log_p"][:, 0],
        "KL_z": n["z.kl"][:, 0],
        "KL_z_sampled": n["z.log_q"][:, 0] - n["z.log_p"][:, 0],
    }
    assert order == list(expected)
    for name, value in expected.items():
        assert found["part", name] == pytest.approx(value, **CLOSE), name
    assert found["mean", "z"] == pytest.approx(n["z.mu"][:, 0], **CLOSE)


@pytest.mark.parametrize(("q_y", "last"), [(object(), ("KL_y",)), (None, ())])
def test_the_parts_names_are_those_of_the_model(q_y, last):
    model = SimpleNamespace(q_y=q_y, variables=(Variable("z1", 2, None), Variable("z2", 2, None, analytic=True)))
    assert objectives.term_names(model) == ("reconstruction", "KL_z1", "KL_z2", "KL_z2_sampled", *last)


# One sample of y


class Chosen:
    """A model whose terms are what ``sampled_log_weight`` asked for; q(y|x) = softmax(x)."""

    classes = K
    variables = (Variable("z1", D, "eps of z1"), Variable("z2", D, "eps of z2", per_class=True))

    def terms(self, x, noise, statistics, y):
        self.asked = x, noise, statistics
        return Terms(T.sum(y * T.arange(K), axis=1) + 10 * T.sum(y, axis=1), {}, {})


@pytest.fixture
def chosen(monkeypatch):
    """The class that is drawn for every image, as a function of x and the uniform numbers."""
    model = Chosen()
    model.x, model.q_y = object(), object()

    def get_output(layer, inputs, statistics):
        assert layer is model.q_y
        assert set(inputs) == {model.x, "eps of z1"}  # q(y|.) knows nothing that is drawn after y
        assert inputs["eps of z1"] is noise[0]
        assert statistics == "statistics"
        return inputs[model.x]

    monkeypatch.setattr(objectives, "get_output", get_output)
    with toy.precision("float64"):
        x, uniform, noise = T.dmatrix(), T.dvector(), [T.dmatrix(), T.dmatrix()]
        weight = objectives.sampled_log_weight(model, x, noise, uniform, "statistics")
        assert model.asked == (x, noise, "statistics")
        call = toy.ENGINE.function([x, uniform], [weight], "chosen")

    def classes(logits, numbers):
        value = call(logits, numbers)[0] - 10  # 10: exactly one class is chosen
        return value.tolist()

    return classes


def test_y_is_drawn_by_inverting_the_cumulative_sum(chosen):
    with np.errstate(divide="ignore"):
        logits = np.log([[0.1, 0.2, 0.3, 0.4]] * 6 + [[0.5, 0, 0.5, 0]] * 4)
    numbers = [0.05, 0.15, 0.29, 0.31, 0.61, 0.9999, 1e-9, 0.4999, 0.5001, 1 - 1e-12]
    assert chosen(logits, numbers) == [0, 1, 1, 2, 3, 3, 0, 0, 2, 2]  # never a class that q excludes


def test_y_is_drawn_in_its_proportions(chosen):
    p = np.array([0.1, 0.2, 0.3, 0.4])
    count = 1000
    drawn = chosen(np.log(np.tile(p, (count, 1))), (np.arange(count) + 0.5) / count)
    assert np.bincount(np.array(drawn, int), minlength=K).tolist() == [100, 200, 300, 400]


def test_a_sum_that_rounding_ends_below_one_chooses_a_class_all_the_same(chosen):
    logits = np.random.default_rng(0).normal(size=(300, K))
    logits[:, -1] = -np.inf  # q excludes the last class
    ends = np.exp(log_softmax(logits, axis=1)).cumsum(axis=1)[:, -1]
    assert (ends < 1).sum() > 20
    drawn = chosen(logits, np.full(300, np.nextafter(1, 0)))
    assert set(drawn) <= set(range(K - 1))


def test_the_noise_of_every_variable_is_needed():
    model = Chosen()
    model.x = object()
    with pytest.raises(ValueError, match="zip"):
        objectives.sampled_log_weight(model, T.dmatrix(), [T.dmatrix()], T.dvector(), None)
