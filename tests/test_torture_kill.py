"""``kill -9``: the short version of ``python -m torture.kill``, and that its checks notice what they are there for."""

import json
import os
import random
import subprocess
import sys

import pytest

from torture import kill_aim, kill_checks, kill_files, kill_run
from torture.kill_aim import CREATE, Aim
from torture.kill_checks import Broken


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The kills of a life that ended as an uninterrupted run does, and the folder of that other run."""
    scratch = tmp_path_factory.mktemp("kill")
    clean = {name: value for name, value in os.environ.items() if name != "THEANO_FLAGS"}
    paths = os.pathsep.join([str(kill_run.ROOT), str(kill_run.ROOT / "tests")])
    command = [sys.executable, str(kill_run.ROOT / "tests" / "killed_runs.py"), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, env={**clean, "PYTHONPATH": paths}, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), scratch / "reference" / kill_run.NAME


def test_a_run_that_is_killed_again_and_again_equals_one_that_is_not(killed):
    hits = killed[0]
    assert len(hits) == 3
    assert [hit["epochs_lost"] <= 1 for hit in hits] == [True] * 3
    assert hits[0]["phase"] in ("log line written, checkpoint not yet", "checkpoint: writing", "training steps")


@pytest.mark.parametrize("damage", ["record.json", "log.jsonl", "evaluation.h5", "checkpoint.h5", "stray"])
def test_a_folder_that_breaks_a_promise_is_noticed(killed, damage):
    folder = killed[1]
    reference = kill_checks.look(folder)
    kill_checks.check_finished(folder, reference)
    path = folder / damage
    if damage == "stray":
        path = folder / ".checkpoint.previous.h5.0123456789abcdef.tmp"
        path.write_bytes(b"half")
    kept = path.read_bytes()
    changed = kept.replace(b'"F": -', b'"F": -1', 1) if damage == "log.jsonl" else kept[: len(kept) // 2]
    assert changed != kept
    path.write_bytes(changed)
    try:
        with pytest.raises(Broken):
            kill_checks.check_finished(folder, reference)
    finally:
        path.unlink() if damage == "stray" else path.write_bytes(kept)


def test_what_a_kill_must_not_do_to_a_folder_is_noticed(killed):
    folder, now = killed[1], 1e12
    reference = kill_checks.look(folder)
    before = kill_checks.State()
    kill_checks.check_after_kill(folder, before, [reference], 1, now)
    saved_later = kill_checks.State(epoch=reference.epoch + 1)
    with pytest.raises(Broken, match=r"^the checkpoint went back from epoch 3 to 2$"):
        kill_checks.check_after_kill(folder, saved_later, [reference], 1, now)
    other_log = kill_checks.State(log=reference.log[1:], whole=reference.whole, rows=reference.rows)
    with pytest.raises(Broken, match=r"^the log is not the beginning of an uninterrupted run's$"):
        kill_checks.check_after_kill(folder, before, [other_log], 1, now)


def test_tables_are_old_or_new_and_whole(tmp_path):
    victim = kill_files.tables(tmp_path, kill_run.ROOT / "results" / "runs")
    assert list(victim.life(random.Random(3)))
    assert not kill_aim.strays(victim.folder)


def test_a_process_that_ends_before_its_moment_is_no_kill(tmp_path):
    log = tmp_path / "log.txt"
    strike = Aim("never", CREATE, "nothing").struck(lambda: kill_run.spawn(["-c", "pass"], log), tmp_path)
    assert (strike.status, strike.killed) == (0, False)
    with pytest.raises(TimeoutError, match="never: the process neither ended nor came there within 0 s"):
        Aim("never", CREATE, "nothing").struck(
            lambda: kill_run.spawn(["-c", "import time; time.sleep(60)"], log), tmp_path, limit=0.3
        )
