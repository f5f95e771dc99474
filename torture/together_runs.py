"""Real processes of the package: runs that are small, stopped at a moment that we choose, and judged by their words."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    *("--preset", "smoke", "--labels", "20", "--wide", "30", "--narrow", "20", "--z1-dim", "8", "--z2-dim", "8"),
    *("--batch-size", "10", "--labelled-batch-size", "20", "--train-images", "2000", "--eval-images", "500"),
    *("--class-draws", "1", "--name", "n"),
]
LONG_BLOCKS = """
import sys
flags, sys.argv = sys.argv[1:], ["run_mnist.py"]
from parmesan_cagem import pipeline, training
training.BLOCK = 20000  # steps: a block that a signal would have to wait for
sys.exit(pipeline.main("mnist", flags, "run_mnist.py"))
"""
SECONDS = 300.0  # after which a process that should end is lost


class Process:
    """A command of the package, in a process group of its own, as a shell starts it."""

    def __init__(self, *command: str, group: bool = False, **environment: str) -> None:
        pipe = subprocess.PIPE
        self.group = group
        # Importing the package has set our own THEANO_FLAGS, with our compile folder.
        clean = {name: value for name, value in os.environ.items() if name != "THEANO_FLAGS"}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdout=pipe,
            stderr=pipe,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            env={**clean, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **environment},
        )
        self.lines: list[str] = []
        self._arriving: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            self._arriving.put(line)
        self._arriving.put(None)

    def wait_for(self, beginning: str) -> bool:
        """Whether a line that begins so has arrived, within the time."""
        stop = time.monotonic() + SECONDS
        with contextlib.suppress(queue.Empty):
            while (line := self._arriving.get(timeout=max(0.0, stop - time.monotonic()))) is not None:
                if line.startswith(beginning):
                    return True
        return False

    def send(self, number: int) -> None:
        """Send a signal, to the whole group where a terminal would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number) if self.group else self.process.send_signal(number)

    def end(self) -> tuple[int, float]:
        """Exit status, and the seconds until it came."""
        clock = time.monotonic()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reader.join(10)
        return self.process.wait(), time.monotonic() - clock


@contextlib.contextmanager
def running(*command: str, group: bool = False, **environment: str) -> Iterator[Process]:
    """A process that does not outlive the block."""
    child = Process(*command, group=group, **environment)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


def train(out: Path, *flags: str) -> list[str]:
    """The command of a small run into ``out/n``."""
    return ["run_mnist.py", *SMALL, "--out", str(out), *flags]


def evaluate(folder: Path, *flags: str) -> list[str]:
    """The command that evaluates a run."""
    return ["-m", "parmesan_cagem", "evaluate", str(folder), *flags]


def living_compilers(where: str) -> list[int]:
    """PIDs of compilers whose command names ``where``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (
                    where.encode() in (entry / "cmdline").read_bytes().partition(b"\0")[2]
                    and b"g++" in (entry / "cmdline").read_bytes().partition(b"\0")[0]
                ):
                    found.append(int(entry.name))
    return found
