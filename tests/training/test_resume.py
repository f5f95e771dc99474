"""Exact resume and signals, in one process."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
from runs import arrays_of, assert_same_arrays, lines_of, log_of
from trainers import on_block, stop

from parmesan_cagem import checkpoint, packing, unpacking
from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Stopped


@pytest.mark.parametrize("first", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(first, whole, new_trainer, tmp_path):
    stop(new_trainer(epochs=first)).run()
    assert log_of(tmp_path / "run") == whole[3][:first]
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]


def repack(folder, finished):
    """What a pack makes of the run in ``folder``, put in its place."""
    if finished:
        epochs = json.loads((folder / "config.json").read_text())["epochs"]
        (folder / "record.json").write_text(json.dumps({"epochs": epochs}))
    parts = packing.pack([folder], folder.parent / "pack").parts
    shutil.rmtree(folder)
    unpacking.unpack(parts, folder.parent)


def test_a_run_that_went_through_a_pack_is_a_rounding_away_and_keeps_saying_so(whole, new_trainer, tmp_path):
    stop(new_trainer(epochs=1)).run()
    repack(tmp_path / "run", finished=False)
    (note,) = checkpoint.load(tmp_path / "run").attributes["notes"]
    trainer = new_trainer(resume=True, warnings=(note,))
    stop(trainer).run()
    saved = checkpoint.load(tmp_path / "run")
    assert saved.attributes["notes"] == [note]  # the next process will say it too
    assert {"note": note} in lines_of(tmp_path / "run")
    assert [entry["F"] for entry in log_of(tmp_path / "run")] == pytest.approx([e["F"] for e in whole[3]], rel=1e-2)
    assert np.array_equal(saved.arrays["random/eps_z1"], whole[2].arrays["random/eps_z1"])


def test_a_finished_run_from_a_pack_can_be_restored_and_not_trained_further(new_trainer, tmp_path):
    trainer = stop(new_trainer(epochs=1))
    trainer.run()
    weights = {name: value for name, value in arrays_of(tmp_path / "run").items() if name.startswith("weights/")}
    repack(tmp_path / "run", finished=True)
    again = stop(new_trainer(resume=True, epochs=1))
    assert all(np.array_equal(again.step.state[name].get_value(), value) for name, value in weights.items())
    with pytest.raises(UserError, match=r"without Adam's moments.*give --epochs 1"):
        new_trainer(resume=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("block", "epoch", "step"),
    [
        pytest.param(0, 0, 10, id="first block"),
        pytest.param(1, 0, 20, id="before the first checkpoint"),
        pytest.param(4, 1, 20, id="mid-epoch"),
        pytest.param(5, 1, 26, id="last block of an epoch"),
        pytest.param(8, 2, 26, id="last block of all"),
    ],
)
def test_a_signal_saves_stops_and_loses_nothing(number, block, epoch, step, whole, new_trainer, tmp_path):
    def interrupt(count, *_):
        if count == block:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped) as stopped:
        on_block(stop(new_trainer()), interrupt).run()
    assert stopped.value.exit_status == 128 + number
    saved = checkpoint.load(tmp_path / "run")
    assert (saved.attributes["epoch"], saved.attributes["step"]) == (epoch, step)
    assert len(log_of(tmp_path / "run")) == epoch
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]


def test_a_run_that_died_between_checkpoints_repeats_what_it_lost(whole, new_trainer, tmp_path):
    class Died(Exception):
        pass

    def die(count, *_):
        if count == 7:  # in the third epoch; the last checkpoint is that of the first
            raise Died

    trainer = stop(new_trainer(checkpoint_every=2, epochs=3))
    trainer.e = dataclasses.replace(trainer.e, checkpoint_every=4)
    trainer.save()
    with pytest.raises(Died):
        on_block(trainer, die).run()
    assert len(log_of(tmp_path / "run")) == 2
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]  # no line twice


def test_a_run_without_a_checkpoint_starts_anew(whole, new_trainer, tmp_path, compiled):
    stop(new_trainer())
    (tmp_path / "run" / "log.jsonl").write_text('{"epoch": 1}\n')
    trainer = stop(new_trainer(resume=True))
    for variable, value in zip(trainer.step.state.values(), compiled[1].values(), strict=True):
        variable.set_value(value)
    trainer.run()
    assert log_of(tmp_path / "run") == whole[3]


def test_the_seconds_of_an_epoch_include_those_before_the_signal(new_trainer, tmp_path):
    def interrupt(count, *_):
        if count == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        on_block(stop(new_trainer(epochs=1)), interrupt).run()
    path = tmp_path / "run"
    before = checkpoint.load(path).attributes["seconds"]
    stop(new_trainer(epochs=1, resume=True)).run()
    entry = lines_of(path)[-1]
    total = checkpoint.load(path).attributes["seconds"]
    assert total > before > 0
    assert entry["seconds"] == pytest.approx(total)
