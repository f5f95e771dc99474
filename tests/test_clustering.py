"""Purity and normalised mutual information against counting by hand."""

import math

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from parmesan_cagem.clustering import agreement

TABLES = npst.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 50)).filter(
    np.any
)


def by_hand(counts):
    """Mutual information as a sum over cells, entropies as sums over margins."""
    n = counts.sum()
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    information = sum(
        counts[i, j] / n * math.log(counts[i, j] * n / (rows[i] * columns[j]))
        for i, j in zip(*np.nonzero(counts), strict=True)
    )
    both = [-sum(m / n * math.log(m / n) for m in margin if m) for margin in (rows, columns)]
    return information / (sum(both) / 2) if sum(both) else 1.0


@given(TABLES)
def test_nmi_is_that_of_the_sums_over_cells(counts):
    assert agreement(counts)["nmi"] == pytest.approx(by_hand(counts), abs=1e-6)


@given(TABLES)
def test_purity_counts_the_commonest_class_of_every_cluster(counts):
    expected = sum(max(column) for column in counts.T.tolist()) / counts.sum()
    assert agreement(counts)["purity"] == pytest.approx(expected)


@given(TABLES, st.randoms(use_true_random=False))
def test_the_numbers_of_clusters_do_not_matter(counts, random):
    order = list(range(counts.shape[1]))
    random.shuffle(order)
    assert agreement(counts[:, order]) == pytest.approx(agreement(counts), abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "purity", "nmi"),
    [
        pytest.param(np.diag([5, 3, 2]), 1.0, 1.0, id="clusters are classes"),
        pytest.param(np.full((4, 4), 7), 0.25, 0.0, id="independent"),
        pytest.param(np.array([[3], [1]]), 0.75, 0.0, id="one cluster"),
        pytest.param(np.array([[9]]), 1.0, 1.0, id="one class, one cluster"),
    ],
)
def test_extremes(counts, purity, nmi):
    assert agreement(counts) == pytest.approx({"purity": purity, "nmi": nmi}, abs=1e-12)
