"""A run's folder that cannot be begun or resumed: exit status 2, one line, and the folder as it was."""

import os
from pathlib import Path

import numpy as np
import pytest
from record_example import example
from refusals import flipped, refuser, says

from parmesan_cagem import checkpoint, config, recording
from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import RunFolder


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    return refuser(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("parent", ["a file", "/proc"])
def test_an_unwritable_out_is_refused(parent, refused, tmp_path):
    out = Path("/proc/runs")
    if parent == "a file":
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "runs"
    line = refused("--out", out, "--name", "n", begins=True)
    assert says(line, [f"--out {out / 'n'}", "cannot write", "another folder"])


def begin_a_run(folder, **changes):
    RunFolder.create(folder, config.experiment("smoke", **changes).to_dict()).close()
    return folder


@pytest.fixture
def begun(tmp_path):
    """A run of the smoke preset that has been begun, under the name "n"."""
    return begin_a_run(tmp_path / "runs" / "n")


def test_an_existing_run_is_not_overwritten(begun, refused):
    before = (begun / "config.json").read_bytes()
    assert says(refused("--name", "n", begins=True), [str(begun), "holds a run", "--resume", "--name"])
    assert (begun / "config.json").read_bytes() == before


def test_a_run_in_use_is_not_touched(begun, refused):
    config_now = config.experiment("smoke").to_dict()
    with RunFolder.open(begun, config_now, config.MAY_CHANGE):
        line = refused("--name", "n", "--resume", begins=True)
    assert says(line, [str(begun), "in use", str(os.getpid())])


def test_resume_without_a_run(refused, tmp_path):
    line = refused("--name", "n", "--resume", begins=True)
    assert says(line, ["--resume", "no run", str(tmp_path / "runs" / "n"), "--name"])
    assert not (tmp_path / "runs").exists()


def test_resume_with_other_settings_names_each_with_both_values(begun, refused):
    flags = ["--name", "n", "--resume", "--learning-rate", "0.002", "--no-skip", "--epochs", "9"]
    line = refused(*flags, begins=True)
    assert says(line, ["--resume", "learning_rate was 0.001, now 0.002", "skip was true, now false", "--name"])
    assert "epochs" not in line  # these may change


def test_resume_without_a_name_finds_the_run_and_names_what_differs(tmp_path, refused):
    folder = begin_a_run(tmp_path / "runs" / "mnist-cagem-100-smoke-s1")
    line = refused("--resume", "--learning-rate", "0.002", begins=True)
    assert says(line, ["--resume", str(folder), "learning_rate was 0.001, now 0.002"])


@pytest.mark.timeout(60)  # a pipe without a writer would be waited for without end
def test_a_pipe_in_the_place_of_a_former_record(begun):
    os.mkfifo(begun / "record.json")
    with RunFolder(begun) as folder, pytest.raises(UserError, match=r"record.json: cannot read: not a regular file; "):
        recording._keep_former(folder, example())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b'{"labels": 100', ["not JSON"], id="cut short"),
        pytest.param(b"", ["not JSON"], id="empty"),
        pytest.param(b"[1]", ["not JSON", "object"], id="a list"),
        pytest.param(b"\xff\xfe\0", ["not JSON"], id="binary"),
        pytest.param(b"{}", ["began with other settings", "absent"], id="no settings"),
    ],
)
def test_resume_with_a_damaged_config(content, words, begun, refused):
    (begun / "config.json").write_bytes(content)
    assert says(refused("--name", "n", "--resume", begins=True), [str(begun), *words, "--name"])
    assert (begun / "config.json").read_bytes() == content


def test_resume_with_both_checkpoints_damaged(begun, refused):
    for _ in range(2):
        checkpoint.save(begun, {"weights/W": np.ones(3)}, {"epoch": 1})
    (begun / checkpoint.NEWEST).write_bytes(flipped((begun / checkpoint.NEWEST).read_bytes()))
    (begun / checkpoint.PREVIOUS).write_bytes(b"<!DOCTYPE html>")
    line = refused("--name", "n", "--resume", begins=True)
    assert says(line, [str(begun), checkpoint.NEWEST, checkpoint.PREVIOUS, "no usable checkpoint", "--name"])
