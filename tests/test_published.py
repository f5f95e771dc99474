"""Published weights: half the bits, no more than evaluation needs, and whoever evaluates them says so."""

import shutil

import numpy as np
import pytest
from small_runs import called

from parmesan_cagem import checkpoint, published, records, sealed, trained
from parmesan_cagem.errors import UserError


@pytest.fixture
def run(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "run")


def without_checkpoint(run):
    for path in run.glob("checkpoint*"):
        path.unlink()
    return run


def test_matrices_are_rounded_vectors_exact_and_the_rest_is_left_out(run):
    status, printed, _ = called("cagem", "publish", run)
    assert (status, printed) == (0, f"{run}/weights.h5: 0.0 MiB\n")
    whole, small = checkpoint.load(run), published.load(run)
    assert list(small.arrays) == [name for name in whole.arrays if name.startswith("weights/")]
    assert small.attributes == whole.attributes
    for name, array in small.arrays.items():
        exact = whole.arrays[name]
        assert (array.dtype, array.shape) == (exact.dtype, exact.shape)
        if array.ndim == 2:
            assert np.abs(array - exact).max() <= 2**-11 * np.abs(exact).max()
            assert not np.array_equal(array, exact)
        else:
            np.testing.assert_array_equal(array, exact)
    stored, _ = sealed.decode(sealed.read(run / published.NAME))
    assert {array.dtype.itemsize for array in stored.values() if array.ndim == 2} == {2}


def test_evaluation_takes_them_only_without_a_checkpoint_and_its_record_says_so(run):
    before = records.read(run / "record.json")
    published.publish(run)
    assert trained.load(run).warnings == ()
    digest = trained.identify(run)
    without_checkpoint(run)
    assert trained.identify(run) != digest
    status, _, told = called("cagem", "evaluate", run, "--no-progress")
    assert status == 0, told
    after = records.read(run / "record.json")
    warning = "no checkpoint; using weights.h5, whose matrices are rounded to float16"
    assert after["warnings"] == [warning, *before["warnings"]]
    assert after["bounds"]["F_10"]["mean"] == pytest.approx(before["bounds"]["F_10"]["mean"], abs=0.02)
    assert after["bounds"]["F_10"]["mean"] != before["bounds"]["F_10"]["mean"]


def test_training_does_not_go_on_from_them(run):
    published.publish(run)
    without_checkpoint(run)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        checkpoint.load(run)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        published.publish(run)


def test_a_matrix_beyond_float16_stays_as_it_is(run):
    saved = checkpoint.load(run)
    name = "weights/p_x.logits.W"
    saved.arrays[name][0, 0] = 70_000
    checkpoint.save(run, saved.arrays, saved.attributes)
    published.publish(run)
    np.testing.assert_array_equal(published.load(run).arrays[name], saved.arrays[name])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"epoch": 0}, "0 of 1 epochs and 0 steps"), ({"step": 2}, "1 of 1 epochs and 2 steps")],
)
def test_an_unfinished_run_is_not_published(run, changes, reason):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, {**saved.attributes, **changes})
    status, _, told = called("cagem", "publish", run)
    assert (status, told) == (2, f"cagem: {run}/checkpoint.h5: {reason}; finish the run with --resume\n")
    assert not published.exists(run)


def test_what_is_too_large_for_git_is_not_written(run):
    with pytest.raises(UserError, match=r"would take 0\.\d MiB, more than 0\.0009\d*; publish the command"):
        published.publish(run, largest=1000)
    assert not published.exists(run)


def test_a_damaged_file_is_refused_by_name(run):
    path = published.publish(run)
    without_checkpoint(run)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    status, _, told = called("cagem", "evaluate", run, "--no-progress")
    assert status == 2
    reason = "is damaged: its SHA-256 is not the one it was sealed with"
    assert told == f"cagem: {path} {reason}; restore it from git, or train the run again\n"
