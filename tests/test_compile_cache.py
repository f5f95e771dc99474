"""Compile folders of one process each, and the store that they share: nobody waits, nothing piles up."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from test_files import as_nfs_does

from parmesan_cagem import compile_cache
from parmesan_cagem.compile_cache import Store

LIVING = """
import sys, time
from pathlib import Path
from parmesan_cagem import compile_cache
print(compile_cache.private_folder(Path(sys.argv[1])), flush=True)
if len(sys.argv) > 2:
    time.sleep(60)
"""


def process(base, *more):
    """A process with a folder of its own, and that folder."""
    child = subprocess.Popen([sys.executable, "-c", LIVING, str(base), *more], stdout=subprocess.PIPE, text=True)
    return child, child.stdout.readline().strip()


def test_a_folder_lives_as_long_as_its_process(tmp_path):
    living, ours = process(tmp_path, "stay")
    try:
        for _ in range(2):
            child, theirs = process(tmp_path)
            child.wait(60)
            assert theirs not in ("", ours)
            assert os.path.isdir(ours)
        assert len(os.listdir(tmp_path / "processes")) == 2  # its folder and its lock
        living.send_signal(signal.SIGKILL)
        living.wait(60)
        assert os.path.isdir(ours)
        process(tmp_path)[0].wait(60)
        assert os.listdir(tmp_path / "processes") == []
    finally:
        living.kill()
        living.wait()


@pytest.fixture
def stores(tmp_path):
    """Two processes' views of one store."""
    folders = [tmp_path / "processes" / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
    return [Store(tmp_path, folder) for folder in folders]


def module(store, content, name="mabc.so"):
    path = store.compiledir / "tmp1" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_module_is_taken_under_the_name_that_it_has_inside(stores):
    one, two = stores
    assert two.take("m123") is None
    one.give("m123", module(one, b"code"))
    taken = two.take("m123")
    assert (taken.name, taken.read_bytes(), taken.parent.parent) == ("mabc.so", b"code", two.compiledir)
    assert two.take("m12") is None


def test_two_that_compiled_the_same_leave_one(stores):
    for store in stores:
        store.give("m123", module(store, b"code"))
    assert os.listdir(stores[0].folder) == ["m123"]
    assert os.listdir(stores[0].folder / "m123") == ["mabc.so"]


def test_what_is_taken_stays_when_the_store_is_emptied(stores):
    one, two = stores
    one.give("m123", module(one, b"code"))
    taken = two.take("m123")
    shutil.rmtree(one.folder / "m123")
    assert taken.read_bytes() == b"code"


def test_a_store_that_cannot_be_written_costs_nothing_but_time(stores):
    one = stores[0]
    one.folder.parent.parent.mkdir(exist_ok=True)
    one.folder.parent.write_bytes(b"")  # a file where the folder should be
    one.give("m123", module(one, b"code"))
    assert one.take("m123") is None


def test_old_modules_leave_the_store_and_used_ones_stay(stores):
    one, two = stores
    old = time.time() - compile_cache.KEPT_SECONDS - 60
    for name in ("m1", "m2"):
        one.give(name, module(one, b"code", f"{name}.so"))
        os.utime(one.folder / name, (old, old))
    (one.folder / "m4.m4.so").write_bytes(b"code")  # of an earlier version
    for name in (".m3.ff.new", "cutils_ext"):
        (one.folder / name).mkdir()
        os.utime(one.folder / name, (old, old))
    two.take("m2")
    one.drop_old()
    assert sorted(os.listdir(one.folder)) == ["cutils_ext", "m2"]


def test_a_module_that_is_half_removed_is_none_and_can_be_given_again(stores):
    """Whoever drops it removes the file first; killed then, it leaves an empty folder."""
    one, two = stores
    (one.folder / "m123").mkdir(parents=True)
    assert two.take("m123") is None
    assert os.listdir(two.compiledir) == []
    one.give("m123", module(one, b"code"))
    assert two.take("m123").read_bytes() == b"code"


def test_a_module_killed_while_it_is_given_has_no_name_yet(stores, monkeypatch):
    one, two = stores
    seen = []
    real = compile_cache.give_second_name

    def look(path, name):
        seen.append((os.listdir(one.folder), two.take("m123")))
        real(path, name)

    monkeypatch.setattr(compile_cache, "give_second_name", look)
    one.give("m123", module(one, b"code"))
    ((names, taken),) = seen
    assert taken is None
    assert all(name.startswith(".") for name in names)
    assert os.listdir(one.folder) == ["m123"]


def test_a_module_is_looked_up_without_a_look_at_the_others(stores, monkeypatch):
    one, two = stores
    for name in ("m1", "m2"):
        one.give(name, module(one, b"code", f"{name}.so"))
    real, listed = os.listdir, []
    monkeypatch.setattr(os, "scandir", None)
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    assert two.take("m2").name == "m2.so"
    assert listed == [one.folder / "m2"]


def test_a_theano_without_a_dist_info_has_a_store(stores, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    before = stores[0].folder
    monkeypatch.setattr(metadata, "version", missing)
    assert Store(before.parent.parent, stores[0].compiledir).folder.name.count("unknown") == 2


def left_behind(base, host, age):
    """What a process of ``host`` left ``age`` seconds ago, or what it has, if its locks hold there only."""
    folder, lock = base / "processes" / "ff", base / "processes" / "ff.lock"
    folder.mkdir(parents=True)
    lock.write_text(host)
    then = time.time() - age
    os.utime(lock, (then, then))
    compile_cache.sweep(base / "processes")
    return folder.exists(), lock.exists()


@pytest.mark.parametrize(
    ("host", "age", "stays"),
    [
        (socket.gethostname(), 0, False),
        ("another", 23 * 3600, True),
        ("another", 25 * 3600, False),
        ("", 0, True),  # not written yet, or there was no room
        (socket.gethostname() + "2", 0, True),
    ],
)
def test_what_seems_dead_is_left_to_another_host_for_a_day(host, age, stays, tmp_path):
    assert left_behind(tmp_path, host, age) == (stays, stays)


def test_a_lock_tells_its_host(tmp_path):
    living, ours = process(tmp_path, "stay")
    try:
        assert compile_cache._lock_of(Path(ours)).read_text() == socket.gethostname()
    finally:
        living.kill()
        living.wait()


def test_what_the_dead_left_on_nfs_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", as_nfs_does)
    assert left_behind(tmp_path, socket.gethostname(), 0) == (False, False)


def test_what_has_a_fixed_name_is_shared_too(stores):
    one, two = stores
    folder = one.compiledir / "cutils_ext"
    folder.mkdir()
    (folder / "__init__.py").touch()
    two.give_fixed()
    one.give_fixed()  # not compiled yet
    assert not one.folder.exists()
    (folder / "cutils_ext.so").write_bytes(b"code")
    one.give_fixed()
    one.give_fixed()
    two.take_fixed()
    assert sorted(os.listdir(two.compiledir / "cutils_ext")) == ["__init__.py", "cutils_ext.so"]
    assert os.listdir(one.folder) == ["cutils_ext"]
