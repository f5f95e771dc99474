"""Damaged and malicious files, in short: ``python -m torture.damage`` is all of it. And the torture sees faults."""

import ctypes
import functools
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from parmesan_cagem.errors import UserError
from torture import damage, damage_worker
from torture.damage_worker import Format
from torture.figures import Figures

FILES = 800
SLOW = {  # of the malicious files: half of the time of all is theirs
    "MAT: bomb for chardata",
    "MAT: too many images",
    "record.json: many lists",
    "config.json: many lists",
    "grid: ten million runs",
    "grid: deep",
    "pack: 3 GiB",
    "pack: bomb",
}
cases = functools.cache(damage.all_cases)  # two seconds


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No folder of this machine."""
    monkeypatch.delenv("CAGEM_DATA", raising=False)


def test_malicious_files_are_refused(tmp_path):
    part = Figures("damage")
    damage.malicious(part, [case for case in cases() if case[0] not in SLOW], tmp_path / "kept")
    assert part.losses == []
    assert part.injected == part.survived == len(cases()) - len(SLOW) > 140


@pytest.mark.slow
def test_malicious_files_that_take_long_are_refused(tmp_path):
    part = Figures("damage")
    damage.malicious(part, [case for case in cases() if case[0] in SLOW], tmp_path / "kept")
    assert part.losses == []
    assert part.injected == part.survived == len(SLOW)


def test_damaged_files_are_read_or_refused_cleanly(tmp_path):
    part = Figures("damage")
    formats = damage.all_formats(with_models=False)
    slow = {
        "checkpoint of another",
        "record.json, in tables",
        "log.jsonl, drawn",
        "paper.json",
        "record.json, in the report",
    }
    damage.mutants(part, [one for one in formats if one.name not in slow], FILES, 1, tmp_path / "kept")
    assert part.losses == []
    assert part.injected == part.survived == pytest.approx(FILES, abs=len(formats))
    table = part.details["formats"]
    assert all(row["refused"] or row["read"] for row in table.values())
    assert sum(row["refused"] for row in table.values()) > FILES / 2


# ---- a loader that breaks a promise is found out


def crash(path):
    ctypes.string_at(0)


def hang(path):
    while True:
        pass


def fill(path):
    try:
        return np.ones(2 << 30, "u1")[0]
    except MemoryError:
        raise UserError("hidden") from None


def unpickle(path):
    return pickle.loads(path.read_bytes())  # noqa: S301  the watch must see what it does


def escape(path):
    return Path("../canary").read_text()


def leave(path):
    Path("../stray").write_text("x")


def execute(path):
    subprocess.run([sys.executable, "-c", ""], check=False)


def confess(path):
    raise KeyError("epoch")


def forget(path):
    return time.perf_counter()


BROKEN = {
    crash: "dies of signal 11",
    hang: "hangs",
    fill: "asked for more than 1 GiB",
    unpickle: "escape: os.system",
    escape: "escape: open",
    leave: "escape: open",
    execute: "escape: ",
    confess: "KeyError: 'epoch'",
    forget: "in spite of its digest",
}


@pytest.mark.parametrize("load", BROKEN, ids=lambda load: load.__name__)
def test_a_loader_that_breaks_a_promise_is_found_out(load, tmp_path, monkeypatch):
    monkeypatch.setattr(damage_worker, "SECONDS", 0.3)
    content = pickle.dumps(Call())

    def first_sound(path):
        return None if path.read_bytes() == b"sound" else load(path)

    one = Format("broken", lambda rng: content, first_sound, b"sound", exact=True)
    result = damage_worker.run(one, 1, 1, tmp_path / "kept")
    assert BROKEN[load] in result.losses[0][0]
    assert (tmp_path / "kept" / "broken-0").read_bytes() == content
    assert not (tmp_path / "harm").exists()


class Call:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_message_is_one_line_whatever_it_quotes():
    error = UserError("a file says 'x\n\x1b[2J\udc80é'")
    assert str(error) == "a file says 'x\\n\\x1b[2J\\x80é'"
    assert damage_worker.fail_of(error, (UserError,)) == ""
