"""NaN and Inf: a few of ``torture.numeric``'s faults on engine xla, and files of a run that hold them."""

import shutil

import numpy as np
import pytest
from small_runs import called

from parmesan_cagem import checkpoint, engines, finite, sealed
from torture import numeric
from torture.numeric_faults import VALUES
from torture.numeric_sweep import Sweep

STEPS = 12


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return Sweep(engines.get("xla"), tmp_path_factory.mktemp("sweep"), np.random.default_rng(1), STEPS)


@pytest.mark.parametrize(
    ("place", "value", "step", "block", "stopped"),
    [
        ("pixel", "nan", 5, 10, False),
        ("labelled pixel", "-inf", 3, STEPS, False),
        ("bound", "inf", 7, STEPS, True),
        ("gradient y", "nan", 0, 4, False),
        ("gradient rest", "-inf", STEPS - 1, STEPS, True),
        ("weights/q_z1.mu.W", "nan", 4, STEPS, False),
        ("weights/p_z1.bn1.running_variance", "inf", 10, 4, False),
        ("adam/m/p_x.logits.W", "nan", STEPS - 1, 1, True),
        ("adam/v/q_y.logits.W", "inf", 2, STEPS, False),
    ],
)
def test_a_fault_at_one_step_of_a_block_on_the_device(place, value, step, block, stopped, sweep):
    assert sweep.strike(place, VALUES[value], step, block, stopped) is None


def test_a_sweep_notices_a_guard_that_sleeps(sweep, monkeypatch):
    # The instrument itself: without the look at the state, a frozen weight would go into the next checkpoint.
    monkeypatch.setattr("parmesan_cagem.training.finite.faults", lambda arrays: {})
    assert sweep.strike("adam/v/q_y.logits.W", np.inf, 2, STEPS, False) == "training went on"


def refused(words, *arguments):
    status, out, err = called(*arguments)
    assert (status, out) == (3, "")
    line = err.splitlines()[-1]
    assert all(word in line for word in words), line


@pytest.fixture
def run(trained_only, tmp_path):
    return shutil.copytree(trained_only, tmp_path / "run")


@pytest.mark.parametrize("name", ["weights/q_y.logits.b", "weights/q_z1.bn1.running_mean"])
def test_weights_that_are_not_finite_are_not_evaluated(name, run):
    numeric._spoil_checkpoint(run, name)
    refused(("checkpoint.h5: nan in", f"{name.removeprefix('weights/')} at [0]"), "cagem", "evaluate", run)
    assert not (run / "record.json").exists()


def test_a_ledger_that_is_not_finite_is_not_built_on(run):
    assert called("cagem", "evaluate", run)[0] == 0
    (run / "record.json").unlink()
    numeric._spoil_ledger(run / "evaluation.h5")
    before = (run / "evaluation.h5").read_bytes()
    refused(("evaluation.h5: nan in bounds/k 10", "remove that file"), "cagem", "evaluate", run)
    assert not (run / "record.json").exists()
    assert (run / "evaluation.h5").read_bytes() == before
    (run / "evaluation.h5").unlink()
    assert called("cagem", "evaluate", run)[0] == 0


def test_a_part_that_is_not_finite_is_not_merged(run):
    for shard in ("1/2", "2/2"):
        assert called("cagem", "evaluate", run, "--shard", shard)[0] == 0
    numeric._spoil_ledger(run / "evaluation.shard-2-of-2.h5")
    refused(("evaluation.shard-2-of-2.h5: nan in",), "cagem", "evaluate", run, "--merge", "2")
    assert not (run / "record.json").exists()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_collected_statistics_that_are_not_finite_are_not_kept(run):
    saved = checkpoint.load(run)
    arrays = {name: np.array(array) for name, array in saved.arrays.items()}
    first = next(name for name, array in arrays.items() if name.startswith("weights/q_z1.") and len(array) == 49)
    arrays[first][:] = 1e30  # finite, and its squares are not
    checkpoint.save(run, arrays, saved.attributes)
    refused(("statistics of q_z1.", "over the training set"), "cagem", "evaluate", run, "--bn-eval", "collect")
    assert not any(name.startswith("collect/") for name in sealed.decode(sealed.read(run / "evaluation.h5"))[0])


def test_faults_are_named_and_integers_have_none():
    whole = {"a": np.arange(3), "b": np.ones((2, 2), np.float32)}
    assert finite.faults(whole) == {}
    found = finite.faults({**whole, "c": np.array([[0, 1], [-np.inf, np.nan]])})
    assert found == {"c": {"not_finite": 2, "of": 4, "first": [1, 0], "value": "-inf"}}
    assert finite.words({**found, "d": found["c"]}) == "-inf in c at [1, 0], 2 of its 4 numbers; and 1 more array"
