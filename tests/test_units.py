"""What the top variable carries, against closed forms."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm

from parmesan_cagem import units
from parmesan_cagem.config import Experiment
from parmesan_cagem.models import build

RNG = np.random.default_rng(0)


def kl(mu, sigma):
    """KL[N(mu, sigma^2) || N(0, 1)], summed over all dimensions."""
    return float(np.sum(0.5 * (sigma**2 + mu**2 - 1) - np.log(sigma)))


def measured(q_y, mu, log_sigma, seed=1):
    rng = np.random.default_rng(seed)
    return units.divergences(q_y, mu, log_sigma, rng.random(len(mu)), rng.standard_normal(mu[:, 0].shape))


def test_the_bracket_holds_the_divergence_of_a_gaussian_marginal():
    """z1 ~ N(.3, .8^2), z2|z1 ~ N(1.5 z1, .4^2) in two dimensions: z2 ~ N(.45, 1.2^2 + .4^2)."""
    draws = 2000
    z1 = 0.3 + 0.8 * RNG.standard_normal((draws, 1, 2))
    conditional, lower, upper = measured(np.ones((draws, 1)), 1.5 * z1, np.full(z1.shape, np.log(0.4)))
    sigma = np.full(2, np.sqrt(1.2**2 + 0.4**2))
    exact = kl(np.full(2, 0.45), sigma)
    assert conditional == pytest.approx(np.mean([kl(1.5 * z, np.full(2, 0.4)) for z in z1[:, 0]]))
    assert lower - 0.1 < exact < upper + 0.1  # sampling error of 2,000 z: about .03
    assert upper - lower < 0.1
    assert conditional > exact + 1.5  # I(z2; z1 | x) = log(sqrt(1.6) / .4) a dimension


def test_components_far_apart_tell_their_own():
    """z then knows its component: with it the density is a 20th of that one's, without it almost none."""
    z1 = 10 * RNG.standard_normal((20, 1, 4))
    conditional, lower, upper = measured(np.ones((20, 1)), z1, np.full(z1.shape, -2.0))
    assert upper == pytest.approx(conditional - np.log(20), abs=2)
    assert lower < upper - 100


def test_a_variable_that_depends_on_x_alone_has_one_divergence():
    """As an LVAE's top layer: all components are equal."""
    mu, log_sigma = np.tile([[[0.7, -1.2]]], (400, 1, 1)), np.tile([[[-0.5, 0.1]]], (400, 1, 1))
    conditional, lower, upper = measured(np.ones((400, 1)), mu, log_sigma)
    assert conditional == pytest.approx(kl(mu[0, 0], np.exp(log_sigma[0, 0])))
    assert lower == pytest.approx(upper)
    assert upper == pytest.approx(conditional, abs=0.25)  # z is sampled, the mean of 400


def test_classes_are_components_with_their_probabilities():
    """Two far classes with probabilities .9 and .1 from x alone: KL of the mixture, by quadrature."""
    draws = 3000
    q_y, mu = np.tile([[0.9, 0.1]], (draws, 1)), np.tile([[[-2.0], [2.0]]], (draws, 1, 1))
    log_sigma = np.full(mu.shape, np.log(0.5))
    conditional, lower, upper = measured(q_y, mu, log_sigma)
    grid = np.linspace(-8, 8, 4001)
    density = 0.9 * norm.pdf(grid, -2, 0.5) + 0.1 * norm.pdf(grid, 2, 0.5)
    exact = trapezoid(density * (np.log(density) - norm.logpdf(grid)), grid)
    assert lower == pytest.approx(upper, abs=1e-3)
    assert upper == pytest.approx(exact, abs=0.08)
    assert conditional == pytest.approx(kl(np.array([2.0]), np.array([0.5])))


def test_a_class_that_q_excludes_leaves_everything_finite():
    mu = RNG.standard_normal((6, 2, 3))
    assert np.isfinite(measured(np.tile([[1.0, 0.0]], (6, 1)), mu, np.zeros(mu.shape))).all()


@pytest.mark.parametrize("changes", [{}, {"model": "vae"}, {"model": "vae", "layers": 1}], ids=["cagem", "vae", "L=1"])
def test_of_a_model(changes):
    """The conditional divergence is the closed-form KL term of the same draws; grouping of images changes nothing."""
    import toy

    from parmesan_cagem import objectives
    from parmesan_cagem.bounds import noise_widths, split_noise
    from parmesan_cagem.normalisation import RunningStatistics
    from parmesan_cagem.randomness import Purpose, noise

    e = Experiment(**{"labels": 0, "clusters": 10, "z1_dim": 2, "z2_dim": 2, "wide": 4, "narrow": 3, **changes})
    model = build(e, toy.X_DIM)
    toy.randomise(model, 0)
    images, indices, draws = toy.images(3).astype(np.uint8), np.array([4, 0, 9]), 7
    found = units.top_divergence(model, e, toy.ENGINE, images, indices, draws)
    alone = units.top_divergence(model, e, toy.ENGINE, images[1:2], indices[1:2], draws)
    assert alone.upper[0] == found.upper[1]
    assert (found.lower < found.upper + 1e-9).all()

    import theano.tensor as T

    x, eps = T.matrix("x"), [T.matrix(v.name) for v in model.variables]
    top = model.variables[-1].name
    output = objectives.decomposition(model.terms(x, eps, RunningStatistics()))[f"KL_{top}"]
    function = toy.ENGINE.function([x, *eps], [output], "KL")
    for row, index in enumerate(indices):
        stream = noise(e.eval_seed, Purpose.UNITS, int(index))
        drawn = stream.standard_normal((draws, sum(noise_widths(model))), dtype=np.float32)
        (values,) = function(
            np.repeat(images[row : row + 1], draws, axis=0).astype("float32"), *split_noise(model, drawn)
        )
        assert found.conditional[row] == pytest.approx(values.mean(), rel=1e-5)
