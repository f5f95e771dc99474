"""A checkpoint survives any crash, any failing operation and whatever other writers leave."""

import contextlib
import errno
import fcntl
import itertools
import os
import random
import resource
import signal
import stat
import time

import h5py
import pytest
from checkpoints import assert_equal, names, save, state, step

from parmesan_cagem import checkpoint, files
from parmesan_cagem.checkpoint import NEWEST, PREVIOUS, CheckpointError

# What can fail or be cut short while a checkpoint is written. `open` and `close` cannot be left half done.
OPERATIONS = ["open", "write", "fsync", "link", "replace", "unlink"]


def failure_of(action):
    """The message of the CheckpointError that ``action`` raises, or None."""
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return None


def in_child(action):
    """Run ``action`` in a forked process, which ends without any cleaning up; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            action()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_operations(monkeypatch, at):
    """Call ``at(number, name, call)`` in place of each file operation, numbered from 0."""
    counter = itertools.count()
    for name in OPERATIONS:
        real = getattr(os, name)

        def counted(*arguments, name=name, real=real, **options):
            return at(next(counter), name, lambda *new: real(*(new or arguments), **options), arguments)

        monkeypatch.setattr(os, name, counted)


def test_the_new_file_is_durable_before_the_oldest_goes(tmp_path, monkeypatch):
    save(tmp_path, 0)
    save(tmp_path, 1)
    calls = []

    def noted(number, name, call, arguments):
        folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
        calls.append("fsync folder" if folder else name)
        return call()

    count_operations(monkeypatch, noted)
    save(tmp_path, 2)
    order = [call for call in calls if call not in ("open", "unlink")]
    assert order == ["write", "write", "fsync", "link", "replace", "fsync folder", "replace"]


def test_a_crash_between_any_two_file_operations_leaves_a_sound_checkpoint(tmp_path, monkeypatch):
    outcomes = set()
    for fatal in range(100):
        folder = tmp_path / str(fatal)
        save(folder, 0)
        save(folder, 1)

        def crash(number, name, call, arguments, fatal=fatal):
            if number == fatal:
                if name == "write":  # half of it reached the file
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(9)
            return call()

        def doomed(folder=folder, crash=crash):
            count_operations(monkeypatch, crash)
            save(folder, 2)

        status = in_child(doomed)
        newest = step(folder)
        outcomes.add(newest)
        assert checkpoint.load(folder).warnings == ()
        assert newest == 2 if status == 0 else newest in (1, 2)
        (folder / NEWEST).rename(folder / "kept")
        assert step(folder) in (0, 1)  # and so is the previous one
        (folder / "kept").rename(folder / NEWEST)
        save(folder, 3)
        assert step(folder) == 3
        assert names(folder) == [NEWEST, PREVIOUS]  # what the dead writer left is swept
        if status == 0:
            break
    assert status == 0
    assert fatal >= 8  # the operations were indeed counted
    assert outcomes == {1, 2}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("begun", ["fresh", "with two before"])
def test_a_failing_operation_leaves_the_old_state(tmp_path, monkeypatch, code, begun):
    failures = []
    for failing in range(100):
        folder = tmp_path / str(failing)
        folder.mkdir()
        if begun != "fresh":
            save(folder, 0)
            save(folder, 1)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        reached = []

        def fail(number, name, call, arguments, failing=failing, reached=reached):
            if number == failing:
                reached.append(name)
                raise OSError(code, os.strerror(code), "x")
            return call()

        with monkeypatch.context() as patch:
            count_operations(patch, fail)
            message = failure_of(lambda folder=folder: save(folder, 2))
        if not reached:
            break
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert not [name for name in after if name.endswith(".tmp")]
        if message is None:
            assert step(folder) == 2
            continue
        failures.append(reached[0])
        assert message.startswith(f"{folder / NEWEST}: cannot save the checkpoint: {os.strerror(code)}; ")
        assert "\n" not in message
        # A first save that fails after its rename may stay: there is no older state to put back.
        assert after == before or (begun == "fresh" and step(folder) == 2)
    assert set(failures) == {"open", "write", "fsync", "replace"}


def test_without_hard_links_the_old_file_is_copied(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in range(3):
        save(tmp_path, number)
    assert names(tmp_path) == [NEWEST, PREVIOUS]
    assert step(tmp_path) == 2
    (tmp_path / NEWEST).unlink()
    assert step(tmp_path) == 1


def test_file_size_limit_of_the_system(tmp_path):
    save(tmp_path, 1)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(CheckpointError, match="File too large"):
            save(tmp_path, 2)

    assert in_child(limited) == 0
    assert step(tmp_path) == 1
    assert names(tmp_path) == [NEWEST]


def test_parent_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Not a directory|File exists"):
        save(tmp_path / "file" / "run", 1)


def test_h5py_failing_while_encoding_changes_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def broken(*arguments, **options):
        raise OSError("Unable to synchronously create file")

    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", broken)
        with pytest.raises(CheckpointError, match="Unable to synchronously create file"):
            save(tmp_path, 2)
    assert step(tmp_path) == 1


def test_interrupt_while_writing_removes_the_temporary_file(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert names(tmp_path) == [NEWEST]
    assert step(tmp_path) == 1


def test_strays_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    dead = [tmp_path / f".{NEWEST}.0123.tmp", tmp_path / f".{PREVIOUS}.4567.tmp"]
    for stray in dead:
        stray.write_bytes(b"half a checkpo")
    other = tmp_path / ".other.tmp"
    other.write_bytes(b"not ours")
    with files.temporary(tmp_path / NEWEST) as (_, living):
        save(tmp_path, 1)
        assert set(tmp_path.iterdir()) == {tmp_path / NEWEST, living, other}


def test_a_writer_swept_before_it_locked_its_file_takes_another(tmp_path, monkeypatch):
    real, swept = fcntl.flock, []

    def late(descriptor, operation):
        if not swept:
            swept.extend(tmp_path.glob(".*.tmp"))
            swept[0].unlink()
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    save(tmp_path, 1)
    assert len(swept) == 1
    assert step(tmp_path) == 1


def test_kill_9_at_any_time(tmp_path):
    rng = random.Random(0)
    begin = 0
    for _ in range(10):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                for number in itertools.count(begin + 1):
                    checkpoint.save(tmp_path, state(number, size=5000), {"step": number})
                    os.write(writer, b".")
            os._exit(1)
        os.close(writer)
        os.read(reader, 1)  # at least one is there
        time.sleep(rng.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        acknowledged = begin + 1 + len(os.read(reader, 1 << 16))
        os.close(reader)
        loaded = checkpoint.load(tmp_path)
        assert loaded.warnings == ()
        assert_equal(loaded.arrays, state(loaded.attributes["step"], size=5000))
        assert loaded.attributes["step"] in (acknowledged, acknowledged + 1)
        begin = loaded.attributes["step"]
    save(tmp_path, begin + 1)
    assert names(tmp_path) == [NEWEST, PREVIOUS]


def test_new_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save(tmp_path, 1)
    finally:
        os.umask(before)
    assert (tmp_path / NEWEST).stat().st_mode & 0o777 == 0o640
