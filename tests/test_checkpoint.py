"""Checkpoints come back exactly, in plain HDF5, and the two newest are kept."""

import os

import h5py
import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from checkpoints import assert_equal, names, one_line, save, state, step
from hypothesis import given, settings

from parmesan_cagem import checkpoint, sealed
from parmesan_cagem.checkpoint import NEWEST, PREVIOUS, CheckpointError

DTYPES = ["?", "i1", "<i4", ">i8", "u1", ">u2", "<u8", "<f2", "<f4", ">f4", "<f8", ">f8", "<c8", "<c16"]
PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=6).filter(
    lambda part: part.isprintable() and part not in (".", "..")
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
ARRAYS = npst.arrays(
    dtype=st.sampled_from(DTYPES).map(np.dtype),
    shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


# ---- round trip


def unclashing(arrays):
    """No name may be both an array and a group."""
    groups = {"/".join(name.split("/")[:n]) for name in arrays for n in range(1, name.count("/") + 1)}
    return "attributes_json" not in groups | set(arrays) and not groups & set(arrays)


@settings(max_examples=60, deadline=None)
@given(
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=4).filter(unclashing),
    attributes=st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
)
def test_round_trip_is_exact(tmp_path_factory, arrays, attributes):
    folder = tmp_path_factory.mktemp("run")
    path = checkpoint.save(folder, arrays, attributes)
    loaded = checkpoint.load(folder)
    assert_equal(loaded.arrays, arrays)
    assert repr(loaded.attributes) == repr(attributes)  # repr tells -0.0 from 0.0 and finds NaN equal to NaN
    assert (loaded.path, loaded.warnings) == (path, ())


def test_non_contiguous_arrays_are_saved_by_value(tmp_path):
    arrays = {"transposed": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(9)[::2]}
    checkpoint.save(tmp_path, arrays, {})
    assert_equal(checkpoint.load(tmp_path).arrays, {k: np.ascontiguousarray(v) for k, v in arrays.items()})


def test_attributes_beyond_the_64_kib_of_hdf5_attributes(tmp_path):
    attributes = {"position": list(range(50_000)), "rng": {"state": 2**127 + 1}}
    checkpoint.save(tmp_path, {}, attributes)
    assert checkpoint.load(tmp_path).attributes == attributes


def test_file_is_plain_hdf5_with_a_sum_per_dataset(tmp_path):
    with h5py.File(save(tmp_path, 3)) as file:
        weights = file["weights/q_z1.dense1.W"]
        assert weights.attrs["sha256"] == sealed.digest(weights.name[1:], weights[()]).encode()
        assert np.array_equal(weights[()], state(3)["weights/q_z1.dense1.W"])
        assert file.attrs["format_version"] == sealed.FORMAT


def test_same_content_same_bytes(tmp_path):
    assert save(tmp_path / "a", 1).read_bytes() == save(tmp_path / "b", 1).read_bytes()


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("a//b", np.zeros(1), ValueError),
        ("/a", np.zeros(1), ValueError),
        ("a/../b", np.zeros(1), ValueError),
        ("", np.zeros(1), ValueError),
        ("a\0b", np.zeros(1), ValueError),
        ("attributes_json", np.zeros(1), ValueError),
        ("weights", np.zeros(1), ValueError),
        ("text", np.array(["a"]), TypeError),
        ("objects", np.array([None]), TypeError),
        ("longdouble", np.zeros(1, np.longdouble), TypeError),
        ("structured", np.zeros(1, [("a", "f4")]), TypeError),
    ],
)
def test_what_the_format_does_not_hold_is_refused_before_anything_is_written(tmp_path, name, array, error):
    with pytest.raises(error, match=r"not a name for an array, or taken|holds no arrays of dtype"):
        checkpoint.save(tmp_path, {"weights/W": np.zeros(2), name: array}, {})
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, {}, {"x": object()})
    assert names(tmp_path) == []


# ---- two files


def test_two_newest_are_kept(tmp_path):
    for number in range(4):
        save(tmp_path / "run", number)
    assert names(tmp_path / "run") == [NEWEST, PREVIOUS]
    assert step(tmp_path / "run") == 3
    (tmp_path / "run" / NEWEST).unlink()
    assert step(tmp_path / "run") == 2


def test_the_files_have_the_names_that_other_runs_and_readme_know(tmp_path):
    folder = tmp_path / "results" / "run"  # neither is there yet
    for number in (1, 2):
        assert save(folder, number) == folder / "checkpoint.h5"
    assert names(folder) == ["checkpoint.h5", "checkpoint.previous.h5"]
    seal = b"parmesan_cagem checkpoint\nformat 1\nbytes "  # what makes yesterday's files readable tomorrow
    assert (folder / "checkpoint.h5").read_bytes().startswith(seal)


@pytest.mark.parametrize("dtype", ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_every_dtype_that_the_format_holds(dtype):
    array = np.array([0, 1, 3]).astype(dtype)
    arrays, _ = sealed.decode(sealed.encode({"a/b": array}, {}))
    assert_equal(arrays, {"a/b": array})


def test_exists(tmp_path):
    assert not checkpoint.exists(tmp_path / "nowhere")
    assert not checkpoint.exists(tmp_path)
    save(tmp_path, 1)
    assert checkpoint.exists(tmp_path)
    os.rename(tmp_path / NEWEST, tmp_path / PREVIOUS)
    assert checkpoint.exists(tmp_path)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*omit --resume") as error:
        checkpoint.load(tmp_path)
    one_line(error)


# ---- what training saves beside the arrays

FACTS = {
    "epoch": 3,
    "step": 0,
    "log_size": 1200,
    "peak_memory_bytes": 10**9,
    "seconds": 12.5,
    "epoch_seconds": 4,
    "started": "2026-11-29T12:00:00+00:00",
    "training_hash": "ab" * 32,
    "data_sha256": "cd" * 32,
    "config": {"labels": 100},
}
COUNTS, TIMES, TEXTS = list(FACTS)[:4], list(FACTS)[4:6], list(FACTS)[6:9]
ALLOWED = {
    **dict.fromkeys(COUNTS, int),
    **dict.fromkeys(TIMES, (int, float)),
    **dict.fromkeys(TEXTS, str),
    "config": dict,
}


def without(name):
    return {key: value for key, value in FACTS.items() if key != name}


@pytest.mark.parametrize("more", [{}, {"notes": []}, {"notes": ["cut a line"]}, {"labelled_sha256": None}], ids=str)
def test_the_facts_of_a_run_are_known(more):
    assert set(checkpoint.FACTS) == set(FACTS)
    assert checkpoint.describes_run({**FACTS, **more})
    assert checkpoint.describes_run({**FACTS, **more}, False)


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_that_lacks_is_missed_where_all_are_asked_for(name):
    assert not checkpoint.describes_run(without(name))
    assert not checkpoint.describes_run(without(name), True)
    assert checkpoint.describes_run(without(name), False)
    assert checkpoint.describes_run({}, False)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("value", [None, True, 1, 1.5, "1", [1], {}], ids=repr)
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_has_its_type(name, value, whole):
    right = isinstance(value, ALLOWED[name]) and value is not True
    assert checkpoint.describes_run({**FACTS, name: value}, whole) == right


@pytest.mark.parametrize("name", [*COUNTS, *TIMES])
def test_counts_and_times_are_at_least_zero(name):
    assert checkpoint.describes_run({**FACTS, name: 0})
    assert not checkpoint.describes_run({**FACTS, name: -1})
    assert not checkpoint.describes_run({**FACTS, name: -1}, False)


@pytest.mark.parametrize("notes", [None, "text", ("text",), {}, [1], ["text", None]], ids=repr)
def test_notes_are_a_list_of_texts(notes):
    assert not checkpoint.describes_run({**FACTS, "notes": notes})
    assert not checkpoint.describes_run({"notes": notes}, False)
