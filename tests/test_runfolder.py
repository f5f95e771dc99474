"""A run's folder is never overwritten and never shared."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from parmesan_cagem import files
from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import RunFolder

CONFIG = {"labels": 100, "learning_rate": 1e-3, "epochs": 2, "preset": "smoke", "skip": True}
MAY_CHANGE = frozenset({"epochs"})
HOLDER = """
import sys, time
from pathlib import Path
from parmesan_cagem.runfolder import RunFolder
run = RunFolder.open(Path(sys.argv[1]), {config}, frozenset())
print("ready", flush=True)
time.sleep(60)
"""


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


def names(path):
    return sorted(child.name for child in path.iterdir())


# ---- create


def test_create_writes_the_settings(path):
    with RunFolder.create(path, CONFIG) as run:
        assert json.loads((path / "config.json").read_text()) == CONFIG == run.read_config()
        assert names(path) == ["config.json", "lock"]
        assert (run.config_path, run.log_path) == (path / "config.json", path / "log.jsonl")
        assert run.record_path == path / "record.json"


def test_an_empty_folder_is_fine_and_so_is_one_left_by_a_crash_before_the_settings(path):
    path.mkdir(parents=True)
    RunFolder.create(path, CONFIG).close()
    (path / "config.json").unlink()
    assert names(path) == ["lock"]
    RunFolder.create(path, CONFIG).close()


@pytest.mark.parametrize("held", ["config.json", "log.jsonl", "record.json", "checkpoint.h5", "checkpoint.previous.h5"])
def test_a_run_is_never_overwritten(path, held):
    path.mkdir(parents=True)
    (path / held).write_text("precious")
    with pytest.raises(UserError) as error:
        RunFolder.create(path, CONFIG)
    assert f"{path} exists and holds a run ({held}): pass --resume to go on with it" in one_line(error)
    assert "--out/--name for another" in str(error.value)
    assert names(path) == [held]
    assert (path / held).read_text() == "precious"


def test_a_run_that_appears_while_the_lock_is_taken_is_not_overwritten(path, monkeypatch):
    real = files.lock

    def slow(lock, **more):
        (lock.parent / "config.json").write_text("of the quicker one")
        return real(lock, **more)

    monkeypatch.setattr(files, "lock", slow)
    with pytest.raises(UserError, match="exists and holds a run"):
        RunFolder.create(path, CONFIG)
    assert (path / "config.json").read_text() == "of the quicker one"


@pytest.mark.parametrize("where", ["file", "file/name", "file/deep/name"])
def test_a_file_in_the_way(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        RunFolder.create(tmp_path / where, CONFIG)
    assert one_line(error).startswith(f"--out {tmp_path / where}: cannot write: ")


@pytest.mark.parametrize("call", ["mkdir", "open"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC], ids=errno.errorcode.get)
def test_an_unwritable_folder(path, monkeypatch, call, code):
    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code), "x")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(UserError) as error:
            RunFolder.create(path, CONFIG)
    where = path / "lock" if call == "open" else path
    assert one_line(error).startswith(f"--out {where}: cannot write: {os.strerror(code)}; ")


def test_a_create_that_fails_gives_the_folder_free(path, monkeypatch):
    def fail(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="No space left"):
            RunFolder.create(path, CONFIG)
    RunFolder.create(path, CONFIG).close()


# ---- open


def test_open_goes_on_with_a_run(path):
    RunFolder.create(path, CONFIG).close()
    before = (path / "config.json").stat().st_mtime_ns
    with RunFolder.open(path, CONFIG, MAY_CHANGE) as run:
        assert run.read_config() == CONFIG
    assert (path / "config.json").stat().st_mtime_ns == before


def test_open_takes_over_what_may_change(path):
    RunFolder.create(path, CONFIG).close()
    RunFolder.open(path, {**CONFIG, "epochs": 9}, MAY_CHANGE).close()
    assert json.loads((path / "config.json").read_text()) == {**CONFIG, "epochs": 9}


def test_tuples_equal_the_lists_they_became(path):
    RunFolder.create(path, {"widths": (3, 4)}).close()
    RunFolder.open(path, {"widths": (3, 4)}, MAY_CHANGE).close()


def test_open_names_every_key_that_may_not_change_with_both_values(path):
    RunFolder.create(path, CONFIG).close()
    now = {**CONFIG, "labels": 50, "learning_rate": 0.002, "epochs": 9, "new": "x"}
    del now["preset"]
    with pytest.raises(UserError) as error:
        RunFolder.open(path, now, MAY_CHANGE)
    message = one_line(error)
    assert "labels was 100, now 50; learning_rate was 0.001, now 0.002; new was absent, now" in message
    assert 'preset was "smoke", now absent' in message
    assert "epochs" not in message
    assert json.loads((path / "config.json").read_text()) == CONFIG
    RunFolder.open(path, CONFIG, MAY_CHANGE).close()  # the refusal gave the lock free


LATER = {"layers": 2, "iw_objective": "weighted"}


def test_settings_of_a_later_version_are_added_to_an_older_run(path):
    RunFolder.create(path, CONFIG).close()
    now = {**CONFIG, **LATER}
    with RunFolder.open(path, now, MAY_CHANGE, LATER) as run:
        assert run.read_config() == CONFIG | LATER
    RunFolder.open(path, now, MAY_CHANGE, LATER).close()
    RunFolder.create(path.with_name("other"), CONFIG).close()
    with pytest.raises(UserError, match='iw_objective was absent, now "weighted"; layers was absent, now 2'):
        RunFolder.open(path.with_name("other"), now, MAY_CHANGE)


def test_an_older_run_began_with_what_the_absence_of_a_setting_means(path):
    RunFolder.create(path, CONFIG).close()
    with pytest.raises(UserError) as error:
        RunFolder.open(path, {**CONFIG, **LATER, "layers": 3}, MAY_CHANGE, LATER)
    assert "began with other settings: layers was 2, now 3; give" in one_line(error)
    assert json.loads((path / "config.json").read_text()) == CONFIG
    # Where the run has the setting, that counts.
    RunFolder.create(path.with_name("newer"), {**CONFIG, **LATER, "layers": 3}).close()
    RunFolder.open(path.with_name("newer"), {**CONFIG, **LATER, "layers": 3}, MAY_CHANGE, LATER).close()
    with pytest.raises(UserError, match="layers was 3, now 2"):
        RunFolder.open(path.with_name("newer"), {**CONFIG, **LATER}, MAY_CHANGE, LATER)


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "empty folder"])
def test_open_needs_a_run(path, there):
    if there:
        path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"--resume: no run in .*; check --out and --name") as error:
        RunFolder.open(path, CONFIG, MAY_CHANGE)
    one_line(error)
    assert path.exists() is there
    assert not there or names(path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"3"])
def test_damaged_settings_are_told_in_one_line(path, content):
    RunFolder.create(path, CONFIG).close()
    (path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config.json: not JSON") as error:
        RunFolder.open(path, CONFIG, MAY_CHANGE)
    one_line(error)


# ---- lock


def test_a_second_owner_is_told_the_first_ones_pid_and_host(path, run):
    with pytest.raises(UserError) as error:
        RunFolder.open(path, CONFIG, MAY_CHANGE)
    assert f"in use by PID {os.getpid()} on host {socket.gethostname()}" in one_line(error)


def test_what_a_killed_owner_left_is_swept_when_the_run_is_opened(path):
    RunFolder.create(path, CONFIG).close()
    for name in ("checkpoint.previous.h5", "samples.png", "config.json"):
        files.temporary_name(path / name).write_bytes(b"half")
    (path / ".mine.tmp").write_bytes(b"of somebody else")
    with files.temporary(path / "evaluation.shard-1-of-2.h5") as (_, living):
        RunFolder.open(path, CONFIG, MAY_CHANGE).close()
        assert names(path) == sorted([".mine.tmp", living.name, "config.json", "lock"])


def test_the_label_of_a_former_owner_is_replaced_whole(path):
    path.mkdir(parents=True)
    (path / "lock").write_text("PID 123456789 on host " + "x" * 60 + "\n")
    with RunFolder.create(path, CONFIG):
        assert (path / "lock").read_text() == f"PID {os.getpid()} on host {socket.gethostname()}\n"


def test_closing_gives_the_folder_free(path, run):
    run.close()
    run.close()
    with RunFolder.open(path, CONFIG, MAY_CHANGE):
        pass
    RunFolder.open(path, CONFIG, MAY_CHANGE).close()


def test_an_exception_inside_with_gives_the_folder_free(path):
    with pytest.raises(KeyboardInterrupt), RunFolder.create(path, CONFIG):
        raise KeyboardInterrupt
    RunFolder.open(path, CONFIG, MAY_CHANGE).close()


def test_the_lock_of_another_process_holds_until_it_is_killed(path):
    RunFolder.create(path, CONFIG).close()
    command = [sys.executable, "-c", HOLDER.format(config=CONFIG), str(path)]
    root = Path(files.__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as holder:
        try:
            assert holder.stdout.readline() == b"ready\n"
            with pytest.raises(UserError, match=f"in use by PID {holder.pid} on host "):
                RunFolder.open(path, CONFIG, MAY_CHANGE)
        finally:
            holder.send_signal(signal.SIGKILL)
        holder.wait()
        RunFolder.open(path, CONFIG, MAY_CHANGE).close()


def test_a_file_system_without_locks_warns_and_goes_on(path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="no locks here"):
        RunFolder.create(path, CONFIG).close()
    assert json.loads((path / "config.json").read_text()) == CONFIG


def test_programs_started_by_a_run_do_not_keep_its_lock(path):
    with RunFolder.create(path, CONFIG):
        command = [sys.executable, "-c", "print('ready', flush=True); input()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    try:
        assert child.stdout.readline() == b"ready\n"  # between fork and exec it does hold the lock
        RunFolder.open(path, CONFIG, MAY_CHANGE).close()
    finally:
        child.communicate()
