"""Random streams: one for each name, distinct, standard, and a function of the seed."""

import numpy as np
import pytest
import theano
from theano.sandbox import rng_mrg

from parmesan_cagem.randomness import NamedStreams, Purpose, QuickStreams


def stream_draws():
    streams = NamedStreams(5)
    normal = [streams.normal(name, (80, 5)) for name in ("eps_z1", "eps_z2", "eps_z1_labelled")]
    uniform = [streams.uniform(name, (80, 5)) for name in ("binarise", "binarise_labelled")]
    function = theano.function([], [*normal, *uniform], updates=list(streams.updates()), mode="FAST_COMPILE")
    return streams, function


def test_streams_are_distinct_and_standard():
    streams, function = stream_draws()
    starts = [variable.get_value() for variable in streams.states.values()]
    rows = np.concatenate(starts)
    assert len(np.unique(rows, axis=0)) == len(rows)
    draws = np.array([np.ravel(value) for _ in range(2) for value in function()])  # 5 streams, two calls
    standard = np.concatenate([(d - 0.5) * np.sqrt(12) if d.min() >= 0 and d.max() <= 1 else d for d in draws])
    standard = standard.reshape(draws.shape)
    tolerance = 5 / np.sqrt(draws.shape[1])
    assert np.corrcoef(draws) == pytest.approx(np.eye(10), abs=tolerance)
    assert standard.mean(axis=1) == pytest.approx(0, abs=tolerance)
    assert standard.std(axis=1) == pytest.approx(1, abs=tolerance)
    assert len(np.unique(draws[:3])) == draws[:3].size
    assert len(np.unique(draws[3:5])) > 0.99 * draws[3:5].size  # float32 has few numbers near 1
    names = ["eps_z1", "eps_z2", "eps_z1_labelled", "binarise", "binarise_labelled"]
    assert list(streams.states) == names
    assert [variable.name for variable in streams.states.values()] == [f"random/{name}" for name in names]


def test_streams_are_a_function_of_the_seed():
    (one, _), (same, _), other = stream_draws(), stream_draws(), NamedStreams(6)
    other.normal("eps_z1", (80, 5))
    values = [streams.states["eps_z1"].get_value() for streams in (one, same, other)]
    assert np.array_equal(values[0], values[1])
    assert not (values[0] == values[2]).all(axis=1).any()


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_quick_starts_are_theanos(count):
    seed = [5, 2147483646, 3, 2147462578, 1, 7]
    quick, theanos = QuickStreams(seed), rng_mrg.MRG_RandomStream(seed)
    for _ in range(2):
        starts = quick.get_substream_rstates(count, "float32")
        assert starts.dtype == np.int32
        np.testing.assert_array_equal(starts, theanos.get_substream_rstates(count, "float32"))
        np.testing.assert_array_equal(quick.rstate, theanos.rstate)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_second_stream_of_one_name_is_refused(kind):
    streams = NamedStreams(1)
    streams.normal("eps_z1", (2, 2))
    with pytest.raises(ValueError, match="'eps_z1'"):
        getattr(streams, kind)("eps_z1", (2, 2))


def test_purposes_are_distinct_and_fit_the_key():
    """Two equal values would silently be one member; noise() multiplies the seed by 64."""
    assert len(Purpose.__members__) == len(list(Purpose))
    assert max(Purpose) < 64
