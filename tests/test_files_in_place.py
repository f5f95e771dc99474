"""``files``: what is read and how much of it at most, and what happens while new files get the names of old ones."""

import errno
import fcntl
import json
import os
import re
from pathlib import Path

import pytest
from checkpoints import names
from failing_calls import failing, is_open

from parmesan_cagem import files
from parmesan_cagem.errors import UserError

# ---- reading


@pytest.fixture
def reads(monkeypatch):
    """How many bytes each read asks for."""
    asked, real = [], open

    class Told:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def read(self, size):
            asked.append(size)
            return self.file.read(size)

    monkeypatch.setattr("builtins.open", lambda *given, **how: Told(real(*given, **how)))
    return asked


@pytest.mark.parametrize(("size", "asked"), [(0, [1]), (3, [4]), (10, [11])])
def test_a_reader_asks_for_one_byte_more_than_is_there(tmp_path, reads, size, asked):
    (tmp_path / "x").write_bytes(b"a" * size)
    assert files.read_bytes(tmp_path / "x", 10) == b"a" * size
    assert reads == asked


@pytest.mark.parametrize("size", [11, 5000])
def test_a_reader_never_asks_for_more_than_its_limit_and_a_byte(tmp_path, reads, size):
    (tmp_path / "x").write_bytes(b"a" * size)
    with pytest.raises(OSError, match="has more than 10 bytes") as error:
        files.read_bytes(tmp_path / "x", 10)
    assert reads == [11]
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path / "x"))
    assert error.value.strerror == "has more than 10 bytes"


@pytest.mark.parametrize(("size", "limit", "asked"), [(8, 10, [1, 10]), (10, 10, [1, 10]), (50, 10, [1, 10])])
def test_a_file_that_grows_is_read_on_to_the_limit(tmp_path, reads, monkeypatch, size, limit, asked):
    (tmp_path / "x").write_bytes(b"a" * size)
    real = os.fstat

    def empty(descriptor):
        facts = list(real(descriptor))
        facts[6] = 0
        return os.stat_result(facts)

    monkeypatch.setattr(os, "fstat", empty)
    if size <= limit:
        assert files.read_bytes(tmp_path / "x", limit) == b"a" * size
    else:
        with pytest.raises(OSError, match="has more than 10 bytes"):
            files.read_bytes(tmp_path / "x", limit)
    assert reads == asked


def test_a_disk_that_fails_while_reading_is_told_with_the_name(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"a")
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given: opened.append((real(*given), given[1])) or opened[-1][0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error") as error:
            files.read_bytes(tmp_path / "x", 10)
    assert error.value.filename == str(tmp_path / "x")
    ((descriptor, flags),) = opened
    assert not is_open(descriptor)
    assert flags == os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file") as error:
            files.read_bytes(path, 10)
        assert (error.value.errno, error.value.strerror) == (errno.EINVAL, "not a regular file")
        assert error.value.filename == str(path)


def test_a_reader_closes_its_descriptor_once(tmp_path, monkeypatch):
    """Twice, and the second one could be another thread's file."""
    (tmp_path / "x").write_bytes(b"a")
    found, close = [], files.close
    monkeypatch.setattr(files, "close", lambda descriptor: found.append(is_open(descriptor)) or close(descriptor))
    files.read_bytes(tmp_path / "x", 10)
    assert found == [True]


def test_the_largest_json_has_a_mebibyte(tmp_path):
    text = b'{"a": 1}'
    (tmp_path / "x").write_bytes(text + b" " * (2**20 - len(text)))
    assert files.read_json(tmp_path / "x", "fix") == {"a": 1}
    (tmp_path / "x").write_bytes(text + b" " * (2**20 - len(text) + 1))
    with pytest.raises(UserError, match="has more than 1048576 bytes"):
        files.read_json(tmp_path / "x", "fix")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied; name another, or mend that one"),
        (OSError(18, "Cross-device link", "a", None, "b"), "b: Cross-device link; name another, or mend that one"),
        (OSError(5, "Input/output error", b"a\xff"), "a\udcff: Input/output error; name another, or mend that one"),
        (OSError(5, "Input/output error"), None),
    ],
)
def test_where_an_error_was_is_told_if_it_knows(error, text):
    assert files.where(error) == text


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path):
    files.write_json(tmp_path / "x", {"folder": "a\udcff"})
    assert (tmp_path / "x").read_bytes() == b'{\n  "folder": "a\\udcff"\n}\n'
    assert json.loads((tmp_path / "x").read_text()) == {"folder": "a\udcff"}


# ---- putting in place


@pytest.fixture
def pair(tmp_path):
    """New files a.new and b.new, for a (there already) and b (not there)."""
    for name, content in (("a", b"old a"), ("a.new", b"new a"), ("b.new", b"new b")):
        (tmp_path / name).write_bytes(content)
    return {tmp_path / "a.new": tmp_path / "a", tmp_path / "b.new": tmp_path / "b"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


BEFORE = {"a": b"old a", "a.new": b"new a", "b.new": b"new b"}


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_new_files_get_their_names_in_order_and_the_folder_is_synced_then(tmp_path, pair, monkeypatch):
    done, replace, sync = [], os.replace, files.sync_folder
    monkeypatch.setattr(os, "replace", lambda old, new: done.append(Path(new).name) or replace(old, new))
    monkeypatch.setattr(files, "sync_folder", lambda folder: done.append(folder) or sync(folder))
    before = open_descriptors()
    files.put_in_place(pair)
    assert done == ["a", "b", tmp_path]
    assert contents(tmp_path) == {"a": b"new a", "b": b"new b"}
    assert open_descriptors() == before


def test_a_rename_that_fails_takes_back_those_before(tmp_path, pair, monkeypatch):
    replace = os.replace

    def fails_at_b(old, new):
        if Path(new).name == "b":
            raise OSError(errno.EIO, "Input/output error", str(old), None, str(new))
        replace(old, new)

    monkeypatch.setattr(os, "replace", fails_at_b)
    with pytest.raises(OSError, match="Input/output error"):
        files.put_in_place(pair)
    assert contents(tmp_path) == BEFORE


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_folder_that_cannot_be_synced_takes_all_back_where_there_are_links(tmp_path, pair, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(files, "sync_folder", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.put_in_place(pair)
    # Without links a has lost its old file: it keeps the new one, and only b is taken back.
    assert contents(tmp_path) == (BEFORE if links else {"a": b"new a", "b.new": b"new b"})


def test_a_second_file_is_taken_back_also_where_the_first_cannot_be(tmp_path, pair, monkeypatch):
    replace = os.replace

    def fails_on_the_way_back(old, new):
        if Path(old).name.startswith(".a."):
            raise OSError(errno.EIO, "Input/output error")
        replace(old, new)

    monkeypatch.setattr(os, "replace", fails_on_the_way_back)
    monkeypatch.setattr(files, "sync_folder", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        files.put_in_place(pair)
    assert contents(tmp_path) == {"a": b"new a", "a.new": b"new a", "b.new": b"new b"}


def test_a_dangling_link_is_something_that_is_replaced_and_not_taken_back(tmp_path, monkeypatch):
    (tmp_path / "x").symlink_to("nowhere")
    (tmp_path / "x.new").write_bytes(b"new")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(files, "sync_folder", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.put_in_place({tmp_path / "x.new": tmp_path / "x"})
    assert contents(tmp_path) == {"x": b"new"}


def test_a_second_name_is_ours_while_it_lasts(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"old")
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given) or real(*given))
    before = open_descriptors()
    with files._second_name(tmp_path / "x") as spare:
        assert re.fullmatch(r"\.x\.[0-9a-f]{16}\.tmp", spare.name)
        assert spare.stat().st_ino == (tmp_path / "x").stat().st_ino
        files.sweep(tmp_path / "x")
        assert spare.exists()  # it is locked
    assert names(tmp_path) == ["x"]
    assert open_descriptors() == before
    assert opened[0] == (tmp_path / "x", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def test_what_is_not_there_has_no_second_name(tmp_path):
    with files._second_name(tmp_path / "x") as spare:
        assert spare is None
        assert names(tmp_path) == []


def test_a_second_name_does_not_wait_for_who_holds_the_lock(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with open(tmp_path / "x", "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with files._second_name(tmp_path / "x") as spare:
            assert spare.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


# ---- sweeping, locking, closing


@pytest.fixture
def opened(monkeypatch):
    """What is opened, with which flags; to open for writing is refused where ``refused`` is put in."""
    found, real = [], os.open

    def told(path, flags, *mode):
        found.append((path, flags))
        if "refused" in found and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", told)
    return found


@pytest.mark.parametrize("refused", [False, True], ids=["ours", "another's"])
def test_a_sweep_follows_no_link_and_waits_for_no_pipe(tmp_path, opened, refused):
    stray = tmp_path / f".x.{'0' * 16}.tmp"
    stray.write_bytes(b"")
    opened.extend(["refused"] * refused)
    files.sweep(tmp_path / "x")
    assert names(tmp_path) == []
    quick = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    kinds = [os.O_RDWR, os.O_RDONLY] if refused else [os.O_RDWR]
    assert opened[refused:] == [(str(stray), kind | quick) for kind in kinds]


@pytest.mark.parametrize("sweep", [lambda path: files.sweep(path), lambda path: files.sweep_folder(path.parent)])
def test_a_name_of_two_lines_is_swept_too(tmp_path, sweep):
    (tmp_path / f".a\nb.{'0' * 16}.tmp").touch()
    sweep(tmp_path / "a\nb")
    assert names(tmp_path) == []


def test_who_is_refused_a_lock_has_waited_a_moment_for_its_label(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(files.time, "sleep", waited.append)
    descriptor = files.lock(tmp_path / "lock")
    with pytest.raises(UserError, match=f"in use by PID {os.getpid()}"):
        files.lock(tmp_path / "lock")
    assert waited == [0.05]
    os.close(descriptor)


def test_what_is_closed_may_be_closed_already(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    files.close(descriptor)
    assert not is_open(descriptor)
    files.close(descriptor)
