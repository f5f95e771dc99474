"""What ``files`` promises, one function after the other: texts to the letter, modes, locks, what is left behind."""

import errno
import fcntl
import json
import os
import re
import socket
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from checkpoints import names
from failing_calls import failing, is_open

from parmesan_cagem import files
from parmesan_cagem.errors import UserError


@pytest.fixture
def umask():
    """Strangers may neither read nor write; execute is for no mode of ours to give."""
    before = os.umask(0o006)
    yield
    os.umask(before)


# ---- words


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space\n left", "a/b"), "No space left"),
        (OSError("of HDF5,\tin two\nlines"), "of HDF5, in two lines"),
        (OSError(), "OSError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_cause_is_one_line_without_path_and_number(error, text):
    assert files.cause(error) == text


def test_json_is_written_to_the_letter(tmp_path):
    value = {"b": np.float32(0.1), "a": [np.int64(3), "naïve"]}
    assert files.to_json(value) == '{"b": 0.10000000149011612, "a": [3, "naïve"]}'
    files.write_json(tmp_path / "x.json", value)
    text = '{\n  "a": [\n    3,\n    "naïve"\n  ],\n  "b": 0.10000000149011612\n}\n'
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("number", [np.nan, np.inf, np.float32(-np.inf)])
def test_json_has_no_word_for_it(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.to_json([number])


def test_what_is_no_json_is_named():
    with pytest.raises(TypeError, match=r"^set is not JSON-able: \{1\}$"):
        files.to_json([{1}])


def test_a_failed_write_says_all(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(UserError) as error:
        files.write_atomically(tmp_path / "x", b"new")
    assert str(error.value) == (
        f"{tmp_path / 'x'}: cannot write: No space left on device; free some space or name another folder with --out"
    )


def test_json_is_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(UserError) as error:
        files.read_json(path, "the fix")
    assert str(error.value) == f"{path}: cannot read: No such file or directory; the fix"
    for text, reason in (("[1]", "not an object"), ("{", "Expecting .*"), ("[" * 99999, "more than 50 levels")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: not JSON as expected \({reason}\); the fix$"):
            files.read_json(path, "the fix")
    path.write_text('{"a": 1}')
    assert files.read_json(path, "") == {"a": 1}
    assert files.read_json(str(path), "") == {"a": 1}


# ---- a lock


def test_a_lock_tells_who_holds_it_and_is_freed_with_its_descriptor(tmp_path, umask):
    path = tmp_path / "lock"
    path.write_text("x" * 500)  # a longer label of before must not show through
    descriptor = files.lock(path)
    assert not os.get_inheritable(descriptor)
    owner = f"PID {os.getpid()} on host {socket.gethostname()}"
    assert path.read_text() == f"{owner}\n"
    opened = set(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError) as error:
        files.lock(path)
    assert str(error.value) == f"{tmp_path} is in use by {owner}; wait for it, stop it, or give another --name"
    assert len(set(os.listdir("/proc/self/fd")) - opened) <= 1  # the listing's own
    with pytest.raises(UserError) as error:
        files.lock(path, "shard 3", "come back")
    assert str(error.value) == f"shard 3 is in use by {owner}; wait for it, stop it, or come back"
    os.close(descriptor)
    os.close(files.lock(path))


def test_a_lock_without_a_label_is_held_all_the_same(tmp_path, monkeypatch, umask):
    path = tmp_path / "lock"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        descriptor = files.lock(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(UserError, match="is in use by another process; wait"):
        files.lock(path)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"caf\xe9  by\nnight" + b"y" * 400, 0)
    with pytest.raises(UserError) as error:
        files.lock(path)
    assert str(error.value).startswith(f"{tmp_path} is in use by caf\ufffd by night{'y' * 286}; ")
    os.close(descriptor)


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.warns(UserWarning, match="no locks here") as caught:
        descriptor = files.lock(tmp_path / "lock")
    (warning,) = caught
    assert str(warning.message) == f"{tmp_path / 'lock'}: no locks here (No locks available); start one run at a time"
    assert warning.filename == __file__  # the caller's line
    assert is_open(descriptor)
    os.close(descriptor)


# ---- temporary files


def test_a_temporary_name_is_hidden_new_and_one_that_sweep_knows(tmp_path):
    one, other = (files.temporary_name(tmp_path / "x.h5") for _ in range(2))
    assert one != other
    assert one.parent == tmp_path
    assert re.fullmatch(r"\.x\.h5\.[0-9a-f]{16}\.tmp", one.name)
    one.write_bytes(b"")
    files.sweep(tmp_path / "x.h5")
    assert names(tmp_path) == []


def test_a_temporary_file_is_ours_while_it_lasts(tmp_path, umask):
    path = tmp_path / "x"
    with files.temporary(path) as (descriptor, name):
        assert names(tmp_path) == [name.name]
        assert stat.S_IMODE(name.stat().st_mode) == 0o660
        assert not os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_ino == name.stat().st_ino
        os.pwrite(descriptor, b"read me", 0)
        assert os.pread(descriptor, 99, 0) == b"read me"
        files.sweep(path)
        assert names(tmp_path) == [name.name]  # locked
    assert names(tmp_path) == []
    assert not is_open(descriptor)


def test_a_temporary_file_never_takes_one_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 2 * count)
    theirs = files.temporary_name(tmp_path / "x")
    theirs.write_bytes(b"another process's")
    with pytest.raises(FileExistsError), files.temporary(tmp_path / "x"):
        pass
    assert theirs.read_bytes() == b"another process's"


def test_a_renamed_temporary_file_stays(tmp_path):
    with files.temporary(tmp_path / "x") as (_, name):
        os.replace(name, tmp_path / "x")
    assert names(tmp_path) == ["x"]


def test_a_file_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    real, swept = fcntl.flock, []

    def flock(descriptor, how):
        if not swept:
            (stray,) = tmp_path.iterdir()
            stray.unlink()
            swept.append(stray.name)
        return real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.temporary(tmp_path / "x") as (descriptor, name):
        assert os.fstat(descriptor).st_nlink == 1
        assert names(tmp_path) == [name.name] != swept


def test_without_locks_a_temporary_file_is_made_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    files.write_atomically(tmp_path / "x", b"data")
    assert (tmp_path / "x").read_bytes() == b"data"
    assert names(tmp_path) == ["x"]


@pytest.mark.timeout(20)  # a pipe that is opened like a file would be waited for without end
def test_a_sweep_takes_the_strays_of_that_file_and_nothing_else(tmp_path):
    kept = ["x", ".x.tmp1", ".y.1.tmp", "x.1.tmp", ".x.1.TMP", ".xy.1.tmp"]
    for name in [*kept, ".x.1.tmp", ".x.2.tmp"]:
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / ".x.pipe.tmp")  # must not be waited for
    (tmp_path / ".x.link.tmp").symlink_to(tmp_path / "x")  # nor followed
    (tmp_path / ".x.folder.tmp").mkdir()
    opened = len(os.listdir("/proc/self/fd"))
    files.sweep(tmp_path / "x")
    assert len(os.listdir("/proc/self/fd")) == opened
    assert names(tmp_path) == sorted([*kept, ".x.folder.tmp", ".x.link.tmp"])
    files.sweep(tmp_path / "nowhere" / "x")  # not there: nothing to do


def as_nfs_does(descriptor, how, real=fcntl.flock):
    """``flock`` of NFS: byte-range locks, of which an exclusive one is for those who may write, see flock(2)."""
    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    if mode == (os.O_RDONLY if how & fcntl.LOCK_EX else os.O_WRONLY):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return real(descriptor, how)


def test_a_sweep_on_nfs_takes_the_strays_too(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", as_nfs_does)
    files.temporary_name(tmp_path / "x").write_bytes(b"")
    with files.temporary(tmp_path / "x") as (_, name):
        files.sweep_folder(tmp_path)
        assert names(tmp_path) == [name.name]


def test_a_sweep_takes_what_we_may_remove_but_not_write(tmp_path, monkeypatch):
    """A stray of another user in a folder of both."""
    stray, real = files.temporary_name(tmp_path / "x"), os.open
    stray.write_bytes(b"")

    def refuse(path, flags, *more):  # root could not be refused by chmod
        if path == str(stray) and flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    files.sweep(tmp_path / "x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("flock", [fcntl.flock, as_nfs_does], ids=["local", "NFS"])
def test_a_sweep_leaves_the_spares_of_a_living_writer(tmp_path, monkeypatch, flock):
    """What is replaced comes back when a later file fails, although another process sweeps the folder just then."""
    monkeypatch.setattr(fcntl, "flock", flock)
    for name in "ab":
        (tmp_path / name).write_bytes(b"old")
    real, opened = os.replace, len(os.listdir("/proc/self/fd"))

    def replace(new, path):
        files.sweep_folder(tmp_path)  # its descriptors are its own, as another process's would be
        if path == tmp_path / "b":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(new, path)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError):
        files.write_together({tmp_path / name: b"new" for name in "ab"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}
    assert len(os.listdir("/proc/self/fd")) == opened


def test_two_writers_may_have_spares_of_one_file(tmp_path):
    """The lock of a spare is the file's: a second one is not refused, nor waited for."""
    (tmp_path / "x").write_bytes(b"old")
    with files._second_name(tmp_path / "x") as one, files._second_name(tmp_path / "x") as other:
        files.sweep_folder(tmp_path)
        assert names(tmp_path) == sorted([one.name, other.name, "x"])
    assert names(tmp_path) == ["x"]


def test_a_file_that_tells_no_size_is_read_to_its_end_or_its_limit(tmp_path):
    version = Path("/proc/version").read_bytes()
    assert os.stat("/proc/version").st_size == 0
    assert files.read_bytes("/proc/version", len(version)) == version
    with pytest.raises(OSError, match=f"has more than {len(version) - 1} bytes"):
        files.read_bytes("/proc/version", len(version) - 1)


def test_a_reader_makes_room_for_what_is_there_and_not_for_what_may_be(tmp_path):
    (tmp_path / "x").write_bytes(b"data")
    tracemalloc.start()
    try:
        assert files.read_bytes(tmp_path / "x", 1 << 30) == b"data"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_second_name_is_the_same_file_or_a_synced_copy(tmp_path, monkeypatch):
    path, calls, real = tmp_path / "x", [], os.fsync
    path.write_bytes(b"data")
    files.give_second_name(path, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(path)
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(os.fstat(descriptor).st_ino) or real(descriptor))
    files.give_second_name(path, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"data"
    assert calls == [(tmp_path / "copied").stat().st_ino] != [path.stat().st_ino]


def test_all_parts_are_written_and_synced(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.pread(descriptor, 99, 0)) or real(descriptor))
    with files.temporary(tmp_path / "x") as (descriptor, _):
        files.write_and_sync(descriptor, b"one", memoryview(b" two"), b"", b" three")
    assert synced == [b"one two three"]


def test_a_folder_that_cannot_be_synced_for_another_reason_is_an_error(tmp_path, monkeypatch):
    opened = len(os.listdir("/proc/self/fd"))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_folder(tmp_path)
    with pytest.raises(NotADirectoryError):
        files.sync_folder(__file__)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_nothing_else_is_written_than_what_was_given(tmp_path):
    files.write_json(tmp_path / "x", {})
    assert json.loads((tmp_path / "x").read_bytes()) == {}
    files.write_atomically(tmp_path / "x", b"\0\xff")
    assert (tmp_path / "x").read_bytes() == b"\0\xff"
    assert names(tmp_path) == ["x"]
