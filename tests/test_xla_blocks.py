"""Blocks of training steps on XLA: the steps of Theano's own code, however they are cut; state that stays."""

import numpy as np
import pytest
import toy
import toy_step

from parmesan_cagem.engines.xla import blocks
from parmesan_cagem.engines.xla.engine import XLA

STEPS = 9


def sequences(steps=STEPS):
    rng = np.random.default_rng(8)
    unlabelled = np.array([rng.permutation(len(toy_step.BYTES))[:4] for _ in range(steps)], "int32")
    labelled = np.array([rng.permutation(len(toy_step.LABELLED))[:3] for _ in range(steps)], "int32")
    return [unlabelled, labelled, np.linspace(0.1, 1, steps, dtype="float32"), np.full(steps, 1e-3, "float32")]


def compile_step(engine):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "ENGINE", engine)
        step = toy_step.Step()
    step.first = step.state()
    return step


@pytest.fixture(scope="module")
def compiled():
    return compile_step(XLA())


@pytest.fixture
def step(compiled):
    compiled.restore(compiled.first)
    return compiled


@pytest.fixture(scope="module")
def whole(compiled):
    """One block of all steps: outputs, and the state after it."""
    compiled.restore(compiled.first)
    outputs = compiled.function(*sequences())
    compiled.function.pull()
    return outputs, compiled.state()


def cut(step, lengths):
    """The same steps in blocks of those lengths."""
    parts, start = [], 0
    for length in lengths:
        parts.append(step.function(*(s[start : start + length] for s in sequences())))
        start += length
    step.function.pull()
    return [np.concatenate(values) for values in zip(*parts, strict=True)], step.state()


def assert_same_bits(found, expected):
    for one, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not toy_step.differing(found[1], expected[1])


def test_a_block_takes_the_steps_of_theanos_own_code(whole):
    theanos = toy_step.start()
    values = theanos.function(*sequences())
    for name, one, other in zip(theanos.built.outputs, whole[0], values, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4, err_msg=name)
    for name, value in theanos.state().items():
        if name.startswith("random/") or name == "adam/t":
            np.testing.assert_array_equal(whole[1][name], value, err_msg=name)
        elif name.startswith("weights/"):
            np.testing.assert_allclose(whole[1][name], value, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("lengths", [(1,) * STEPS, (4, 5), (8, 1)])
def test_cutting_into_blocks_changes_no_bit(step, whole, lengths):
    assert_same_bits(cut(step, lengths), whole)


def test_a_block_beyond_the_capacity_takes_several_calls(step, whole, monkeypatch):
    calls = []
    original = step.function._call
    monkeypatch.setattr(step.function, "_call", lambda given: calls.append(len(given[0])) or original(given))
    many = [np.concatenate([s] * 20) for s in sequences()]
    values = step.function(*many)
    assert calls == [blocks.CAPACITY, 20 * STEPS - blocks.CAPACITY]
    assert all(len(value) == 20 * STEPS for value in values)
    np.testing.assert_array_equal(values[0][:STEPS], whole[0][0])


def test_a_new_engine_resumes_from_pulled_state_to_the_same_bits(step, whole):
    first, state = cut(step, (4,))
    other = compile_step(XLA())
    other.restore(state)
    rest = other.function(*(s[4:] for s in sequences()))
    other.function.pull()
    joined = [np.concatenate(pair) for pair in zip(first, rest, strict=True)]
    assert_same_bits((joined, other.state()), whole)


def test_state_stays_on_the_device_until_it_is_pulled(step):
    def held():
        return {name: variable.get_value() for name, variable in step.built.state.items()}

    before = step.state()
    step.function(*sequences(2))
    assert not toy_step.differing(held(), before)
    step.function.pull()
    assert len(toy_step.differing(step.state(), before)) > len(before) / 2


def test_values_set_between_blocks_count_and_pull_spares_them(step):
    name = "weights/q_z1.mu.b"
    step.function(*sequences(2))
    step.function.pull()
    moved = step.state()[name] + 10
    plain = step.function(*sequences(1))
    step.restore({name: moved})
    step.function.pull()  # the block before moved the bias too, but what was set since then is newer
    np.testing.assert_array_equal(step.state()[name], moved)
    changed = step.function(*sequences(1))
    step.function.pull()
    assert abs(changed[1] - plain[1]) > 1
    np.testing.assert_allclose(step.state()[name], moved, atol=0.01)


def test_an_array_given_to_set_value_with_borrow_is_never_written(step):
    name = "weights/q_z1.mu.b"
    mine = step.state()[name]
    copy = mine.copy()
    step.built.state[name].set_value(mine, borrow=True)
    step.function(*sequences(3))
    step.function.pull()
    np.testing.assert_array_equal(mine, copy)
    assert not np.array_equal(step.state()[name], copy)


def test_no_steps_are_refused(step):
    with pytest.raises(ValueError, match="at least one step"):
        step.function(*sequences(0))


def test_prepare_runs_nothing(step, whole):
    step.function.prepare(*sequences(3))
    assert_same_bits(cut(step, (STEPS,)), whole)
