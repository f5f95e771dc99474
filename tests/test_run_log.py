"""The log of a run comes back exactly and survives crashes and failing writes."""

import errno
import json
import os

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import RunFolder

CONFIG = {"labels": 100, "learning_rate": 1e-3, "epochs": 2, "preset": "smoke", "skip": True}
MAY_CHANGE = frozenset({"epochs"})
ENTRIES = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    max_size=4,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "a run"


@pytest.fixture
def run(path):
    with RunFolder.create(path, CONFIG) as folder:
        yield folder


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


@settings(max_examples=30, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=4))
def test_log_round_trips_exactly(tmp_path_factory, entries):
    with RunFolder.create(tmp_path_factory.mktemp("run"), CONFIG) as run:
        for entry in entries:
            run.append_log(entry)
        assert repr(run.read_log()) == repr(entries)  # repr tells -0.0 from 0.0, and 1 from 1.0
        assert run.log_path.exists() is bool(entries)


def test_each_entry_is_one_line_and_numpy_numbers_are_plain(run):
    run.append_log({"epoch": np.int64(1), "F": np.float32(-0.1), "text": "two\nlines"})
    run.append_log({"epoch": 2})
    lines = run.log_path.read_text().split("\n")
    assert len(lines) == 3
    assert json.loads(lines[0]) == {"epoch": 1, "F": float(np.float32(-0.1)), "text": "two\nlines"}


def test_each_entry_is_on_disk_when_append_returns(run, monkeypatch):
    sizes = []
    real = os.fsync

    def noted(descriptor):
        sizes.append(run.log_size())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    run.append_log({"epoch": 1})
    assert run.log_size() in sizes


def test_an_undecodable_byte_of_the_environment_comes_back(run):
    entry = {"versions": {"threads": os.fsdecode(b"OMP_NUM_THREADS=\xff")}}
    run.append_log(entry)
    assert run.read_log() == [entry]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("nan")])
def test_log_refuses_what_is_not_finite(run, number):
    run.append_log({"epoch": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_log({"epoch": 2, "terms": [number]})
    assert run.read_log() == [{"epoch": 1}]


@pytest.mark.parametrize("operation", ["write", "fsync", "open"])
def test_a_failing_append_leaves_the_log_as_it_was(run, monkeypatch, operation):
    run.append_log({"epoch": 1})
    real = os.write

    def fail(*arguments):
        if operation == "write":
            real(arguments[0], bytes(arguments[1])[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(UserError, match=r"log.jsonl: cannot write: No space left on device") as error:
            run.append_log({"epoch": 2})
    one_line(error)
    run.append_log({"epoch": 3})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 3}]


def test_truncate_cuts_what_came_after_the_checkpoint(run):
    assert run.log_size() == 0
    run.truncate_log(0)
    run.append_log({"epoch": 1})
    size = run.log_size()
    run.append_log({"epoch": 2})
    run.truncate_log(size)
    assert run.log_size() == size
    assert run.read_log() == [{"epoch": 1}]
    run.truncate_log(size)
    run.append_log({"epoch": 3, "F": -2.5})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 3, "F": -2.5}]
    run.truncate_log(0)
    assert run.read_log() == []


@pytest.mark.parametrize("size", [-1, 5, 1000])
def test_truncate_refuses_a_size_that_is_not_of_this_log(run, size):
    run.append_log({"epoch": 1})
    with pytest.raises(UserError, match=f"no line ends at byte {size} of 13") as error:
        run.truncate_log(size)
    one_line(error)
    assert run.read_log() == [{"epoch": 1}]


def test_a_line_torn_by_a_crash_is_left_out_and_cut_on_resume(path):
    with RunFolder.create(path, CONFIG) as run:
        run.append_log({"epoch": 1})
        whole = run.log_path.read_bytes()
        for length in range(1, 12):
            run.log_path.write_bytes(whole + b'{"epoch": 2}'[:length])
            assert run.read_log() == [{"epoch": 1}]
    with RunFolder.open(path, CONFIG, MAY_CHANGE) as run:
        assert run.log_path.read_bytes() == whole
        run.append_log({"epoch": 2})
        assert run.read_log() == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("line", [b"{", b"\xff\xff", b"[1]", b""])
def test_a_damaged_line_is_named(run, line):
    run.append_log({"epoch": 1})
    with run.log_path.open("ab") as log:
        log.write(line + b"\n")
    run.append_log({"epoch": 3})
    with pytest.raises(UserError, match=r"log.jsonl: line 2 is damaged") as error:
        run.read_log()
    one_line(error)
