"""Packs: what comes back is what went in, but for rounded moments that say so; damage is noticed; sizes."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import bfloat16, checkpoint, packing, unpacking
from parmesan_cagem.config import experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import RunFolder

PICTURE = bytes(range(256)) * 4
WORK = ["evaluation.h5", "evaluation.shard-2-of-3.h5", "evaluation.shard-2-of-3.partial.h5"]  # of an evaluation


def make_run(folder, epoch=3, finished=False, size=(7, 5), seed=0, **changes):
    """A run folder as training leaves it, with a line of log that its checkpoint does not know."""
    e, rng = experiment("smoke", epochs=epoch if finished else 9, **changes), np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(e.to_dict()))
    (folder / "labels.json").write_text("{}")
    (folder / "samples.png").write_bytes(PICTURE)
    (folder / "bounds.csv").write_text("seed,image,F_1,F_10\n")
    log = "".join(json.dumps({"epoch": i + 1, "F": -100.5}) + "\n" for i in range(epoch))
    (folder / "log.jsonl").write_text(log + ('{"epoch": 99}\n' if not finished else ""))
    if finished:
        (folder / "record.json").write_text(json.dumps({"epochs": epoch, "config": e.to_dict()}))
    arrays = {f"weights/{i}": rng.standard_normal(size).astype("float32") for i in range(2)}
    arrays |= {f"adam/m/{i}": 1e-3 * rng.standard_normal(size).astype("float32") for i in range(2)}
    arrays |= {f"adam/v/{i}": 1e-6 * rng.standard_normal(size).astype("float32") ** 2 for i in range(2)}
    arrays |= {"adam/t": np.float32(30), "random/eps": rng.integers(0, 2**31, (4, 6)).astype("int32")}
    arrays |= {"log/sums": rng.standard_normal(5), "labels/indices": np.arange(0)}
    facts = {"epoch": epoch, "step": 2, "log_size": len(log), "notes": [], "started": "then"}
    facts |= {"seconds": 1.5, "epoch_seconds": 0.5, "peak_memory_bytes": 1, "config": e.to_dict()}
    facts |= {"training_hash": "0" * 64, "data_sha256": "1" * 64}
    checkpoint.save(folder, arrays, facts)
    return folder


def round_trip(run, tmp_path, **options):
    packed = packing.pack([run], tmp_path / "pack", **options)
    return packed, unpacking.unpack(packed.parts, tmp_path / "new"), tmp_path / "new" / run.name


def test_an_unfinished_run_comes_back_with_exact_weights_and_rounded_moments_that_say_so(tmp_path):
    run = make_run(tmp_path / "runs" / "a")
    _, lines, new = round_trip(run, tmp_path)
    assert lines == ["a: goes on after epoch 3, step 2"]
    before, after = checkpoint.load(run), checkpoint.load(new)
    assert list(after.arrays) == list(before.arrays)
    for name, value in before.arrays.items():
        moment = name.startswith(("adam/m", "adam/v"))
        assert (after.arrays[name].dtype, after.arrays[name].shape) == (value.dtype, value.shape)
        assert np.array_equal(after.arrays[name], value) != moment, name
        assert np.allclose(after.arrays[name], value, rtol=2**-8, atol=0), name
    (note,) = after.attributes["notes"]
    assert "after epoch 3, step 2" in note
    assert "rounded to bfloat16" in note
    log = (new / "log.jsonl").read_text()
    assert [json.loads(line) for line in log.splitlines()][3:] == [{"note": note}]
    assert after.attributes["log_size"] == len(log)
    assert (new / "samples.png").read_bytes() == PICTURE
    assert (new / "bounds.csv").read_text() == "seed,image,F_1,F_10\n"
    assert (new / "config.json").read_bytes() == (run / "config.json").read_bytes()


def test_a_second_journey_adds_a_note_and_rounds_nothing_more(tmp_path):
    _, _, once = round_trip(make_run(tmp_path / "runs" / "a"), tmp_path)
    _, _, twice = round_trip(once, tmp_path / "again")
    first, second = checkpoint.load(once), checkpoint.load(twice)
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)
    assert len(second.attributes["notes"]) == 2


def test_a_finished_run_comes_back_without_moments_and_with_its_whole_log(tmp_path):
    run = make_run(tmp_path / "runs" / "a", finished=True)
    _, lines, new = round_trip(run, tmp_path)
    assert lines == ["a: finished, with its weights"]
    after = checkpoint.load(new)
    assert after.attributes["without_moments"] is True
    assert not [name for name in after.arrays if name.startswith(("adam/m/", "adam/v/"))]
    assert (new / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()
    assert (new / "record.json").read_bytes() == (run / "record.json").read_bytes()


def test_a_record_of_a_shorter_run_does_not_make_a_longer_one_finished(tmp_path):
    run = make_run(tmp_path / "runs" / "a")
    (run / "record.json").write_text(json.dumps({"epochs": 2}))
    assert round_trip(run, tmp_path)[1] == ["a: goes on after epoch 3, step 2"]


@pytest.mark.parametrize(
    ("record_of", "travels"),
    [(None, True), (-10, True), (10, False)],
    ids=["no record", "older record", "newer record"],
)
@pytest.mark.parametrize("name", WORK)
def test_an_evaluation_that_was_cut_off_travels_and_a_finished_one_has_its_record(tmp_path, name, record_of, travels):
    run = make_run(tmp_path / "runs" / "a", finished=record_of is not None)
    (run / name).write_bytes(PICTURE)
    if record_of is not None:
        now = (run / name).stat().st_mtime
        os.utime(run / "record.json", (now + record_of, now + record_of))
    _, _, new = round_trip(run, tmp_path)
    assert (new / name).exists() == travels
    if travels:
        assert (new / name).read_bytes() == PICTURE


@pytest.mark.parametrize("name", WORK)
def test_a_run_that_is_as_far_still_takes_the_packs_part_of_an_evaluation(tmp_path, name):
    run = make_run(tmp_path / "runs" / "a")
    (run / name).write_bytes(PICTURE)
    (run / "evaluation.shard-1-of-3.lock").write_bytes(PICTURE)  # stays
    packed = packing.pack([run], tmp_path / "pack")
    for path in run.glob("evaluation.*"):
        path.unlink()
    lines = unpacking.unpack(packed.parts, tmp_path / "runs")
    assert lines == ["a: kept as it is, with the pack's part of an evaluation"]
    assert (run / name).read_bytes() == PICTURE
    assert [path.name for path in run.glob("evaluation.*")] == [name]
    (run / name).write_bytes(b"another")
    unpacking.unpack(packed.parts, tmp_path / "runs")
    assert (run / name).read_bytes() == b"another"


def test_records_only_and_what_finds_no_room_is_named(tmp_path):
    done = make_run(tmp_path / "runs" / "done", finished=True, size=(300, 100))
    going = make_run(tmp_path / "runs" / "going", size=(100, 100), seed=1)
    packed = packing.pack([done, going], tmp_path / "pack", part_mib=0.1, parts=3)
    (line,) = packed.left_out
    assert line.startswith("done: its checkpoint (0.2 MiB)")  # the run that goes on comes first
    assert unpacking.unpack(packed.parts, tmp_path / "new") == [
        "done: finished, without weights",
        "going: goes on after epoch 3, step 2",
    ]
    assert packing.pack([done], tmp_path / "pack", finished_weights=False).left_out == []
    assert not checkpoint.exists(tmp_path / "new" / "done")


def test_a_pack_holds_no_more_than_unpacking_takes(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / "runs" / name, size=(200, 200)) for name in "ab"]
    for module in (packing, unpacking):
        monkeypatch.setattr(module, "UNPACKED_BYTES", int(1.5 * len(packing._checkpoint_of(runs[0]))))
    packed = packing.pack(runs, tmp_path / "both")
    assert [line.partition(":")[0] for line in packed.left_out] == ["b"]
    assert len(unpacking.unpack(packed.parts, tmp_path / "new")) == 2


def test_parts_are_no_larger_than_asked_and_stale_ones_go(tmp_path):
    run = make_run(tmp_path / "runs" / "a", size=(200, 200))
    many = packing.pack([run], tmp_path / "pack", part_mib=0.1, parts=9).parts
    assert len(many) > 3
    assert max(path.stat().st_size for path in many) <= 0.1 * packing.MIB
    (one,) = packing.pack([run], tmp_path / "pack").parts
    assert list((tmp_path / "pack").iterdir()) == [one]


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "foreign", "other pack", "relabelled"])
def test_damage_is_noticed_before_anything_is_written(tmp_path, damage):
    run = make_run(tmp_path / "runs" / "a", size=(200, 200))
    parts = packing.pack([run], tmp_path / "pack", part_mib=0.1, parts=9).parts
    data = parts[1].read_bytes()
    if damage == "flip":
        parts[1].write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif damage == "cut":
        parts[1].write_bytes(data[: len(data) // 2])
    elif damage == "missing":
        del parts[1]
    elif damage == "foreign":
        parts[1].write_bytes(b"PK\x03\x04")
    elif damage == "relabelled":
        parts[1].write_bytes(data.replace(b'"part": 2', b'"part": 1'))
    else:
        other = make_run(tmp_path / "runs" / "b", size=(200, 200), seed=2)
        parts[1] = packing.pack([other], tmp_path / "other", part_mib=0.1, parts=9).parts[1]
    with pytest.raises(UserError, match=r"damaged|is missing|different packs") as raised:
        unpacking.unpack(parts, tmp_path / "new")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "new").exists()


def test_a_run_is_replaced_by_one_that_has_come_further_and_by_no_other(tmp_path):
    early = packing.pack([make_run(tmp_path / "1" / "a", epoch=3)], tmp_path / "early").parts
    late = packing.pack([make_run(tmp_path / "2" / "a", epoch=5)], tmp_path / "late").parts
    other = packing.pack([make_run(tmp_path / "3" / "a", epoch=7, wide=31)], tmp_path / "other").parts
    new = tmp_path / "new"
    for parts, epoch in ((early, 3), (late, 5), (early, 5)):
        unpacking.unpack(parts, new)
        assert checkpoint.load(new / "a").attributes["epoch"] == epoch
    with pytest.raises(UserError, match="another run has this name"):
        unpacking.unpack(other, new)


def test_a_run_in_use_is_not_unpacked_into(tmp_path):
    """A training writes its log and its checkpoint: files put between would be neither's."""
    late = packing.pack([make_run(tmp_path / "1" / "a", epoch=5)], tmp_path / "late").parts
    here = make_run(tmp_path / "new" / "a", epoch=3)
    with RunFolder(here):
        before = {path.name: path.read_bytes() for path in here.iterdir()}
        with pytest.raises(UserError, match=f"^{here} is in use by PID {os.getpid()} .*unpack into another folder$"):
            unpacking.unpack(late, tmp_path / "new")
        assert {path.name: path.read_bytes() for path in here.iterdir()} == before
    unpacking.unpack(late, tmp_path / "new")
    assert checkpoint.load(here).attributes["epoch"] == 5
    with RunFolder(here):  # given free
        pass


@pytest.mark.timeout(20)  # a pipe without a writer would be waited for without end
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_packed(tmp_path, make):
    run = make_run(tmp_path / "runs" / "a")
    make(run / "prices.json")
    with pytest.raises(UserError, match=r"prices.json: cannot read: not a regular file; pack the others"):
        packing.pack([run], tmp_path / "pack")


def test_no_run_and_no_room_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no run \(no config.json\)"):
        packing.pack([tmp_path], tmp_path / "pack")
    run = make_run(tmp_path / "runs" / "a")
    with pytest.raises(UserError, match="do not fit"):
        packing.pack([run], tmp_path / "pack", part_mib=0.001, parts=2)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bfloat16_is_the_nearest_and_stays_finite(values):
    exact = np.float32(values)
    near = bfloat16.exact(bfloat16.rounded(exact))
    assert np.isfinite(near).all()
    assert (np.signbit(near) == np.signbit(exact)).all()
    normal = np.abs(exact) >= np.finfo("float32").tiny
    below_largest = np.abs(exact) <= 3.38e38
    far = np.abs(near - exact) > np.abs(exact.astype("float64")) * 2.0**-8
    assert not (far & normal & below_largest).any()
    assert np.array_equal(bfloat16.exact(bfloat16.rounded(near)), near)


def test_full_width_fits_four_files_of_fifteen_mib(tmp_path):
    """As many numbers as at the paper's widths, distributed like weights and moments."""
    run = make_run(tmp_path / "runs" / "a", size=(1850, 1850))  # 27 MB of weights, as much of each moment
    packed = packing.pack([run], tmp_path / "pack")
    sizes = [path.stat().st_size for path in packed.parts]
    assert packed.left_out == []
    assert len(sizes) <= 4
    assert sum(sizes) < 50 * packing.MIB
