"""Indices, slices, and writing to them on XLA, against Theano."""

import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from xla_cases import FLOATS, agree, integers, normal

from parmesan_cagem.engines.xla.convert import Unconvertible

FEW = settings(deadline=None, max_examples=20)
SLICES = {
    "0": np.s_[0],
    "-1": np.s_[-1],
    "1, 2": np.s_[1, 2],
    "-2, -1": np.s_[-2, -1],
    "1:3": np.s_[1:3],
    "-2:": np.s_[-2:],
    ":-1": np.s_[:-1],
    "::2": np.s_[::2],
    "::-1": np.s_[::-1],
    "3:0:-2": np.s_[3:0:-2],
    "7:": np.s_[7:],
    ":, 1": np.s_[:, 1],
    "1:, ::-1": np.s_[1:, ::-1],
    "..., 0": np.s_[..., 0],
    "None, 1:, :, :, None": np.s_[None, 1:, :, :, None],
    "2:2": np.s_[2:2],
}
ROWS, MATRIX = np.array([2, 0, 2, -1]), np.array([[0, -1, 2], [3, 3, 1]])
PAIR = (np.array([0, 3, 3, -2]), np.array([1, 0, 0, -1]))


@pytest.fixture(params=["XLA", "raw"])
def mode(request):
    return xla_cases.raw() if request.param == "raw" else request.param


@pytest.mark.parametrize("dtype", [*FLOATS, "int8"])
def test_slices(dtype, mode):
    x = normal(4, 5, 3).astype(dtype)
    agree(lambda v: [v[index] for index in SLICES.values()], x, gradients=dtype in FLOATS, mode=mode)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8"])
def test_writing_to_slices(dtype):
    x = (10 * normal(4, 5, 3)).astype(dtype)
    y = (10 * normal(seed=1)).astype(dtype)

    def build(v, w):
        some = [index for name, index in SLICES.items() if "None" not in name]
        return [write(v[index], w) for index in some for write in (T.set_subtensor, T.inc_subtensor)]

    agree(build, x, y, gradients=dtype in FLOATS, mode=xla_cases.raw())


@pytest.mark.parametrize("dtype", FLOATS)
def test_writing_arrays_to_slices(dtype, mode):
    x, y = normal(4, 5, dtype=dtype), normal(5, dtype=dtype, seed=1)

    def build(v, w):
        targets = [(v[1], w), (v[1:3], w), (v[:, 2], w[:4]), (v[::-2, 1:], w[1:]), (v[:2], T.stack([w, -w]))]
        return [write(*target) for target in targets for write in (T.set_subtensor, T.inc_subtensor)]

    agree(build, x, y, mode=mode)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
def test_an_index_that_is_an_argument(dtype, mode):
    x = normal(4, 5)

    def build(v, i):
        written = [T.set_subtensor(v[i], 2), T.inc_subtensor(v[1:, i], v[1:, 0])]
        return [v[i], v[:, i], v[i, 1], v[i, i], v[1:, i, None], v[i, ::-1], *written]

    for i in [0, 3] if dtype == "uint8" else [0, 3, -1, -4]:
        agree(build, x, np.array(i, dtype), mode=mode)


def test_a_slice_from_a_shape(mode):
    agree(
        lambda v, w: [v[: w.shape[0]], v[w.shape[0] - 3 :: w.shape[0]], v[w.shape[0] - 1]],
        normal(4, 5),
        normal(2),
        mode=mode,
    )


def test_a_slice_from_data_is_refused():
    x, n = T.matrix(), T.lscalar()
    for index in (slice(n, None), slice(None, n), slice(None, None, n)):
        function = theano.function([x, n], x[index], mode="XLA")
        with pytest.raises(Unconvertible, match=r"a slice of .* depends on data"):
            function(normal(3, 3), 1)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8"])
def test_advanced_indices(dtype, mode):
    x = normal(4, 4, 3).astype(dtype)
    agree(
        lambda v, i, m, j, k: [
            *[v[i], v[m], v[j, k], v[:, i], v.take(i, axis=1)],
            *[v[j, :, k[:1]], v[j, 1], v[j, 1:, i[:1]]],
        ],
        x, ROWS, MATRIX, *PAIR, gradients=dtype in FLOATS, mode=mode,
    )  # fmt: skip


@FEW
@given(st.lists(st.integers(-4, 3), min_size=1, max_size=6), st.booleans())
def test_any_rows_as_constants_or_arguments(rows, constant):
    x = normal(4, 3)
    build = (lambda v, i: v[np.array(rows)]) if constant else (lambda v, i: v[i])
    (found,) = xla_cases.results(build, x, np.array(rows))
    xla_cases.same(found, x[rows])


@pytest.mark.parametrize("dtype", FLOATS)
def test_increments_of_repeated_places_add_up(dtype, mode):
    x, y = normal(4, 4, dtype=dtype), normal(4, dtype=dtype, seed=1)
    agree(
        lambda v, w, i, m, j, k: [
            T.inc_subtensor(v[i], w),
            T.inc_subtensor(v[i], T.stack([w, w * 2, -w, w + 1])),
            T.inc_subtensor(v[m], w),
            T.inc_subtensor(v[j, k], w),
            T.inc_subtensor(v[:, i], w[:, None]),
            T.inc_subtensor(v[j, k], 1.5),
        ],
        x, y, ROWS, MATRIX, *PAIR, mode=mode,
    )  # fmt: skip
    (found,) = xla_cases.results(lambda v, i: T.inc_subtensor(v[i], 1), np.zeros(3, dtype), np.array([2, 2, 0, 2]))
    xla_cases.same(found, np.array([1, 0, 3], dtype))


@pytest.mark.parametrize("dtype", [*FLOATS, "int8"])
def test_setting_places(dtype, mode):
    x, y = (9 * normal(4, 4)).astype(dtype), (9 * normal(4, seed=1)).astype(dtype)
    agree(
        lambda v, w, i, m, j, k: [
            T.set_subtensor(v[i], w),
            T.set_subtensor(v[m], w),
            T.set_subtensor(v[j, k], 2),
            T.set_subtensor(v[:, i], w[:, None]),
            T.set_subtensor(v[j[:2], k[:2]], w[:2]),
        ],
        x, y, ROWS, MATRIX, *PAIR, gradients=dtype in FLOATS, mode=mode,
    )  # fmt: skip


def test_gathers_have_scattered_gradients():
    x, rows = T.matrix(), T.lvector()
    gradient = T.grad(T.sum(x[rows] ** 2), x)
    found = theano.function([x, rows], gradient, mode="XLA")(normal(4, 3), [1, 1, 3])
    expected = np.zeros((4, 3), "float32")
    np.add.at(expected, [1, 1, 3], 2 * normal(4, 3)[[1, 1, 3]])
    xla_cases.same(found, expected)


def test_a_constant_mask():
    mask = np.array([True, False, True, True])
    (found,) = xla_cases.results(lambda v: v[mask], normal(4, 3))
    xla_cases.same(found, normal(4, 3)[mask])


def test_a_mask_from_data_is_refused():
    x = T.vector()
    with pytest.raises(Unconvertible, match="engine xla"):
        theano.function([x], x[x > 0], mode="XLA")(normal(3))


@pytest.mark.parametrize("index", [3, -4])
def test_a_constant_index_out_of_bounds(index):
    with pytest.raises(IndexError, match="out of bounds"):
        xla_cases.results(lambda v: v[index], normal(3))


def test_an_index_out_of_bounds_that_depends_on_data():
    """No running XLA program can raise: reading gives NaN or the largest integer, writing does nothing."""
    x, n = normal(3, 2), integers(3)
    for i in (3, -4):
        outputs = xla_cases.results(
            lambda v, w, i: [v[i], w[i], T.inc_subtensor(v[i], 1), v[T.stack([i, 0])]], x, n, np.array(i)
        )
        assert np.isnan(outputs[0]).all()
        assert outputs[1] in (np.iinfo("int64").max, np.iinfo("int64").min)
        xla_cases.same(outputs[2], x)
        assert np.isnan(outputs[3][0]).all()
        xla_cases.same(outputs[3][1], x[0])
