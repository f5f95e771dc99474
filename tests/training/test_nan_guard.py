"""What is not finite stops the run, spares its checkpoint, and has an exit status of its own."""

import json
import math
import os
import signal

import numpy as np
import pytest
from runs import arrays_of, assert_same_arrays
from trainers import on_block, record_blocks, stop

from parmesan_cagem import checkpoint, pipeline
from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Stopped
from parmesan_cagem.training import NumericalError


@pytest.mark.parametrize(
    ("parameter", "value"), [("q_z1.mu.W", np.nan), ("p_x.logits.b", np.inf), ("q_y.bn1.gamma", np.nan)]
)
def test_nan_stops_the_run_and_spares_the_checkpoint(parameter, value, new_trainer, tmp_path, whole):
    path = tmp_path / "run"
    stop(new_trainer(epochs=1)).run()
    before, log = (path / checkpoint.NEWEST).read_bytes(), (path / "log.jsonl").read_bytes()

    trainer = stop(new_trainer(resume=True))
    variable = trainer.step.state[f"weights/{parameter}"]
    spoilt = variable.get_value()
    spoilt.flat[0] = value

    blocks = record_blocks(trainer)
    run_block = trainer._run_block

    def run(*inputs):
        if len(blocks) == 1:  # before the second block
            variable.set_value(spoilt)
        return run_block(*inputs)

    run.prepare, run.pull = run_block.prepare, run_block.pull
    trainer._run_block = run
    with pytest.raises(NumericalError) as error:
        trainer.run()

    line, failure = str(error.value), path / "failure.json"
    assert "\n" not in line
    assert all(words in line for words in ("epoch 2, step 10", "not finite: ", "objective", str(failure), "intact"))
    told = json.loads(failure.read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert (told["epoch"], told["step"]) == (2, 10)
    indices = blocks[1][0][0][0]  # second block, unlabelled batch, first step
    assert told["batch"] == trainer.partition.unlabelled[indices].tolist()
    assert told["labelled_batch"] == trainer.partition.labelled[blocks[1][0][1][0]].tolist()
    assert set(told["outputs"]) == set(trainer.step.outputs)
    assert {"F", "KL_z1", "H_q", "gradient_norm_y", "gradient_norm_rest"} <= set(told["outputs"])
    assert not math.isfinite(float(told["outputs"]["objective"]))
    assert (path / checkpoint.NEWEST).read_bytes() == before
    assert (path / "log.jsonl").read_bytes() == log

    stop(new_trainer(resume=True)).run()  # and the run can go on from there
    assert_same_arrays(arrays_of(path), whole[2].arrays)


def test_a_gradient_alone_that_is_not_finite_stops_the_run(new_trainer, tmp_path):
    trainer = stop(new_trainer())
    index = list(trainer.step.outputs).index("gradient_norm_rest")

    def spoil(count, inputs, values):
        if count == 1:
            values[index][3] = np.inf
        return values

    with pytest.raises(NumericalError, match="epoch 1, step 13: not finite: gradient_norm_rest; "):
        on_block(trainer, spoil).run()
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["outputs"]["gradient_norm_rest"] == "inf"


def test_usage_that_is_not_finite_stops_the_run(new_trainer):
    trainer = stop(new_trainer())
    index = list(trainer.step.outputs).index("usage")

    def spoil(count, inputs, values):
        values[index][0, 9] = np.nan
        return values

    with pytest.raises(NumericalError, match="epoch 1, step 0: not finite: usage; "):
        on_block(trainer, spoil).run()


def test_nan_on_the_watched_images_stops_the_run(new_trainer, tmp_path):
    trainer = stop(new_trainer())
    watch = trainer._monitor

    def spoilt(images, labels, epoch):
        values = watch(images, labels, epoch)
        return {**values, "H_p": np.inf} if epoch == 1 else values

    trainer._monitor = spoilt
    with pytest.raises(NumericalError, match="epoch 2, labelled: not finite: H_p; "):
        trainer.run()
    told = json.loads((tmp_path / "run" / "failure.json").read_text(), parse_constant=pytest.fail)
    assert (told["epoch"], told["images"], told["outputs"]["H_p"]) == (2, "labelled", "inf")
    assert checkpoint.load(tmp_path / "run").attributes["epoch"] == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NumericalError("epoch 1, step 2: not finite: F"), 3),
        (FloatingPointError("evaluation: image 7"), 3),
        (Stopped(signal.SIGTERM), 143),
        (Stopped(signal.SIGINT), 130),
    ],
)
def test_exit_status(error, status, monkeypatch, capsys):
    def run(*_):
        raise error

    monkeypatch.setattr(pipeline, "run", run)
    assert pipeline.main("mnist", ["--preset", "smoke"], "run_mnist.py") == status
    assert capsys.readouterr().err == f"run_mnist.py: {error}\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("adam/v/p_x.logits.W", np.inf), ("weights/q_z2.bn1.running_variance", np.inf), ("adam/m/q_y.logits.b", -np.inf)],
)
def test_a_state_that_no_term_tells_of_stops_the_run_before_it_is_saved(name, value, new_trainer, tmp_path):
    path = tmp_path / "run"
    stop(new_trainer(epochs=1)).run()
    before, log = (path / checkpoint.NEWEST).read_bytes(), (path / "log.jsonl").read_bytes()
    trainer = stop(new_trainer(resume=True))
    variable = trainer.step.state[name]
    spoilt = variable.get_value()
    spoilt.flat[1] = value

    def spoil(count, *_):
        if count == 2:  # the last block of the epoch: a checkpoint would follow, and a signal waits for one
            variable.set_value(spoilt)
            os.kill(os.getpid(), signal.SIGTERM)

    blocks = record_blocks(trainer)
    with pytest.raises(NumericalError) as error:
        on_block(trainer, spoil).run()
    assert f"epoch 2, step 25: not finite: {name}; terms, norms and batch are in " in str(error.value)
    told = json.loads((path / "failure.json").read_text(), parse_constant=pytest.fail)
    assert told["state"] == {
        name: {"not_finite": 1, "of": spoilt.size, "first": _index(spoilt, 1), "value": f"{value:g}"}
    }
    assert (told["since_step"], told["step"]) == (20, 25)
    assert told["batches"] == trainer.partition.unlabelled[blocks[2][0][0]].tolist()
    assert told["batch"] == told["batches"][-1]
    assert {"F", "KL_z1", "gradient_norm_y"} <= set(told["outputs"])
    assert (path / checkpoint.NEWEST).read_bytes() == before
    assert (path / "log.jsonl").read_bytes() == log


def _index(array, place):
    return [int(i) for i in np.unravel_index(place, array.shape)]


def test_a_state_that_went_bad_after_its_block_is_not_saved(new_trainer, tmp_path):
    trainer = stop(new_trainer(epochs=1))
    watch, variable = trainer._monitor, trainer.step.state["adam/t"]

    def spoil(*arguments):
        variable.set_value(np.array(np.nan, variable.dtype))
        return watch(*arguments)

    trainer._monitor = spoil
    with pytest.raises(NumericalError, match="not finite: adam/t; "):
        trainer.run()
    assert not checkpoint.exists(tmp_path / "run")


def test_a_checkpoint_that_is_not_finite_is_not_gone_on_from(new_trainer, tmp_path):
    stop(new_trainer(epochs=1)).run()
    saved = checkpoint.load(tmp_path / "run")
    saved.arrays["adam/v/q_y.logits.W"][0, 3] = np.inf
    checkpoint.save(tmp_path / "run", saved.arrays, saved.attributes)
    with pytest.raises(NumericalError) as error:
        new_trainer(resume=True)
    words = ("--resume: ", "checkpoint.h5: inf in adam/v/q_y.logits.W at [0, 3]", "checkpoint.previous.h5", "--name")
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_a_failure_that_cannot_be_written_down_is_told_all_the_same(new_trainer, tmp_path, monkeypatch):
    trainer = stop(new_trainer())
    trainer.step.state["weights/q_z1.mu.b"].set_value(np.full(3, np.nan, np.float32))

    def full(path, value):
        raise UserError(f"{path}: cannot write: No space left on device")

    monkeypatch.setattr("parmesan_cagem.guard.files.write_json", full)
    with pytest.raises(NumericalError, match=r"epoch 1, step 0: not finite: .*No space left on device.*no checkpoint"):
        trainer.run()
