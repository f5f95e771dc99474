"""Theano's random numbers on XLA: bit for bit those of its C code, and of MRG31k3p in whole numbers."""

import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from theano.sandbox.multinomial import MultinomialFromUniform
from theano.sandbox.rng_mrg import MRG_RandomStream
from xla_cases import FLOATS, normal

from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.engines.xla import platform
from parmesan_cagem.engines.xla.convert import Unconvertible
from parmesan_cagem.engines.xla.random import uniform

M1, M2 = 2**31 - 1, 2**31 - 21069
NORM = {"float32": np.float32(4.6566126e-10), "float64": 2.0**-31}


def recurrence(states, count, dtype):
    """The definition of L'Ecuyer and Touzin (2000) in int64: new states and numbers, number i from stream i mod n."""
    states, numbers = states.astype(np.int64), np.empty(count, dtype)
    for start in range(0, count, len(states)):
        width = min(len(states), count - start)
        x11, x12, x13, x21, x22, x23 = states[:width].T
        x1 = (2**22 * x12 + (2**7 + 1) * x13) % M1
        x2 = (2**15 * x21 + (2**15 + 1) * x23) % M2
        states[:width] = np.stack([x1, x11, x12, x2, x21, x22], axis=1)
        z = np.where(x1 <= x2, x1 - x2 + M1, x1 - x2)
        numbers[start : start + width] = z.astype(dtype) * NORM[dtype]
    return states.astype(np.int32), numbers


def random_states(count, seed):
    """Any states there can be, the largest and smallest included."""
    rng = np.random.default_rng(seed)
    states = np.concatenate([rng.integers(0, M1, (count, 3)), rng.integers(0, M2, (count, 3))], axis=1)
    states[0] = rng.choice([[M1 - 1] * 3 + [M2 - 1] * 3, [1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, M2 - 1], states[0]])
    return states.astype(np.int32)


@pytest.mark.parametrize("dtype", FLOATS)
@settings(deadline=None, max_examples=12)
@given(streams=st.integers(1, 9), count=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_the_recurrence(dtype, streams, count, seed):
    states = random_states(streams, seed)
    with platform.x64():
        found = uniform(states, count, dtype)
    for one, other in zip(map(np.array, found), recurrence(states, count, dtype), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_numbers_of_many_states(dtype):
    states = random_states(5000, 1)
    with platform.x64():
        found = uniform(states, 123_456, dtype)
    for one, other in zip(map(np.array, found), recurrence(states, 123_456, dtype), strict=True):
        assert np.array_equal(one, other)


def test_integers_that_float32_rounds():
    """Numbers near 1 become exactly 1 or the float below, as in C."""
    states = np.array([[0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 7, 0]], np.int32)  # equal halves give M1, the largest
    with platform.x64():
        _, numbers = uniform(states, 2, "float32")
    assert np.array(numbers).tolist() == [float(np.float32(M1) * NORM["float32"])] * 2


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_is_that_of_theanos_c_code(c_engine, dtype):
    """Shapes, and numbers of streams, of all kinds; three calls each; and the states that they leave."""
    made = {}
    for engine in ("c", "xla"):
        stream = MRG_RandomStream(12)
        draws = [stream.uniform((4, 5), dtype=dtype, nstreams=count) for count in (1, 2, 7, 20, 33, None)] + [
            stream.uniform((3,), dtype=dtype),
            stream.uniform((2, 3, 4), dtype=dtype, nstreams=5),
        ]
        states = [state for state, *_ in stream.state_updates]
        if engine == "c":
            updates = [(state, new) for state, new, *_ in stream.state_updates]
            call = TheanoC().steps([T.scalar()], draws, updates, "draws")
            values = call(np.zeros(3, "float32"))
            values = [value[i] for i in range(3) for value in values]
        else:
            function = theano.function([], draws, mode="XLA")  # the streams go on by themselves
            values = [value for _ in range(3) for value in function()]
        made[engine] = values + [state.get_value() for state in states]
    for one, other in zip(made["xla"], made["c"], strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_a_saved_state_continues():
    stream = MRG_RandomStream(3)
    draw = theano.function([], stream.uniform((7,), nstreams=3), mode="XLA")
    draw()
    state = stream.state_updates[0][0]
    saved = state.get_value()
    first, second = draw(), draw()
    assert not np.array_equal(first, second)
    state.set_value(saved)
    assert np.array_equal(draw(), first)
    after, expected = recurrence(saved, 7, "float32")
    assert np.array_equal(first, expected)
    assert np.array_equal(state.get_value(), after)
    assert np.array_equal(draw(), second)


def test_streams_go_on_only_when_asked():
    stream = MRG_RandomStream(3)
    u = stream.uniform((7,))
    still = theano.function([], u, mode="XLA", no_default_updates=True)
    assert np.array_equal(still(), still())
    moving = theano.function([], u, mode="XLA", updates=[stream.state_updates[0][:2]])
    assert not np.array_equal(moving(), moving())


def pair(build):
    """What two calls give in XLA, and in Theano's Python code, whose float32 is rounded from float64, unlike C's."""
    found = []
    for mode in ("XLA", xla_cases.REFERENCE):
        function = theano.function([], build(MRG_RandomStream(42)), mode=mode)
        found.append([value for _ in range(2) for value in function()])
    return found


def test_several_streams_of_one_function():
    stream, p = MRG_RandomStream(42), np.array([0, 0.5, 0.5, 1])
    draws = [
        stream.uniform((3, 4)),
        stream.uniform((3, 4)),
        stream.binomial((50,), p=0.3),
        stream.binomial((5, 5), p=0.5, dtype="float32"),
        stream.binomial((4,), p=p),
    ]
    states = [state.get_value() for state, *_ in stream.state_updates]
    found = theano.function([], draws, mode="XLA")()
    u = [recurrence(s, v.size, "float32")[1].reshape(v.shape) for s, v in zip(states, found, strict=True)]
    expected = [u[0], u[1], (u[2] < 0.3).astype("int64"), (u[3] < 0.5).astype("float32"), (u[4] < p).astype("int64")]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert not np.array_equal(found[0], found[1])
    assert 0 < found[2].sum() < 50


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_to_rounding(dtype):
    """Of the same uniform numbers, r = sqrt(-2 log u) times sin or cos of 2 pi v: within 4 ulp of 6.

    Near a zero of the sine the rounding of the angle remains, 1e-7 r: hence ulps of the largest r, not the result.
    """
    found, expected = pair(
        lambda stream: [stream.normal((40, 51), dtype=dtype), stream.normal((3,), 1, 2, dtype=dtype)]
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=4 * np.spacing(np.asarray(6, dtype)))
    assert abs(found[0].mean()) < 0.1
    assert abs(found[0].std() - 1) < 0.1


def test_a_size_from_an_arguments_shape():
    x, stream = T.matrix(), MRG_RandomStream(8)
    draw = theano.function([x], stream.uniform(x.shape, ndim=2, nstreams=4), mode="XLA")
    state = stream.state_updates[0][0].get_value()
    for shape in [(3, 5), (2, 1), (3, 5)]:
        state, expected = recurrence(state, shape[0] * shape[1], "float32")
        assert np.array_equal(draw(normal(*shape)), expected.reshape(shape))


def test_a_size_from_data_is_refused():
    n = T.lvector()
    draw = theano.function([n], MRG_RandomStream(1).uniform(n, ndim=1, nstreams=2), mode="XLA")
    with pytest.raises(Unconvertible, match=r"the size of .* depends on data"):
        draw([3])


@pytest.mark.parametrize("dtype", FLOATS)
def test_other_bounds_to_rounding(dtype):
    """XLA may multiply and add in one instruction: one rounding where Theano has two, and Python's differ too."""
    found, expected = pair(lambda stream: [stream.uniform((100,), low=-1, high=2, dtype=dtype)])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=2 * np.spacing(np.asarray(2, dtype)))


@pytest.mark.parametrize("draws", [1, 5])
@pytest.mark.parametrize("dtype", FLOATS)
def test_multinomial(dtype, draws):
    p = np.random.default_rng(0).dirichlet(np.ones(4), 6).astype(dtype)
    found, expected = pair(lambda stream: [stream.multinomial(pvals=p, n=draws, dtype="int64")])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert (one.sum(axis=1) == draws).all()


def test_multinomial_adds_probabilities_in_float64_as_in_c():
    """Twelve float32 tenths: running sums in float32 stray over the numbers between them."""
    p = np.full((1, 12), 0.1, "float32")
    exact, rounded = p[0].cumsum(dtype="float64"), p[0].cumsum()
    between = np.unique(np.concatenate([((exact + rounded) / 2), exact - 1e-9]))
    p, u = np.repeat(p, len(between), axis=0), between.astype("float64")
    (found,) = xla_cases.results(lambda a, b: MultinomialFromUniform("int64")(a, b, 1), p, u)
    assert np.array_equal(found.argmax(axis=1), np.searchsorted(exact, u, side="right") % 12)
    assert not np.array_equal(found.argmax(axis=1), np.searchsorted(rounded.astype("float64"), u, side="right") % 12)


def test_random_numbers_of_half_precision_are_refused():
    draw = theano.function([], MRG_RandomStream(1).uniform((3,), dtype="float16", low=np.float16(0)), mode="XLA")
    with pytest.raises(Unconvertible, match="float16"):
        draw()
