"""Same seed, same bits; another seed, other ones: small runs in this process. ``torture.determinism`` has processes."""

import numpy as np
import pytest
from small_runs import train

from parmesan_cagem import training
from torture import determinism
from torture.determinism import OTHER, ROUNDING, SAME

FLAGS = ("--labels", "20", "--epochs", "2", "--train-images", "300")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    train(out, *FLAGS)
    return determinism.result(out / "run")


def again(out, *flags):
    train(out, *FLAGS, *flags)
    return determinism.result(out / "run")


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_same_seed_gives_the_same_bits_however_steps_are_grouped(block, first, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "BLOCK", block)
    monkeypatch.setattr(training, "BLOCK_SECONDS", 0.0)  # blocks do not grow
    found = determinism.differences(first, again(tmp_path))
    assert determinism.broken(SAME, found) is None, found
    assert first.record is not None


def test_another_seed_gives_other_weights_log_and_labels(first, tmp_path):
    found = determinism.differences(first, again(tmp_path, "--seed", "2", "--label-seed", "2"))
    assert determinism.broken(OTHER, found) is None, found
    assert determinism.broken(SAME, found) is not None
    assert determinism.broken(ROUNDING, found) is not None


def test_one_bit_breaks_the_strongest_promise_and_no_other(first):
    arrays = {name: np.array(array) for name, array in first.arrays.items()}
    arrays["adam/v/p_x.logits.b"].view(np.uint32).flat[0] ^= 1
    found = determinism.differences(first, determinism.Result(arrays, first.log, first.labels, first.record))
    assert (determinism.broken(SAME, found), determinism.broken(ROUNDING, found)) == ("arrays", None)
    assert determinism.broken(OTHER, found) is not None
