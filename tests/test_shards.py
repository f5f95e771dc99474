"""``cagem evaluate --shard`` and ``--merge``: the record of one process, from parts that know nothing of each other."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sharded import compute, contents, evaluate, file_of, refused
from small_runs import Counting, called, digits

from parmesan_cagem import image_bounds, provenance, records
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.shards import Shard


@given(st.integers(0, 300), st.integers(1, 80))
def test_shards_are_balanced_disjoint_and_cover_all(count, parts):
    images = 7 + 2 * np.arange(count)
    shares = [Shard(Path("run"), number, parts).of(images) for number in range(1, parts + 1)]
    assert np.array_equal(np.concatenate(shares), images)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.fixture
def run(trained_only, tmp_path):
    return shutil.copytree(trained_only, tmp_path / "run")


def few_images():
    return dataclasses.replace(digits(), test_images=digits().test_images[:4], test_labels=digits().test_labels[:4])


@pytest.fixture(scope="module")
def by_one_process(trained_only, tmp_path_factory):
    """(record, folder) of the protocol, computed at once; each once."""
    made = {}

    def made_by(*flags, data=None):
        if flags not in made:
            folder = shutil.copytree(trained_only, tmp_path_factory.mktemp("whole") / "run")
            evaluate(folder, *flags, data=data)
            made[flags] = records.read(folder / "record.json"), folder
        return made[flags]

    return made_by


@pytest.mark.parametrize(
    ("parts", "flags", "data"),
    [
        (1, [], None),
        (3, [], None),
        (2, ["--bn-eval", "collect", "--eval-seeds", "2", "--iw-samples", "7"], None),
        (2, ["--estimator", "sampled", "--eval-images", "1"], None),  # no bounds in the first
        (6, ["--eval-images", "0"], few_images),  # two shards without anything
    ],
    ids=["one", "three", "collect", "a bound", "empty"],
)
def test_merged_is_what_one_process_finds(run, by_one_process, parts, flags, data):
    given_data = data() if data else None
    expected, whole = by_one_process(*flags, data=given_data)
    compute(run, parts, *flags, data=given_data)
    printed = evaluate(run, "--merge", parts, *flags, data=given_data)
    assert "bound      F_" in printed
    merged = records.read(run / "record.json")
    for key in ("error_q", "error_p", "confusion", "clustering", "active_units", "config", "steps", "warnings"):
        assert merged[key] == expected[key], key
    timed = ("finished", "seconds", "peak_memory_bytes")
    assert {k: v for k, v in merged["eval"].items() if k not in timed} == {
        k: v for k, v in expected["eval"].items() if k not in timed
    }
    for name, bound in expected["bounds"].items():
        assert merged["bounds"][name]["by_seed"] == pytest.approx(bound["by_seed"], rel=1e-6)
    assert (run / "samples.png").read_bytes() == (whole / "samples.png").read_bytes()
    mine, its = (image_bounds.read(folder, records.read(folder / "record.json")) for folder in (run, whole))
    assert mine.by_name.keys() == its.by_name.keys()
    for name, by_seed in its.by_name.items():
        assert np.allclose(mine.by_name[name], by_seed, rtol=1e-5), name
    # Image by image, to float32 rounding of other batches; the run's own ledger has them all.
    ours, theirs = Ledger.read(run / "evaluation.h5"), Ledger.read(whole / "evaluation.h5")
    assert ours.identity == theirs.identity
    assert set(ours._arrays) == set(theirs._arrays)
    for name, array in theirs._arrays.items():
        if not name.endswith("seconds"):
            assert np.allclose(ours.kept(name), array, rtol=1e-5, atol=1e-6), name


def test_merging_computes_nothing_and_tells_who_did(run):
    for number, device in ((1, "a"), (2, "b"), (3, "a")):
        evaluate(run, "--shard", f"{number}/3", engine=Counting(device=device))
    machine = Counting(device="another")
    evaluate(run, "--merge", 3, engine=machine)
    assert machine.calls == 2  # of the samples, in two functions
    record = records.read(run / "record.json")["eval"]
    shards = [Ledger.read(file_of(run, number)) for number in (1, 2, 3)]
    assert record["device"] == "a; b"
    assert record["peak_memory_bytes"] == max(shard.peak_memory_bytes() for shard in shards) > 0
    seconds = sum(array.sum() for shard in shards for name, array in shard._arrays.items() if "seconds" in name)
    assert record["seconds"] == pytest.approx(seconds)
    again = Counting()
    evaluate(run, engine=again)  # in one process: all of it is there
    assert again.calls == 2


@pytest.mark.parametrize("content", ["its own", "another source's", "damaged"])
def test_a_shard_takes_over_what_the_whole_run_has_found(run, monkeypatch, content):
    evaluate(run)
    if content == "damaged":
        (run / "evaluation.h5").write_bytes(b"no HDF5")
    elif content == "another source's":
        monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "1" * 40, "dirty": False})
    machine = Counting()
    evaluate(run, "--shard", "1/2", engine=machine)
    assert (machine.calls == 0) == (content == "its own")
    assert file_of(run, 1, 2).exists()


def test_merging_keeps_what_the_run_knows_of_other_protocols(run):
    evaluate(run)
    compute(run, 2, "--iw-samples", "20")
    evaluate(run, "--iw-samples", "20", "--merge", 2)
    assert records.read(run / "record.json")["eval"]["k"] == 20
    assert records.read(run / "record.former-1.json")["eval"]["k"] == 10
    machine = Counting()
    evaluate(run, engine=machine)
    assert machine.calls == 2


def test_a_shard_writes_its_own_files_only_and_leaves_the_runs_lock_to_others(run):
    before = contents(run)
    with RunFolder(run):
        before["lock"] = (run / "lock").read_bytes()
        printed = evaluate(run, "--shard", "2/3")
    assert "--merge 3" in printed
    after = contents(run)
    assert set(after) - set(before) == {"evaluation.shard-2-of-3.h5", "evaluation.shard-2-of-3.lock"}
    assert {name: after[name] for name in before} == before


def test_a_complete_shard_is_not_computed_again(run):
    evaluate(run, "--shard", "2/3")
    before, machine = contents(run), Counting()
    evaluate(run, "--shard", "2/3", engine=machine)
    assert machine.calls == 0
    assert contents(run) == before


@pytest.mark.parametrize("stop_at", [1, 20, 70])
def test_a_killed_shard_goes_on_to_the_same_bits(run, tmp_path, stop_at):
    flags = ["--shard", "2/3", "--iw-samples", "30", "--class-draws", "3"]
    whole, rest, twin = Counting(), Counting(), shutil.copytree(run, tmp_path / "twin")
    evaluate(twin, *flags, engine=whole)
    status, _, told = called("cagem", "evaluate", run, *flags, "--no-progress", engine=Counting(stop_at))
    assert (status, told) == (143, "cagem: stopped by SIGTERM\n")
    assert file_of(run, 2, kind="partial.").exists()
    assert not file_of(run, 2).exists()
    assert "shard 2/3 (begun)" in refused(run, "--merge", 3, *flags[2:])
    evaluate(run, *flags, engine=rest)
    assert not file_of(run, 2, kind="partial.").exists()
    assert (rest.calls < whole.calls) == (stop_at > 1)
    ours, theirs = Ledger.read(file_of(run, 2)), Ledger.read(file_of(twin, 2))
    assert (ours.identity, ours.devices) == (theirs.identity, theirs.devices)
    for name, array in theirs._arrays.items():
        if not name.endswith("seconds"):
            assert np.array_equal(ours.kept(name), array), name


def test_two_processes_on_one_shard_are_one_too_many(run):
    with Shard(run, 1, 3):
        line = refused(run, "--shard", "1/3")
        evaluate(run, "--shard", "2/3")
    assert "shard 1/3 of" in line
    assert "in use by PID" in line
    assert "--name" not in line
    evaluate(run, "--shard", "1/3")
