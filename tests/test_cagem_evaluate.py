"""``cagem evaluate RUN`` on checkpoints of small runs: the same numbers, other protocols, interruptions, refusals."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_runs import RUN, Counting, called, digits, without_times

from parmesan_cagem import checkpoint, recording, records
from parmesan_cagem.signals import Stopped


@pytest.fixture
def run(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "run")


def test_the_same_protocol_gives_the_same_record_without_computing_it(run):
    before, machine = records.read(run / "record.json"), Counting()
    status, printed, told = called("cagem", "evaluate", run, "--no-progress", engine=machine)
    assert status == 0, told
    after = records.read(run / "record.json")
    assert after["eval"]["device"] == f"{before['eval']['device']}; a toy"  # some of it was computed there
    after["eval"].update(device=before["eval"]["device"])
    assert without_times(after) == without_times(before)
    assert machine.calls == 2  # of the samples, in two functions; none of bounds and classes
    assert printed.splitlines()[0].startswith("bound      F_10 = ")
    assert not (run / "record.former-1.json").exists()


def test_without_its_ledger_it_computes_the_same(run):
    before = records.read(run / "record.json")
    (run / "evaluation.h5").unlink()
    assert called("cagem", "evaluate", run, "--no-progress")[0] == 0
    after = records.read(run / "record.json")
    assert after["bounds"] == before["bounds"]
    assert after["confusion"] == before["confusion"]


def test_another_protocol_keeps_the_former_record(run):
    before = records.read(run / "record.json")
    flags = ["--iw-samples", "20", "--eval-images", "0", "--eval-seeds", "2", "--no-progress"]
    status, _, told = called("cagem", "evaluate", run, *flags)
    assert status == 0
    after = records.read(run / "record.json")
    assert records.read(run / "record.former-1.json") == before
    assert "F_20 on 60 images, 2 draws, after 1 epochs replaces F_10 on 20 images, 2 draws, after 1 epochs" in told
    assert (after["eval"]["k"], after["eval"]["images"], after["eval"]["seeds"]) == (20, 60, [1, 2])
    assert after["config"] == {**before["config"], "iw_samples": 20, "eval_images": 0, "eval_seeds": 2}
    assert after["config_hash"] == before["config_hash"]
    training = ("started", "train_seconds", "versions", "git", "engine", "device", "epochs", "steps", "label_weight")
    assert {k: after[k] for k in training} == {k: before[k] for k in training}
    assert json.loads((run / "config.json").read_text()) == before["config"]  # still that of the training


def test_killed_before_its_record_it_keeps_the_former_one_once(run, monkeypatch):
    before = (run / "record.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", dying)
        assert called("cagem", "evaluate", run, "--iw-samples", "20", "--no-progress")[0] == 143
    assert (run / "record.json").read_bytes() == before
    assert called("cagem", "evaluate", run, "--iw-samples", "20", "--no-progress")[0] == 0
    assert [path.name for path in run.glob("record.former-*")] == ["record.former-1.json"]
    assert (run / "record.former-1.json").read_bytes() == before


def test_where_a_record_is_the_samples_are(trained_only, tmp_path, monkeypatch):
    run = shutil.copytree(trained_only, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(recording, "save_grid", dying)
        assert called("cagem", "evaluate", run, "--no-progress")[0] == 143
    assert not (run / "record.json").exists()  # else the queue would take the run for finished


def dying(*_):
    raise Stopped(15)


def test_no_record_is_ever_lost(run):
    flags = [["--class-draws", "3"], ["--iw-samples", "20"], []]
    first = records.read(run / "record.json")
    for more in flags:
        assert called("cagem", "evaluate", run, *more, "--no-progress")[0] == 0
    (run / "record.json").write_text("{}")  # of another version
    status, _, told = called("cagem", "evaluate", run, "--no-progress")
    assert status == 0
    assert "a record that cannot be read" in told
    kept = [run / f"record.former-{number}.json" for number in range(1, 5)]
    assert records.read(kept[0]) == first
    assert [records.read(path)["eval"]["draws_for_errors"] for path in kept[:3]] == [2, 3, 2]
    assert [records.read(path)["eval"]["k"] for path in kept[:3]] == [10, 10, 20]
    assert kept[3].read_text() == "{}"


def test_another_precision_computes_anew_and_says_so(run):
    machine = Counting()
    machine.precision = "bf16"
    assert called("cagem", "evaluate", run, "--precision", "bf16", "--no-progress", engine=machine)[0] == 0
    assert machine.calls > 2  # more than the samples
    after = records.read(run / "record.json")
    assert after["eval"]["precision"] == "bf16"
    assert after["eval"]["device"] == "a toy"
    assert after["config"]["precision"] == "float32"


@pytest.mark.parametrize("stop_at", [1, 3, 12])
def test_stopped_it_goes_on_to_the_same_bits(run, stop_at):
    flags = ["--iw-samples", "30", "--class-draws", "3", "--no-progress"]
    whole = Counting()
    (run / "evaluation.h5").unlink()  # of another device
    assert called("cagem", "evaluate", run, *flags, engine=whole)[0] == 0
    expected = records.read(run / "record.json")
    for name in ("evaluation.h5", "record.json"):
        (run / name).unlink()
    status, _, told = called("cagem", "evaluate", run, *flags, engine=Counting(stop_at))
    assert (status, told) == (143, "cagem: stopped by SIGTERM\n")
    assert not (run / "record.json").exists()
    rest = Counting()
    assert called("cagem", "evaluate", run, *flags, engine=rest)[0] == 0
    assert without_times(records.read(run / "record.json")) == without_times(expected)
    assert rest.calls <= whole.calls


def test_weights_from_the_middle_of_an_epoch_are_told(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, {**saved.attributes, "step": 2})
    assert called("cagem", "evaluate", run, "--no-progress")[0] == 0
    record = records.read(run / "record.json")
    assert "the weights are from the middle of epoch 2" in record["warnings"]
    assert record["steps"] == 3 + 2


def test_a_damaged_newest_checkpoint_is_told(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, saved.attributes)
    data = bytearray((run / checkpoint.NEWEST).read_bytes())
    data[5000] ^= 1
    (run / checkpoint.NEWEST).write_bytes(data)
    assert called("cagem", "evaluate", run, "--no-progress")[0] == 0
    (warning, *_) = records.read(run / "record.json")["warnings"]
    assert "checkpoint.h5 is damaged" in warning


def other_data(run):
    return {"data": dataclasses.replace(digits(), sha256="0" * 64)}


def other_labels(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, {**saved.attributes, "labelled_sha256": "0" * 64})


def no_checkpoint(run):
    (run / checkpoint.NEWEST).unlink()


def no_folder(run):
    shutil.rmtree(run)


def no_provenance(run):
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(line for line in lines if "versions" not in line))


def another_architecture(run):
    saved = checkpoint.load(run)
    config = {**saved.attributes["config"], "wide": 7}
    checkpoint.save(run, saved.arrays, {**saved.attributes, "config": config})


def no_weights(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, {"a": np.zeros(1)}, saved.attributes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_data, ["another copy of the data", "--data-dir"]),
        (other_labels, ["other labelled images"]),
        (no_checkpoint, ["no checkpoint"]),
        (no_folder, ["no run (no config.json)"]),
        (no_provenance, ["does not say what trained the run", "--resume"]),
        (another_architecture, ["has shape", "q_z1.edge_x.W"]),
        (no_weights, ["holds no weights"]),
    ],
)
def test_refusals_are_one_line(run, spoil, words):
    changes = spoil(run) or {}
    status, printed, told = called("cagem", "evaluate", run, "--no-progress", **changes)
    assert (status, printed) == (2, "")
    assert told.count("\n") == 1
    assert told.startswith("cagem: ")
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--iw-samples", "0"], ["--iw-samples 0", "at least 1"]),
        (["--eval-images", "61"], ["--eval-images 61", "60"]),
        (["--eval-seeds", "0"], ["--eval-seeds 0", "at least 1"]),
        (["--estimator", "exact"], ["--estimator exact", "marginal, sampled"]),
        (["--epochs", "3"], ["--epochs"]),
        (["--iw", "3"], ["--iw"]),
    ],
)
def test_bad_flags_are_one_line(run, flags, words):
    before = (run / "record.json").read_bytes()
    status, _, told = called("cagem", "evaluate", run, *flags)
    assert status == 2
    assert told.count("\n") == 1
    assert all(word in told for word in words), told
    assert (run / "record.json").read_bytes() == before


def test_held_out_images_are_judged_instead_of_the_test_set(tmp_path):
    flags = ["--labels", "0", "--holdout", "40", "--eval-split", "heldout"]
    blind = dataclasses.replace(
        digits(), test_images=digits().test_images[:25] * 0, test_labels=digits().test_labels[:25]
    )
    for name, data in (("sees", digits()), ("blind", blind)):
        status, printed, told = called("run_mnist.py", *RUN, *flags, "--out", tmp_path / name, data=data)
        assert status == 0, told
        assert "nats, on 20 held-out images" in printed
        assert "held-out images)" in printed.splitlines()[-1]
    first, second = (records.read(tmp_path / name / "run" / "record.json") for name in ("sees", "blind"))
    assert first["bounds"] == second["bounds"]
    assert first["confusion"] == second["confusion"]
    assert (first["config"]["eval_split"], first["dataset"]["test_images"], first["eval"]["error_images"]) == (
        "heldout",
        40,
        40,
    )
    run = tmp_path / "sees" / "run"
    assert called("cagem", "evaluate", run, "--eval-split", "test", "--no-progress")[0] == 0
    after = records.read(run / "record.json")
    assert (after["config"]["eval_split"], after["dataset"]["test_images"]) == ("test", 60)
    assert after["bounds"] != first["bounds"]
    assert records.read(run / "record.former-1.json") == first
