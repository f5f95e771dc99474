"""Two processes on one run folder, and processes that compile at once."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import time
from pathlib import Path

from torture.figures import Figures
from torture.together_runs import Process, evaluate, living_compilers, running, train

# One small graph with a number in it, so that each number makes another C module. Prints how long it took.
COMPILE = """
import sys, time
import parmesan_cagem, theano, theano.tensor as T
clock = time.monotonic()
x = T.vector("x")
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    print("compiling", file=sys.stderr, flush=True)
    theano.function([x], T.exp(x * 1.25) + number * 0.3711 + x ** 3, mode=theano.compile.mode.Mode("cvm", "fast_run"))
print("done", round(time.monotonic() - clock, 3), file=sys.stderr, flush=True)
"""


def one_folder(figures: Figures, folder: Path, others: int = 2) -> None:
    """The second is refused with the first one's PID and host; after a kill -9 the next one has the lock at once."""
    refusal = re.compile(
        rf": {re.escape(str(folder / 'n'))} is in use by PID (\d+) on host (\S+); wait for it, stop it"
    )
    with running(*train(folder, "--epochs", "1000", "--train-only")) as owner:
        if not owner.wait_for("epoch 1:"):
            figures.lose(f"a run that trains alone: {owner.lines[-3:]}")
            return
        commands = [train(folder, "--epochs", "1000", "--resume", "--train-only")] * others + [evaluate(folder / "n")]
        for command in commands:
            with running(*command) as second:
                status, _ = second.end()
                found = refusal.search(second.lines[-1] if second.lines else "")
                named = found is not None and found.groups() == (str(owner.process.pid), socket.gethostname())
                if status == 2 and named and len(second.lines) == 1:
                    figures.survive()
                else:
                    figures.lose(f"{command[0]} on a running folder: status {status}, {second.lines[-3:]}")
        owner.send(signal.SIGKILL)
        owner.end()
    with running(*train(folder, "--epochs", "1000", "--resume", "--train-only")) as heir:
        if heir.wait_for("CaGeM-20") and heir.wait_for("epoch"):  # the first line comes after the lock
            figures.survive()
        else:
            figures.lose(f"--resume after a kill -9 of the owner: {heir.lines[-3:]}")


def one_name(figures: Figures, folder: Path, at_once: int = 4) -> None:
    """Of many that begin the same run at one moment, one gets the folder, and the others name it."""
    children = [Process(*train(folder, "--epochs", "1000", "--train-only")) for _ in range(at_once)]
    try:
        stop = time.monotonic() + 300
        while sum(child.process.poll() is None for child in children) > 1 and time.monotonic() < stop:
            time.sleep(0.1)
        owners = [child for child in children if child.process.poll() is None]
        owner = owners[0].process.pid if len(owners) == 1 else 0
        for child in children:
            if child.process.poll() is None:
                continue
            status, _ = child.end()
            said = child.lines[-1] if child.lines else ""
            if status == 2 and len(child.lines) == 1 and (f"by PID {owner} on" in said or "holds a run" in said):
                figures.survive()
            else:
                figures.lose(f"{at_once} begin one run: owner {owner}, status {status}, {child.lines[-3:]}")
    finally:
        for child in children:
            child.send(signal.SIGKILL)
            child.end()


def compile_locks(figures: Figures, folder: Path, seed: int, others: int = 2) -> None:
    """Nobody waits for another's compilation, be that frozen, killed or at work; what killed ones leave is swept."""
    here, base = {"XDG_CACHE_HOME": str(folder)}, folder / "cagem" / "theano"
    number = random.Random(seed).randrange(10**6)
    seconds: dict[str, float] = {}

    def compiled(label: str, first: int, count: int = 2) -> None:
        with running("-c", COMPILE, str(first), str(first + count), **here) as child:
            status, _ = child.end()
            told = [line for line in child.lines if line.startswith("done")]
            if status == 0 and told:
                seconds[label] = float(told[0].split()[1])
                figures.survive()
            else:
                figures.lose(f"compiling {label}: status {status}, {child.lines[-3:]}")

    compiled("alone", number)
    compiled("what is in the store", number)
    # Frozen in mid-compile, it would hold Theano's lock for ever.
    with running("-c", COMPILE, str(number + 10), str(number + 40), **here) as frozen:
        frozen.wait_for("compiling")
        _until_compiling(folder)
        frozen.send(signal.SIGSTOP)
        for i in range(others):
            compiled(f"beside a frozen one, {i + 1}", number + 100 + 10 * i)
        mine = len(list((base / "processes").glob("*.lock")))
        frozen.send(signal.SIGKILL)
        frozen.end()
    compiled("after a kill -9 in mid-compile", number + 200)
    for i in range(others):
        with running("-c", COMPILE, str(number + 300), str(number + 340), **here) as killed:
            killed.wait_for("compiling")
            _until_compiling(folder)
            killed.send(signal.SIGKILL)
            killed.end()
        left = len(os.listdir(base / "processes"))
        if left <= 4:  # its folder and lock, and perhaps those of one whose compiler was still writing
            figures.survive()
        else:
            figures.lose(f"{left} names in {base / 'processes'} after {i + 1} kills")
    time.sleep(3)  # the compilers of the killed ones end by themselves
    compiled("at last", number + 400)
    left = os.listdir(base / "processes")
    slow = {what: took for what, took in seconds.items() if took > 10 * seconds["alone"] + 20}
    if not left and not slow and mine == 1:
        figures.survive()
    else:
        figures.lose(f"left {left}, slow {slow} of {seconds}, folders beside a frozen one {mine}")
    figures.details["compile_seconds"] = seconds


def _until_compiling(folder: Path, seconds: float = 60.0) -> None:
    stop = time.monotonic() + seconds
    while not living_compilers(str(folder)) and time.monotonic() < stop:
        time.sleep(0.01)
