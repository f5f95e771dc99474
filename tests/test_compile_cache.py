"""Compile folders of one process each, and the store that they share: nobody waits, nothing piles up."""

import os
import signal
import subprocess
import sys
import time

import pytest

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
    assert os.listdir(stores[0].folder) == ["m123.mabc.so"]


def test_what_is_taken_stays_when_the_store_is_emptied(stores):
    one, two = stores
    one.give("m123", module(one, b"code"))
    taken = two.take("m123")
    (one.folder / "m123.mabc.so").unlink()
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
        os.utime(one.folder / f"{name}.{name}.so", (old, old))
    half = one.folder / ".m3.ff.new"
    half.write_bytes(b"")
    os.utime(half, (old, old))
    two.take("m2")
    one.drop_old()
    assert os.listdir(one.folder) == ["m2.m2.so"]


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
