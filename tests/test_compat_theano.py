"""Repairs of Theano itself; where NumPy is 1, those for NumPy 2 are compared with what Theano does unmended."""

import sys
import types

import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.sandbox import rng_mrg
from theano.scalar.basic import NumpyAutocaster, autocast_float, autocast_int

from parmesan_cagem import compat, compat_theano
from parmesan_cagem.toolchain import numpy_has_c_code

FAST = theano.compile.Mode("cvm", "fast_run")  # C code where there is any


def test_repairs_of_what_is_whole_change_nothing():
    def all_of_it():
        return (
            theano.gof,
            rng_mrg.MRG_RandomStreams,
            sys.modules["theano.tensor.signal.downsample"],
            NumpyAutocaster.__call__,
            rng_mrg.mrg_uniform.perform,
        )

    before = all_of_it()
    assert isinstance(before[0], types.ModuleType)
    compat._repair_theano()
    assert all_of_it() == before


def test_numpy_1_needs_no_mending():
    mended = [hasattr(f, "mended") for f in (NumpyAutocaster.__call__, rng_mrg.mrg_uniform.perform)]
    assert mended == [not numpy_has_c_code()] * 2


@pytest.fixture(params=["as it is", "mended"])
def numpy_2_repairs(request, monkeypatch):
    """The repairs for NumPy 2, whatever NumPy this is."""
    monkeypatch.setattr(NumpyAutocaster, "__call__", NumpyAutocaster.__call__)  # comes back afterwards
    monkeypatch.setattr(rng_mrg.mrg_uniform, "perform", rng_mrg.mrg_uniform.perform)
    if request.param == "mended":
        compat_theano._mend_autocasting()
        compat_theano._mend_uniform_draws()


# Python numbers in graphs


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((0, "int8"), (True, "int8"), (127, "int8"), (-128, "int8"), (128, "int16"), (1024, "int16")),
        *((-32769, "int32"), (2**31 - 1, "int32"), (2**31, "int64"), (-(2**63), "int64")),
    ],
)
def test_integers_get_the_smallest_type_that_holds_them(value, dtype, numpy_2_repairs):
    cast = autocast_int(value)
    assert (cast.dtype, int(cast), cast.shape) == (dtype, value, ())


def test_an_integer_that_no_type_holds_is_refused(numpy_2_repairs):
    with pytest.raises(OverflowError):
        autocast_int(2**63)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((0.5, "float32"), (0.1, "float64"), (1e39, "float64"), (2**-150, "float64"), (float(2**24 + 1), "float64")),
        *((float("inf"), "float32"), (float("nan"), "float64"), (-1.0, "float32")),
    ],
)
def test_numbers_of_a_float64_graph_stay_exact(value, dtype, numpy_2_repairs):
    with theano.config.change_flags(floatX="float64"):
        cast = autocast_float(value)
        assert cast.dtype == dtype
        assert np.array_equal(float(cast), value, equal_nan=True)
        x = T.dscalar()
        assert theano.function([x], x * value, mode="FAST_COMPILE")(3.0) == pytest.approx(
            3.0 * value, rel=1e-15, nan_ok=True
        )


@pytest.mark.parametrize("value", [0.5, 0.1, 1e30])
def test_numbers_of_a_float32_graph_are_float32(value, numpy_2_repairs):
    assert (autocast_float(value).dtype, (T.fmatrix() * value).dtype) == ("float32", "float32")


def test_another_casting_policy_is_theanos_own(numpy_2_repairs):
    with theano.config.change_flags(cast_policy="numpy+floatX"):
        assert autocast_int(3).dtype == "int64"


def test_typed_numbers_keep_their_type(numpy_2_repairs):
    assert autocast_int(np.asarray(5, "int16")).dtype == "int16"
    assert autocast_float(np.asarray(0.1, "float64")).dtype == "float64"


def test_a_product_with_a_python_integer_stays_an_integer(numpy_2_repairs):
    assert (T.lvector() * 1024).dtype == "int64"


@pytest.mark.parametrize("mode", ["FAST_COMPILE", FAST], ids=["py", "fast"])
def test_functions_of_integers_compile(mode):
    i = T.ivector()
    value = theano.function([i], T.exp(i), mode=mode)([0, 1])
    assert value == pytest.approx([1, np.e])


# Uniform draws


def next_mrg(state):
    """One step of MRG31k3p in unbounded integers (L'Ecuyer and Touzin 2000): the new state and an integer."""
    m1, m2 = 2**31 - 1, 2**31 - 21069
    x11, x12, x13, x21, x22, x23 = map(int, state)
    y1 = (2**22 * x12 + (2**7 + 1) * x13) % m1
    y2 = (2**15 * x21 + (2**15 + 1) * x23) % m2
    return [y1, x11, x12, y2, x21, x22], (y1 - y2) % m1 or m1


@pytest.fixture
def mended_draws(monkeypatch):
    """The draws as mended for NumPy 2, whatever NumPy this is."""
    monkeypatch.setattr(rng_mrg.mrg_uniform, "perform", rng_mrg.mrg_uniform.perform)
    compat_theano._mend_uniform_draws()


def draws_of(streams, size, dtype, mode, blocks=3):
    """``blocks`` draws, and the states after them."""
    source = rng_mrg.MRG_RandomStream(5)
    function = theano.function([], source.uniform(size, dtype=dtype, nstreams=streams), mode=mode)
    return [function() for _ in range(blocks)], source.state_updates[0][0].get_value()


SIZES = [((7,), 3), ((3, 4), 12), ((2, 3, 2), 5), ((4,), 9), ((5,), 1), ((40, 30), 60)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "streams"), SIZES, ids=str)
def test_draws_are_those_of_the_generators_definition(size, streams, dtype, mended_draws):
    blocks, after = draws_of(streams, size, dtype, "FAST_COMPILE")
    states = draws_of(streams, size, dtype, "FAST_COMPILE", blocks=0)[1].tolist()
    norm = np.float32(4.6566126e-10) if dtype == "float32" else 2.0**-31
    for block in blocks:
        assert (block.shape, block.dtype) == (size, dtype)
        for place, value in enumerate(block.ravel()):
            states[place % streams], whole = next_mrg(states[place % streams])
            assert value == np.dtype(dtype).type(whole) * norm
            assert 0 < value < 1
    assert after.tolist() == states


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "streams"), [((7,), 3), ((40, 30), 60)], ids=str)
def test_draws_are_those_of_the_c_code(size, streams, dtype, c_engine, mended_draws):
    ours, theirs = (draws_of(streams, size, dtype, mode) for mode in ("FAST_COMPILE", FAST))
    assert np.array_equal(ours[0], theirs[0])
    assert np.array_equal(ours[1], theirs[1])


GOLDEN = [
    *("0x1.3b027e0000000p-7", "0x1.5d0f8a0000000p-1", "0x1.89bd560000000p-1", "0x1.3966fe0000000p-7"),
    *("0x1.e469640000000p-1", "0x1.ccdbb60000000p-2", "0x1.4de4d00000000p-1"),
]


@pytest.mark.parametrize("mode", ["FAST_COMPILE", FAST], ids=["py", "fast"])
def test_draws_are_those_of_2020(mode, mended_draws):
    # By the C code, Python 3.11, NumPy 1.26.
    blocks, _ = draws_of(3, (7,), "float32", mode)
    assert [float(value).hex() for value in blocks[0]] == GOLDEN


def test_the_largest_draw_is_below_one(mended_draws):
    largest = np.float32(2**31 - 1) * compat_theano._MRG_NORM["float32"]
    assert largest.dtype == np.float32
    assert largest < 1


def test_edges_of_the_recurrence():
    """States at the edges of both moduli, where int32 sums wrap."""
    edges = [0, 1, 2**30, 2**31 - 21070, 2**31 - 21069 - 2]
    first = [*edges, 2**31 - 2]
    rng = np.random.default_rng(0)
    states = np.array([[*rng.choice(first, 3), *rng.choice(edges, 3)] for _ in range(2000)], "int32")
    after, whole = compat_theano._next_mrg(states)
    expected = [next_mrg(state) for state in states]
    assert after.tolist() == [state for state, _ in expected]
    assert whole.tolist() == [value for _, value in expected]
    assert (after.dtype, whole.dtype) == ("int32", "int32")
