"""What the steps receive: batches, temperatures and learning rates."""

import copy
import dataclasses

import numpy as np
import pytest
from trainers import IMAGES, STEPS, TINY

from parmesan_cagem import training_step
from parmesan_cagem.config import experiment
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.randomness import NamedStreams
from parmesan_cagem.training import Position


def column(blocks, index):
    """Input ``index`` of every step of all epochs."""
    return np.concatenate([inputs[index] for inputs, _ in blocks])


def test_every_epoch_is_a_permutation_and_another_one(whole):
    epochs = column(whole[1], 0).reshape(3, STEPS, TINY.batch_size)
    orders = epochs.reshape(3, -1)
    for order in orders:
        assert len(set(order)) == STEPS * TINY.batch_size
        assert order.min() >= 0
        assert order.max() < IMAGES
    assert all((orders[i] != orders[j]).mean() > 0.9 for i, j in [(0, 1), (0, 2), (1, 2)])
    left_out = [frozenset(range(IMAGES)) - set(order) for order in orders]
    assert [len(rest) for rest in left_out] == [3, 3, 3]
    assert len(set(left_out)) == 3  # no image is left out for good


def test_labelled_batches_are_drawn_without_replacement(whole):
    batches = column(whole[1], 1)
    assert batches.shape == (3 * STEPS, TINY.labelled_batch_size)
    assert all(len(set(batch)) == len(batch) for batch in batches)
    counts = np.bincount(batches.ravel(), minlength=20)
    # 78 draws of 7 of 20: 27.3 of each on average, standard deviation 4.2.
    assert len(counts) == 20
    assert counts.min() > 10
    assert counts.max() < 45
    assert len({tuple(sorted(batch)) for batch in batches}) > 70


def test_batches_follow_from_the_seed_alone(compiled):
    def schedule(**changes):
        trainer = copy.copy(compiled[0])
        trainer.e, trainer.position = dataclasses.replace(TINY, **changes), Position(epoch=1)
        return [np.concatenate(sequences) for sequences in zip(*trainer._blocks(), strict=True)]

    first, again, other = schedule(), schedule(epochs=9), schedule(seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_fewer_labels_than_the_labelled_batch_are_all_used_in_every_step(compiled):
    trainer = copy.copy(compiled[0])
    trainer.e, trainer.position = dataclasses.replace(TINY, labelled_batch_size=100), Position()
    batches = np.concatenate([block[1] for block in trainer._blocks()])
    assert batches.shape == (STEPS, 20)
    assert (np.sort(batches, axis=1) == np.arange(20)).all()


def binary_batches(pixels, pixel_scale, calls):
    """Draws of the graph that binarises a batch: (calls, 20, 784), images of one grey value each."""
    e = experiment("smoke") if pixel_scale is None else experiment("smoke", pixel_scale=pixel_scale)
    images = np.repeat(np.array(pixels, dtype=np.uint8)[:, None], 784, axis=1)
    import theano.tensor as T

    batch, streams = T.ivector("batch"), NamedStreams(1)
    rows = np.arange(20, dtype=np.int32) % len(images)
    x = training_step._binary_batch(images, batch, e, streams, "binarise", 20)
    draw = TheanoC().steps([batch], [x], streams.updates(), "binarise")
    return draw(np.repeat(rows[None], calls, axis=0))[0].reshape(calls, -1, len(images), 784)


@pytest.mark.parametrize(("pixel_scale", "meant"), [(None, 256), (255.0, 255)])
def test_batches_are_binary_new_every_time_and_of_the_right_mean(c_engine, pixel_scale, meant):
    pixels = np.array([0, 1, 64, 128, 255])
    draws = binary_batches(pixels, pixel_scale, calls=30)
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert np.mean(draws[0, :, 3] != draws[1, :, 3]) == pytest.approx(0.5, abs=0.05)
    n, p = draws[:, :, 0].size, pixels / meant  # 94,080 draws of each grey value
    assert draws.mean(axis=(0, 1, 3)) == pytest.approx(p, abs=1e-12 + 5 * np.sqrt(0.25 / n))
    # Black is never ink; white always is at 255, and is not one time in 256 at 256.
    assert not draws[:, :, 0].any()
    expected = n * (1 - p[4])
    assert (1 - draws[:, :, 4]).sum() == pytest.approx(expected, abs=1e-12 + 5 * np.sqrt(expected))


def test_every_step_receives_its_temperature_and_learning_rate(whole):
    expected = np.minimum(1, np.arange(3 * STEPS) / (2 * STEPS)).astype(np.float32)
    assert np.array_equal(column(whole[1], 2), expected)
    rates = np.repeat([1e-3, 0.75e-3, 0.75**2 * 1e-3], STEPS).astype(np.float32)
    assert np.array_equal(column(whole[1], 3), rates)
