"""SIGTERM, SIGINT, SIGHUP and a second SIGINT in training, evaluation, compilation and download."""

from __future__ import annotations

import functools
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from parmesan_cagem import checkpoint, records, runfolder, sealed
from parmesan_cagem.ledger import Ledger
from torture import mirrors
from torture.figures import Figures
from torture.together_downloads import holds
from torture.together_runs import LONG_BLOCKS, Process, evaluate, living_compilers, running, train

FOUR: dict[str, tuple[int, ...]] = {
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT": (signal.SIGINT,),
    "SIGHUP": (signal.SIGHUP,),
    "second SIGINT": (signal.SIGINT, signal.SIGINT),
}
BETWEEN = 1.3  # seconds between two signals that are two requests
_LOST = " for the second time; what was done since the last checkpoint is lost"
_FETCH = """
import sys
from parmesan_cagem.data import mnist
mnist.MIRRORS = (sys.argv.pop(),)
sys.argv[0] = "cagem"
from parmesan_cagem.cli import main
sys.exit(main(["data", "fetch", "mnist"]))
"""
# Says when a block of images is done; otherwise it is cagem.
_TICKING = """
import sys
sys.argv[0] = "cagem"
from parmesan_cagem import ledger
tick = ledger.Ledger.tick
def loud(self):
    print("tick", file=sys.stderr, flush=True)
    tick(self)
ledger.Ledger.tick = loud
from parmesan_cagem.cli import main
sys.exit(main(sys.argv[1:]))
"""
Check = Callable[[], str]  # what is wrong, or nothing


def stop(figures: Figures, what: str, child: Process, numbers: tuple[int, ...], prog: str, check: Check) -> None:
    """Send the signals; judge status, the one line, the time that it took, and what ``check`` says of the files."""
    for i, number in enumerate(numbers):
        time.sleep(BETWEEN * bool(i))
        child.send(number)
    status, seconds = child.end()
    name = signal.Signals(numbers[-1]).name
    last = child.lines[-1] if child.lines else ""
    told = [line for line in child.lines if line.startswith(f"{prog}: stopped by")]
    # The second one may come when Python has ended all but the process: that is death by it, 128 + n to a shell.
    ends = (128 + numbers[-1], *(-n for n in numbers[1:]))
    fine = status in ends and last in (f"{prog}: stopped by {name}", f"{prog}: stopped by {name}{_LOST}")
    traced = any("Traceback" in line or "Error" in line or "Exception" in line for line in child.lines)
    wrong = check()
    took = figures.details.setdefault("seconds_to_react", {})
    took[what] = round(seconds, 2)
    if fine and len(told) == 1 and not traced and not wrong:
        figures.survive()
    else:
        figures.lose(f"{what}: status {status}, {wrong or 'files in order'}, said {child.lines[-4:]}")


def _as(folder: Path, whole: Path) -> str:
    """What differs between two trained runs."""
    ours, theirs = (checkpoint.load(one).arrays for one in (folder, whole))
    same = all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs) and list(ours) == list(theirs)
    logs = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in runfolder.read_log(one) if "epoch" in line]
        for one in (folder, whole)
    ]
    return "" if same and logs[0] == logs[1] else "it is not the undisturbed run"


def reference(folder: Path, epochs: int = 3) -> Path:
    """An undisturbed run."""
    with running(*train(folder / "whole", "--epochs", str(epochs), "--train-only")) as child:
        status, _ = child.end()
        assert status == 0, child.lines[-3:]
    return folder / "whole" / "n"


def resume(figures: Figures, what: str, out: Path, whole: Path, epochs: int = 3) -> None:
    """Go on, and compare with the undisturbed run."""
    with running(*train(out, "--epochs", str(epochs), "--resume", "--train-only")) as child:
        status, _ = child.end()
    wrong = f"status {status}, {child.lines[-2:]}" if status else _as(out / "n", whole)
    if wrong:
        figures.lose(f"--resume after {what}: {wrong}")
    else:
        figures.survive()


def in_training(figures: Figures, folder: Path, whole: Path, which: dict[str, tuple[int, ...]] = FOUR) -> None:
    """After the first epoch; the second SIGINT in a block that is too long to wait for."""
    for name, numbers in which.items():
        out, what = folder / name.replace(" ", "-"), f"{name} in training"
        if len(numbers) == 1:
            with running(*train(out, "--epochs", "3", "--train-only")) as child:
                child.wait_for("epoch 1:")
                stop(figures, what, child, numbers, "run_mnist.py", functools.partial(_no_strays, out / "n"))
            resume(figures, what, out, whole)
            continue
        long = ("--train-images", "50000", "--wide", "200", "--train-only")  # blocks of many seconds
        with running("-c", LONG_BLOCKS, *train(out, "--epochs", "3000", *long)[1:]) as child:
            child.wait_for("epoch 1:")
            saved = checkpoint.load(out / "n").attributes["epoch"] if checkpoint.exists(out / "n") else 1
            stop(figures, what, child, numbers, "run_mnist.py", lambda: "")
        with running(*train(out, "--epochs", "3000", "--resume", *long)) as child:
            goes_on = child.wait_for(f"epoch {saved + 1}:")
        if goes_on and not checkpoint.load(out / "n").warnings:
            figures.survive()
        else:
            figures.lose(f"--resume after {what}: {child.lines[-3:]}")


def in_compilation(figures: Figures, folder: Path, whole: Path, seed: int, which: dict = FOUR) -> None:  # type: ignore[type-arg]
    """While XLA compiles, and while engine c does, whose g++ must not stay; Ctrl-C goes to the whole group."""
    draw = random.Random(seed)
    for name, numbers in which.items():
        out = folder / name.replace(" ", "-")
        group = numbers[0] == signal.SIGINT
        with running(*train(out, "--epochs", "3", "--train-only"), group=group) as child:
            child.wait_for("compiling the training graph")
            time.sleep(draw.uniform(0, 4))
            what = f"{name} while XLA compiles"
            stop(figures, what, child, numbers, "run_mnist.py", functools.partial(_no_strays, out / "n"))
        resume(figures, what, out, whole)
        cache, out = folder / f"cache-{name.replace(' ', '-')}", folder / f"c-{name.replace(' ', '-')}"
        c = train(out, "--engine", "c", "--train-only")
        with running(*c, group=group, XDG_CACHE_HOME=str(cache)) as child:
            child.wait_for("compiling the training graph")
            while not living_compilers(str(cache)) and child.process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.5))
            stop(figures, f"{name} while g++ compiles", child, numbers, "run_mnist.py", lambda c=cache: _compilers(c))
        shutil.rmtree(cache, ignore_errors=True)


def in_evaluation(figures: Figures, folder: Path, whole: Path, which: dict = FOUR) -> None:  # type: ignore[type-arg]
    """The ledger keeps what was found; in the end the numbers are those of an undisturbed evaluation."""
    for copy in ("calm", "stopped"):
        shutil.copytree(whole, folder / copy)
    flags = ("--iw-samples", "100", "--eval-images", "1000")
    with running(*evaluate(folder / "calm", *flags)) as child:
        child.end()
    kept = []
    for name, numbers in which.items():
        with running("-c", _TICKING, *evaluate(folder / "stopped", *flags)[2:]) as child:
            child.wait_for("tick")
            check = functools.partial(_no_strays, folder / "stopped")
            stop(figures, f"{name} in evaluation", child, numbers, "cagem", check)
        kept.append(_rows(folder / "stopped"))
    with running(*evaluate(folder / "stopped", *flags)) as child:
        status, _ = child.end()
    one, other = (records.read(folder / copy / "record.json") if status == 0 else {} for copy in ("calm", "stopped"))
    same = [one.get(key) == other.get(key) for key in ("bounds", "error_q", "error_p", "active_units", "cluster_usage")]
    if status == 0 and all(same) and kept == sorted(kept) and kept[0] > 0:
        figures.survive()
    else:
        figures.lose(
            f"the evaluation after signals: status {status}, equal {same}, rows kept {kept}, {child.lines[-2:]}"
        )
    figures.details["rows_kept_by_stopped_evaluations"] = kept


def in_download(figures: Figures, folder: Path, which: dict = FOUR) -> None:  # type: ignore[type-arg]
    """``cagem data fetch`` while the mirror trickles: the cache holds nothing."""
    with mirrors.serving(bytes(9_912_422)) as server:
        for name, numbers in which.items():
            cache = folder / name.replace(" ", "-")
            address = server.mirror("trickle")
            with running("-c", _FETCH, address, XDG_CACHE_HOME=str(cache), no_proxy="127.0.0.1") as child:
                while not holds(cache / "cagem" / "mnist") and child.process.poll() is None:
                    time.sleep(0.02)
                check = functools.partial(_only_nothing, cache / "cagem" / "mnist")
                stop(figures, f"{name} in download", child, numbers, "cagem", check)


def at_the_start(figures: Figures, folder: Path, times: int = 8) -> None:
    """In the first second of a process, while it imports: never a traceback, and the right status."""
    for i in range(times):
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[i % 3]
        with running(*train(folder / str(i), "--epochs", "1000", "--train-only")) as child:
            delay = 0.1 + 1.2 * i / times
            time.sleep(delay)
            child.send(number)
            status, _ = child.end()
        traced = any("Traceback" in line for line in child.lines)
        # Before the package's first line runs, Python answers by itself: by a trace of its own start, or by death.
        before = not any("parmesan_cagem" in line or "stopped by" in line for line in child.lines)
        if before or (status == 128 + number and not traced):
            figures.survive()
        else:
            figures.lose(f"signal {number} after {delay:.2f} s: status {status}, {child.lines[-3:]}")


def _no_strays(folder: Path) -> str:
    strays = [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] if folder.is_dir() else []
    return f"left {strays}" if strays else ""


def _compilers(cache: Path) -> str:
    time.sleep(0.2)
    left = living_compilers(str(cache))
    processes = cache / "cagem" / "theano" / "processes"
    return f"compilers {left} still run" if left else "" if processes.is_dir() else "no compile folder was made"


def _only_nothing(folder: Path) -> str:
    held = [name for name in holds(folder) if not name.endswith(".tmp")]
    return f"the cache holds {held}" if held else ""


def _rows(folder: Path) -> int:
    for path in folder.glob("evaluation.h5"):
        try:
            arrays = Ledger.read(path)._arrays
        except sealed.Damaged:
            return -1
        return int(sum(np.sum(array) for name, array in arrays.items() if name.endswith("/done")))
    return 0
