"""``kill -9``: the short version of ``python -m torture.kill``, on small runs in forked processes."""

import contextlib
import os
import random

import pytest
from small_runs import RUN, called, digits

from torture import kill_aim, kill_checks, kill_files, kill_run
from torture.kill_aim import CREATE, MODIFY, MOVED_TO, Aim
from torture.kill_checks import Broken


def forked(words, log, **environment):
    """Run a command of the package in a forked process that leads its own group; its PID."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return pid
    status = 99
    try:
        os.setpgid(0, 0)
        status, *printed = called(*words)
        log.write_text("\n".join(printed))
    finally:
        os._exit(status)


def first(rng):
    """The log line is there and the first checkpoint is being written; then the last one; then what follows it."""
    return [
        Aim("the log line", MODIFY, "log.jsonl", 3, 0.0005),  # after those of the provenance and of the first epoch
        Aim("rotation", CREATE, ".checkpoint.previous.h5.*", 1, rng.uniform(0, 0.001)),
        Aim("between samples and record", MOVED_TO, "samples.png"),
    ]


def second(rng):
    return [Aim("between the former record and the record", MOVED_TO, "record.former-1.json")]


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    digits()  # once, not in each process
    train = ["run_mnist.py", *RUN[:-2], "--epochs", "3", "--labels", "20"]
    kind = kill_run.Kind(
        "small", tuple(train), ("cagem", "evaluate", "--iw-samples", "20"), 3, 1, (first, second), forked
    )
    return kill_run.Run(kind, tmp_path_factory.mktemp("kill"))


def test_a_run_that_is_killed_again_and_again_equals_one_that_is_not(victim):
    hits = list(victim.life(random.Random(1)))
    assert len(hits) == 4
    assert all(hit.epochs_lost <= 1 for hit in hits)
    assert hits[0].phase in ("log line written, checkpoint not yet", "checkpoint: writing", "training steps")


@pytest.mark.parametrize("damage", ["record.json", "log.jsonl", "evaluation.h5", "checkpoint.h5", "stray"])
def test_a_folder_that_breaks_a_promise_is_noticed(victim, damage):
    references = victim.references()
    folder = victim.scratch / "reference" / kill_run.NAME
    kill_checks.check_finished(folder, references[1])
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
            kill_checks.check_finished(folder, references[1])
    finally:
        path.unlink() if damage == "stray" else path.write_bytes(kept)


def test_tables_are_old_or_new_and_whole(tmp_path):
    victim = kill_files.tables(tmp_path, kill_run.ROOT / "results" / "runs")
    hits = list(victim.life(random.Random(3)))
    assert hits
    assert not kill_aim.strays(victim.folder)


def test_a_process_that_ends_before_its_moment_is_no_kill(tmp_path):
    log = tmp_path / "log.txt"
    strike = Aim("never", CREATE, "nothing").struck(lambda: kill_run.spawn(["-c", "pass"], log), tmp_path)
    assert (strike.status, strike.killed) == (0, False)
    with pytest.raises(TimeoutError, match="never: the process neither ended nor came there within 0 s"):
        Aim("never", CREATE, "nothing").struck(
            lambda: kill_run.spawn(["-c", "import time; time.sleep(60)"], log), tmp_path, limit=0.3
        )
