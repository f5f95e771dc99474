"""Refusals and failures that no other test of the quick suite meets: found by coverage, each in one line."""

import json

import fake_runs
import numpy as np
import pytest
from small_runs import called
from toy_evaluation import engine, toy, toy_images

from parmesan_cagem import checkpoint, engines, packing, units
from parmesan_cagem.classification import classify
from parmesan_cagem.errors import UserError

PLACES = np.array([4, 7, 9])


def run_folder(path, *, record=None, weights=True):
    path.mkdir()
    (path / "config.json").write_text("{}")
    if record is not None:
        (path / "record.json").write_text(json.dumps(record))
    if weights:
        (path / checkpoint.NEWEST).write_bytes(b"")
    return path


# ---- cagem units: what minutes of work would be lost for


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no record", "{run}: no record; `cagem evaluate {run}` writes it"),
        (
            "no weights",
            "{run}: no checkpoint and no weights.h5: train the run again under another --name",
        ),
        (
            "collected",
            "{run}: its record has collected statistics; `cagem evaluate {run} --bn-eval ema` first",
        ),
    ],
)
def test_units_looks_at_every_run_before_it_measures_one(tmp_path, kind, reason):
    record = fake_runs.record(bn_eval="collect") if kind == "collected" else fake_runs.record()
    run = run_folder(tmp_path / "run", record=None if kind == "no record" else record, weights=kind != "no weights")
    status, printed, told = called("cagem", "units", run)
    assert (status, printed) == (2, "")
    assert told == f"cagem: {reason.format(run=run)}\n"


def test_units_needs_a_folder_for_its_numbers(tmp_path):
    status, _, told = called("cagem", "units", tmp_path, "--json", tmp_path / "none" / "units.json")
    assert status == 2
    assert told == (
        f"cagem: --json {tmp_path}/none/units.json: there is no folder {tmp_path}/none; make it, or name another\n"
    )


# ---- numbers that are none


def poisoned(**changes):
    e, model = toy(**changes)
    weights = next(param for param in model.params() if param.name == "q_z1.edge_x.W")
    weights.set_value(np.full_like(weights.get_value(), np.nan))
    return e, model


def test_classes_that_are_not_finite_name_their_image():
    e, model = poisoned()
    with pytest.raises(FloatingPointError, match=r"^evaluation: the classes of test image 4 are not finite$"):
        classify(model, e, engine(), toy_images(3), PLACES)


def test_divergences_that_are_not_finite_name_their_image():
    e, model = poisoned(model="vae")
    with pytest.raises(FloatingPointError, match=r"^units: the divergences of test image 4 are not finite$"):
        units.top_divergence(model, e, engine(), toy_images(3), PLACES, 4)


# ---- folders that cannot be made, files that cannot be written


def test_a_report_in_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("parmesan_cagem.report.build.build", lambda *_: ("page", ["no runs"]))
    out = tmp_path / "file" / "report.html"
    status, _, told = called("cagem", "report", "--out", out)
    assert status == 2
    assert told == (
        f"cagem report: no runs\ncagem: --out {out}: cannot make its folder: File exists; name another file\n"
    )


def test_a_pack_in_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        packing.pack([], tmp_path / "file" / "pack")
    assert str(error.value) == f"{tmp_path}/file/pack: cannot make the folder: Not a directory; name another"


def test_a_log_that_cannot_be_read_is_refused(tmp_path):
    from parmesan_cagem.runfolder import read_log

    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(UserError) as error:
        read_log(tmp_path)
    assert str(error.value) == f"{tmp_path}/log.jsonl: cannot read: not a regular file"


def test_an_engine_that_nobody_knows_is_a_mistake_of_ours(monkeypatch):
    monkeypatch.setattr(engines, "check", lambda name: None)
    with pytest.raises(ValueError, match="no engine is named 'tpu'"):
        engines.get("tpu")
