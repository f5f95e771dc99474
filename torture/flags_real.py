"""Command lines with processes of their own, as a user starts them: status, standard error, what was imported."""

from __future__ import annotations

import ctypes
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torture import flags_lines
from torture.figures import Figures
from torture.flags_lines import RUNS, Command, commands, shown, singles

ROOT = Path(__file__).resolve().parent.parent
HEAVY = frozenset(("theano", "lasagne", "jax", "jaxlib", "h5py"))
SECOND = 1.0
LONGEST = 600.0  # seconds of a process, on a machine that is busy with others
# Without Python's own repair of a C locale: a terminal that knows ASCII only.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Sound, and beyond every machine, or beyond what the numbers can be: refused in one line, in seconds.
HUGE = (
    *("--wide 10000000", "--wide 65536 --narrow 65536", "--narrow 99999999999", "--z1-dim 4294967296"),
    *(
        "--z2-dim 9223372036854775808",
        "--labels 0 --clusters 1000000000",
        "--labels 0 --clusters 10000 --train-iw 5000",
    ),
    *("--epochs 1000000000000000000", "--iw-samples 1000000000000", "--class-draws 1000000000000"),
    *("--eval-seeds 100000000000", "--train-iw 10000000 --batch-size 500", "--batch-size 99999999999"),
    *(
        "--warmup-epochs 1" + "0" * 400,
        "--decay-epochs 1" + "0" * 400,
        "--labels 1" + "0" * 400,
        "--seed 1" + "0" * 5000,
    ),
    *("--learning-rate 1e300", "--adam-epsilon 1e-300", "--adam-beta2 0.99999999999", "--label-weight 1e309"),
    *("--devices 1000000", "--devices 2 --batch-size 50 --labels 20", "--holdout 1" + "0" * 30, "--layers 1000000"),
    *("--checkpoint-every 1" + "0" * 30, "--eval-images 1" + "0" * 30, "--model iwae --train-iw 10000000"),
)
# Sound and odd: such a run must end well.
ODD = (
    "--labels 20 --epochs 1 --seed 4294967295 --label-seed 4294967295 --eval-seed 4294967295 --name \udcff\u202ea\nb",
    "--labels 0 --epochs 1 --clusters 2 --learning-rate 1.2e-38 --warmup-epochs 0 --iw-samples 1 --eval-images 1",
)


def ended(
    program: str, line: Sequence[str], folder: Path, privileged: bool = False, **environment: str
) -> tuple[int, bytes, bytes, float]:
    """Status, standard output and error, and seconds of a processor; status 137 if it had to be killed."""
    start = [str(ROOT / program)] if program in RUNS else ["-m", "parmesan_cagem"]
    clean = {k: v for k, v in os.environ.items() if k not in ("CAGEM_RESULTS", "CAGEM_DATA", "COLUMNS")}
    env = {**clean, "PYTHONPATH": str(ROOT), **environment}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [sys.executable, *start, *line],
            capture_output=True,
            cwd=folder,
            env=env,
            timeout=LONGEST,
            preexec_fn=_as_a_user if os.geteuid() == 0 and not privileged else None,
        )
    except subprocess.TimeoutExpired:
        return 137, b"", b"", LONGEST
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, done.stdout, done.stderr, seconds


def refused(what: str, program: str, status: int, err: bytes) -> str:
    """What is wrong with a refusal; empty if it is one line and status 2."""
    text = err.decode(errors="backslashreplace")
    if status != 2 or text.count("\n") != 1 or not text.startswith(f"{program}: ") or "Traceback" in text:
        return f"{what}: exit status {status}: {text[-300:]!a}"
    return ""


def real(found: Figures, run: Path, seed: int, count: int) -> dict[str, object]:
    """Help of every command, huge and odd requests, then as many lines drawn from all single values."""
    draws, every = random.Random(seed), commands()
    with tempfile.TemporaryDirectory(prefix="torture-flags-real-") as top:
        here = flags_lines.furnish(Path(top) / "x", run)
        try:
            helped = helps(found, here, every)
            found.say(f"--help of {len(helped)} commands: {max(helped.values()):.2f} s at most")
            ends = Counter(_huge(found, here) + _odd(found, here))
            found.say(f"huge and odd requests: {dict(ends)}")
            lines = [(command, line) for command in every for line in singles(command) if not _works(command, line)]
            for number, (command, line) in enumerate(draws.sample(lines, min(count, len(lines)))):
                ends[_one(found, here, command, line, ASCII if number % 2 else {})] += 1
            found.say(f"processes: {dict(ends)}")
        finally:
            (here / "locked").chmod(0o700)
    return {"help_seconds": helped, "ends": dict(ends)}


def helps(found: Figures, here: Path, every: Sequence[Command], tries: int = 3) -> dict[str, float]:
    """``--help`` of every command: processor seconds, the least of some tries, and what it imported.

    It has one thread and waits for nothing, so that on a machine with a core to spare these are the seconds it takes;
    on a busy one, a clock on the wall would tell of the others.
    """
    seconds: dict[str, float] = {}
    programs = [(command.program, (*command.first, "--help")) for command in every] + [("cagem", ("--help",))]
    for program, line in programs:
        what = " ".join((program, *line))
        status, out, err, _ = ended(program, line, here, True, PYTHONPROFILEIMPORTTIME="1")
        names = re.findall(rb"\| +(\w+)[\w.]*$", err, re.MULTILINE)
        heavy = sorted(HEAVY & {name.decode() for name in names})
        times = []
        for _ in range(tries):
            times.append(ended(program, line, here, True)[3])
            if times[-1] < SECOND:
                break
        seconds[what] = round(min(times), 3)
        if status or not out.startswith(b"usage: ") or not names or heavy or seconds[what] >= SECOND:
            found.lose(f"{what}: exit status {status}, {seconds[what]} s, imports {heavy}")
        else:
            found.survive()
    return seconds


def _huge(found: Figures, here: Path) -> list[str]:
    ends = []
    for number, request in enumerate(HUGE):
        line = ["--preset", "smoke", "--no-progress", "--name", f"huge{number}", *request.split(" ")]
        what = f"run_mnist.py {shown(line)}"
        status, _, err, _ = ended("run_mnist.py", line, here)
        wrong = refused(what, "run_mnist.py", status, err)
        if not wrong and (here / "results").exists():
            wrong = f"{what}: refused, but something was written"
        found.lose(wrong) if wrong else found.survive()
        ends.append("fault" if wrong else "huge, refused")
    return ends


def _odd(found: Figures, here: Path) -> list[str]:
    ends = []
    for request in ODD:
        line = ["--preset", "smoke", "--no-progress", "--wide", "8", "--out", "odd", *request.split(" ")]
        status, _, err, _ = ended("run_mnist.py", line, here)
        records = list((here / "odd").glob("*/record.json"))
        if status or err or not records:
            found.lose(f"run_mnist.py {shown(line)}: exit status {status}: {err[-300:]!a}")
        else:
            found.survive()
        ends.append("odd, done" if not status else "fault")
    return ends


def _one(found: Figures, here: Path, command: Command, line: Sequence[str], environment: Mapping[str, str]) -> str:
    what = f"{command.title}: {shown(line)}"
    status, _, err, _ = ended(command.program, line, here, **environment)
    if status == 0 and b"Traceback" not in err:
        found.survive()
        return "done"
    if status == 1 and command.title == "cagem tables" and err.count(b"\n") == 1:
        found.survive()
        return "unfinished"
    if status == 2 and command.title in ("cagem report", "cagem figures", "cagem units", "cagem queue"):
        err = b"".join(err.splitlines(keepends=True)[-1:])  # before it a line for each thing that it could not read
    wrong = refused(what, command.program, status, err)
    found.lose(wrong) if wrong else found.survive()
    return "fault" if wrong else "refused"


def _works(command: Command, line: Sequence[str]) -> bool:
    """Whether a line may be a sound one that computes for long, downloads, or has a NUL, which no process can get."""
    if any("\0" in word or len(word.encode(errors="surrogateescape")) > 100_000 for word in line):
        return True
    if command.title in ("cagem data fetch", "cagem queue", "cagem evaluate", "cagem prices", "cagem units"):
        return True
    if command.title in ("cagem data verify", "cagem figures", "cagem report"):
        return "--data-dir" not in line
    # Of the run scripts those lines that no value of a flag's own kind is in.
    return command.program in RUNS and any(
        re.fullmatch(r"[+ ]?[\d_.e+-]+|٣|.*:.*|--\S+|run\w*|\.+/?", w) for w in line[-1:]
    )


def _as_a_user() -> None:
    """Take from root what other users have not: to read and write whatever it likes."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
