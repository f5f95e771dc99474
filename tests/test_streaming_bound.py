"""The streaming arithmetic of importance-weighted bounds: blocks, precision, order."""

import itertools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import logsumexp

from parmesan_cagem.bounds import StreamingBound, blocks

QUICK = settings(deadline=None, max_examples=50)


def stream(log_weights, ks):
    """``log_weights``: (draws, images)."""
    bound = StreamingBound(log_weights.shape[1], ks)
    for row in log_weights:
        bound.add(row)
    return bound.bounds()


def log_weight_tables(dtype=np.float64):
    return npst.arrays(
        dtype, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-2000, 2000, width=32)
    )


@QUICK
@given(log_weight_tables(), st.lists(st.integers(1, 13), min_size=1, max_size=4, unique=True))
def test_streaming_bound_is_the_mean_log_mean_exp_of_complete_blocks(table, ks):
    given_bounds = stream(table, ks)
    assert set(given_bounds) == {k for k in ks if k <= len(table)}
    for k, values in given_bounds.items():
        each = [logsumexp(table[i : i + k], axis=0) - np.log(k) for i in range(0, len(table) - k + 1, k)]
        assert values == pytest.approx(np.mean(each, axis=0), rel=1e-12, abs=1e-9)


@QUICK
@given(log_weight_tables(), st.data())
def test_streaming_bound_has_the_same_bits_for_any_grouping_of_images(table, data):
    cut = data.draw(st.integers(0, table.shape[1]))
    whole, parts = stream(table, (1, 3)), [stream(part, (1, 3)) for part in (table[:, :cut], table[:, cut:])]
    for k in whole:
        assert np.array_equal(np.concatenate([part[k] for part in parts]), whole[k])


@QUICK
@given(log_weight_tables(np.float32))
def test_streaming_bound_sums_in_double_precision(table):
    for k, values in stream(table, (1, 2)).items():
        assert values.dtype == np.float64
        assert np.array_equal(values, stream(table.astype(np.float64), (1, 2))[k])


def test_an_incomplete_block_is_left_out():
    table = np.random.default_rng(0).normal(size=(25, 3))
    bounds = stream(table, (10, 30))
    assert set(bounds) == {10}
    assert np.array_equal(bounds[10], stream(table[:20], (10,))[10])
    assert not np.array_equal(bounds[10], stream(table[5:], (10,))[10])


@QUICK
@given(npst.arrays(np.float64, (24, 3), elements=st.floats(-500, 500)))
def test_bounds_of_nested_blocks_are_ordered(table):
    bounds = stream(table, (1, 2, 6, 12, 24))
    for smaller, larger in itertools.pairwise(bounds.values()):
        assert (smaller <= larger + 1e-9).all()


@pytest.mark.parametrize(("total", "size"), [(0, 3), (1, 3), (3, 3), (10, 3), (10, 100)])
def test_blocks_cover_the_range_once(total, size):
    parts = list(blocks(total, size))
    assert [i for part in parts for i in range(total)[part]] == list(range(total))
    assert all(0 < part.stop - part.start <= size for part in parts)
