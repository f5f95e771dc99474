"""``cagem evaluate --merge``: parts that are missing, damaged or of another evaluation are named, never computed."""

import dataclasses
import shlex
import shutil

import numpy as np
import pytest
from sharded import compute, contents, evaluate, file_of, refused
from small_runs import Counting, called, digits

from parmesan_cagem import checkpoint, provenance, records, sealed


@pytest.fixture
def run(trained_only, tmp_path):
    return shutil.copytree(trained_only, tmp_path / "run")


def test_missing_shards_are_named_with_the_commands_that_make_them(run):
    flags = ["--iw-samples", "20", "--data-dir", "some data"]
    evaluate(run, "--shard", "2/3", *flags)
    line = refused(run, "--merge", 3, *flags)
    assert "shard 1/3, shard 3/3 of" in line
    for command in line.strip().partition("make with: ")[2].split("; "):
        program, *arguments = shlex.split(command)
        assert called(program, *arguments, "--no-progress")[0] == 0
    evaluate(run, "--merge", 3, *flags)
    assert records.read(run / "record.json")["eval"]["k"] == 20


def damage(run):
    data = bytearray(file_of(run, 2).read_bytes())
    data[len(data) // 2] ^= 1
    file_of(run, 2).write_bytes(data)
    return {}


def a_checkpoint(run):
    shutil.copy(run / "checkpoint.h5", file_of(run, 2))
    return {}


def another_shard(run):
    shutil.copy(file_of(run, 1), file_of(run, 2))
    return {}


def another_protocol(run):
    evaluate(run, "--shard", "2/3", "--iw-samples", "20")
    return {}


def another_engine(run):
    machine = Counting()
    machine.name = "xla"
    evaluate(run, "--shard", "2/3", engine=machine)
    return {}


def another_precision(run):
    machine = Counting()
    machine.precision = "bf16"
    evaluate(run, "--shard", "2/3", "--precision", "bf16", engine=machine)
    return {}


def other_weights(run):
    saved = checkpoint.load(run)
    arrays = {k: v + np.float32(0.5) if k == "weights/p_x.logits.b" else v for k, v in saved.arrays.items()}
    checkpoint.save(run, arrays, saved.attributes)
    return {}


def other_data(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, {**saved.attributes, "data_sha256": "0" * 64})
    return {"data": dataclasses.replace(digits(), sha256="0" * 64)}


@pytest.fixture(scope="module")
def computed(trained_only, tmp_path_factory):
    folder = shutil.copytree(trained_only, tmp_path_factory.mktemp("computed") / "run")
    compute(folder, 3)
    return folder


@pytest.mark.parametrize(
    ("spoil", "number", "words"),
    [
        (damage, 2, "is damaged"),
        (a_checkpoint, 2, "holds no evaluation"),
        (another_shard, 2, "--shard 1/3, now 2/3"),
        (another_protocol, 2, "--iw-samples 20, now 10"),
        (another_engine, 2, "--engine xla, now c"),
        (another_precision, 2, "--precision bf16, now float32"),
        (other_weights, 1, "other weights"),
        (other_data, 1, "other data"),
    ],
)
def test_what_does_not_belong_together_is_refused(computed, tmp_path, spoil, number, words):
    run = shutil.copytree(computed, tmp_path / "run")
    changes = spoil(run)
    before = contents(run)
    line = refused(run, "--merge", 3, **changes)
    assert file_of(run, number).name in line
    assert words in line
    command = line.strip().partition("anew: ")[2]
    assert command == f"cagem evaluate {run} --shard {number}/3"
    assert {**contents(run), "lock": b""} == {**before, "lock": b""}
    # And that command mends it, and says what it replaces.
    assert words in evaluate(run, *shlex.split(command)[3:], **changes)


def test_another_source_is_refused(computed, tmp_path, monkeypatch):
    run = shutil.copytree(computed, tmp_path / "run")
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "abc", "dirty": True})
    assert "another source (" in refused(run, "--merge", 3)
    assert ", now abc and changes)" in refused(run, "--merge", 3)


@pytest.mark.parametrize("lost", ["row", "table", "values"])
def test_what_no_shard_holds_is_an_error_and_not_computed(computed, tmp_path, lost):
    run = shutil.copytree(computed, tmp_path / "run")
    arrays, facts = sealed.decode(sealed.read(file_of(run, 3)))
    name = next(name for name in arrays if name.startswith("classes/") and name.endswith("/done"))
    if lost == "row":
        arrays[name][-1] = False
    else:
        gone = name.removesuffix("done") + ("values" if lost == "values" else "")
        arrays = {key: array for key, array in arrays.items() if not key.startswith(gone)}
    body = sealed.encode(arrays, facts)
    file_of(run, 3).write_bytes(sealed.seal(body) + body)
    machine = Counting()
    assert "lack results" in refused(run, "--merge", 3, engine=machine)
    assert machine.calls == 0
    assert not (run / "record.json").exists()
    assert not (run / "evaluation.h5").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--shard", "0/3"],
        ["--shard", "4/3"],
        ["--shard", "x"],
        ["--shard", "1/0"],
        ["--shard", "1/3/3"],
        ["--merge", "0"],
        ["--merge", "-1"],
        ["--merge", "x"],
        ["--shard", "1/3", "--merge", "3"],
    ],
)
def test_bad_parts_are_one_line(run, flags):
    before = contents(run)
    assert flags[0] in refused(run, *flags)
    assert contents(run) == before


def test_a_merge_says_one_line_also_where_progress_is_shown(run):
    status, printed, told = called("cagem", "evaluate", run, "--merge", 3)
    assert (status, printed, told.count("\n")) == (2, "", 1)
