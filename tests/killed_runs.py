"""A small run that is killed in some of its phases: the short version of ``torture.kill``.

A program of its own, whose processes are forks of it: they need no import, and no thread of a test's is left halfway.
"""

import contextlib
import json
import os
import random
import sys
from pathlib import Path

from small_runs import RUN, called, digits

from torture import kill_run
from torture.kill_aim import MODIFY, MOVED_TO, Aim


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


def in_training(rng):
    return [
        Aim("the log line", MODIFY, "log.jsonl", 3, 0.0005),  # after those of the provenance and of the first epoch
        Aim("between samples and record", MOVED_TO, "samples.png"),
    ]


def in_evaluation(rng):
    return [Aim("the former record", MOVED_TO, "record.former-1.json")]


if __name__ == "__main__":
    digits()  # once, not in each process
    train = ("run_mnist.py", *RUN[:-2], "--epochs", "2", "--labels", "20")
    evaluate = ("cagem", "evaluate", "--iw-samples", "20")
    kind = kill_run.Kind("small", train, evaluate, 2, 1, (in_training, in_evaluation), forked)
    victim = kill_run.Run(kind, Path(sys.argv[1]))
    print(json.dumps([vars(hit) for hit in victim.life(random.Random(1))]))
