"""Temperature and learning rate, and the examples in the docstrings."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import config, schedules
from parmesan_cagem.schedules import learning_rate, temperature

STEPS = st.integers(0, 10**7)
SIZES = st.integers(1, 1000)


@pytest.mark.parametrize(
    ("step", "steps_per_epoch", "warmup_epochs", "expected"),
    [
        pytest.param(0, 600, 100, 0.0, id="the very first step"),
        pytest.param(1, 600, 100, 1 / 60_000, id="it moves every step"),
        pytest.param(600, 600, 100, 0.01, id="one epoch of a hundred"),
        pytest.param(30_000, 600, 100, 0.5, id="half way"),
        pytest.param(59_999, 600, 100, 59_999 / 60_000, id="the last step below 1"),
        pytest.param(60_000, 600, 100, 1.0, id="the end of the warm-up"),
        pytest.param(10**9, 600, 100, 1.0, id="never above 1"),
        pytest.param(0, 600, 0, 1.0, id="no warm-up"),
        pytest.param(0, 1, 1, 0.0, id="one step"),
        pytest.param(1, 1, 1, 1.0, id="after one step"),
    ],
)
def test_temperature(step, steps_per_epoch, warmup_epochs, expected):
    assert temperature(step, steps_per_epoch, warmup_epochs) == expected


@given(STEPS, SIZES, SIZES)
def test_temperature_rises_linearly_and_stays(step, steps_per_epoch, warmup_epochs):
    now, then = (temperature(s, steps_per_epoch, warmup_epochs) for s in (step, step + 1))
    assert 0 <= now <= then <= 1
    if then < 1:
        assert then - now == pytest.approx(1 / (steps_per_epoch * warmup_epochs), rel=1e-3)
    assert (now < 1) == (step < steps_per_epoch * warmup_epochs)


PAPER = {"initial": 1e-3, "decay": 0.75, "decay_epochs": 50, "floor": 0.0}


@pytest.mark.parametrize(
    ("epoch", "changes", "expected"),
    [
        pytest.param(0, {}, 1e-3, id="first epoch"),
        pytest.param(49, {}, 1e-3, id="last epoch before a decay"),
        pytest.param(50, {}, 0.75e-3, id="first decay"),
        pytest.param(149, {}, 1e-3 * 0.75**2, id="third fifty"),
        pytest.param(999, {}, 1e-3 * 0.75**19, id="last of a thousand"),
        pytest.param(999, {"floor": 3e-5}, 3e-5, id="floor"),
        pytest.param(100, {"floor": 3e-5}, 1e-3 * 0.75**2, id="above the floor"),
        pytest.param(7, {"decay_epochs": 5}, 0.75e-3, id="compressed ten-fold"),
        pytest.param(500, {"decay": 1.0}, 1e-3, id="no decay"),
    ],
)
def test_learning_rate(epoch, changes, expected):
    assert learning_rate(epoch, **{**PAPER, **changes}) == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 5000), st.floats(0.1, 1), SIZES, st.floats(0, 1e-3))
def test_learning_rate_falls_in_steps_to_the_floor(epoch, decay, decay_epochs, floor):
    def rate(e):
        return learning_rate(e, 1e-3, decay, decay_epochs, floor)

    assert floor <= rate(epoch + 1) <= rate(epoch) <= 1e-3
    assert rate(epoch) == rate(epoch - epoch % decay_epochs)
    if rate(epoch + decay_epochs) > floor:
        assert rate(epoch + decay_epochs) == pytest.approx(decay * rate(epoch), rel=1e-9)


@pytest.mark.parametrize("module", [schedules, config], ids=lambda module: module.__name__)
def test_docstring_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_presets_schedules():
    """The paper's: 100 epochs of warm-up, x 0.75 every 50; short: ten times faster."""
    paper, short = config.experiment("paper"), config.experiment("short")
    values = [(e.warmup_epochs, e.decay_epochs, e.learning_rate, e.learning_rate_decay) for e in (paper, short)]
    assert values == [(100, 50, 1e-3, 0.75), (10, 5, 1e-3, 0.75)]
    assert paper.learning_rate_floor == 0
