"""A format's files through its loader, in a process that may die: limits, watch, and a verdict for each file.

The worker has 1 GiB of address space above what it begins with, and 5 s of its own time a file (30 s of the clock, as
others may use the machine). Its folder lies alone in an empty one, beside a file that nobody should read; damage_watch
sees what it touches beyond.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from parmesan_cagem.errors import UserError
from torture.damage_watch import Watch

ROOM = 1 << 30  # bytes of memory above what a worker begins with
SECONDS, CLOCK = 5, 30  # of the processor, and of the clock
CANARY = "canary: nobody reads this"


@dataclass
class Format:
    """How files of one format are damaged and read.

    Attributes
    ----------
    name : str
    mutate : callable
        Random -> the bytes of a damaged file.
    load : callable
        Reads the file of that path; raises when it is refused. What it returns should be the same for the same content.
    sound : bytes
        A file that must be read.
    share : int
        How many files of a whole run, relative to the other formats.
    clean : tuple of exceptions
        What the loader may raise, with a message of one line: UserError at the entry points.
    exact : bool
        Whether a digest protects it: a file that is read although it differs must mean the same.
    public : bool
        Whether the loader is an entry point that a run or a command calls.
    """

    name: str
    mutate: Callable[[Random], bytes]
    load: Callable[[Path], Any]
    sound: bytes
    share: int = 1000
    clean: tuple[type[BaseException], ...] = (UserError,)
    exact: bool = False
    public: bool = False


@dataclass
class Result:
    """What became of a format's files."""

    files: int = 0
    read: int = 0
    refused: int = 0
    losses: list[tuple[str, bytes]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    peak: int = 0  # bytes of resident memory above the beginning
    slowest: float = 0.0


def fail_of(error: BaseException, clean: tuple[type[BaseException], ...]) -> str:
    """What is wrong with the way in which a loader refused a file; empty if nothing is."""
    chain: BaseException | None = error
    while chain is not None:  # `from None` hides a cause, but does not drop it
        if isinstance(chain, MemoryError):
            return "asked for more than 1 GiB"
        chain = chain.__cause__ or chain.__context__
    if not isinstance(error, clean):
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if len(str(error).splitlines()) != 1 or not str(error).isprintable():
        return f"not one line: {str(error)[:200]!a}"
    return ""


def run(one: Format, count: int, seed: int, keep: Path) -> Result:
    """Damage and read so many files; a file that broke a promise is kept in ``keep``."""
    result, start = Result(), 0
    with tempfile.TemporaryDirectory(prefix="cagem-damage-") as name:
        base = Path(name)
        (base / "canary").write_text(CANARY)
        while start < count:
            done, status = _batch(one, range(start, count), seed, base, result)
            start += done
            if status:
                what = {signal.SIGXCPU: "hangs", signal.SIGALRM: "hangs", signal.SIGPROF: "hangs"}.get(status)
                result.losses.append((f"{what or f'dies of signal {status}'}", one.mutate(_random(one, seed, start))))
                start += 1
                result.files += 1
            elif not done:
                raise RuntimeError(f"{one.name}: the worker ended before its first file")
        strays = sorted(path.name for path in base.iterdir() if path.name not in ("canary", "home"))
        if strays or (base / "canary").read_text() != CANARY:
            result.losses.append((f"files outside of the folder: {strays}", b""))
    keep.mkdir(parents=True, exist_ok=True)
    for number, (_, content) in enumerate(result.losses):
        (keep / f"{re.sub(r'[^a-z0-9]+', '-', one.name.lower())}-{number}").write_bytes(content)
    return result


def _random(one: Format, seed: int, number: int) -> Random:
    return Random(f"{seed} {one.name} {number}")


def _batch(one: Format, numbers: range, seed: int, base: Path, result: Result) -> tuple[int, int]:
    """Files read by one worker until it ended, and the signal that it died of, if any."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        status, told = 1, os.dup(2)
        try:
            with os.fdopen(writer, "w", encoding="ascii", buffering=1) as lines:
                for line in _work(one, numbers, seed, base):
                    lines.write(line + "\n")
            status = 0
        except BaseException:
            os.write(told, f"{one.name}: {traceback.format_exc()}".encode())
        finally:
            os._exit(status)
    os.close(writer)
    done = 0
    with os.fdopen(reader, encoding="ascii") as lines:
        for line in lines:
            verdict, _, rest = line.strip().partition(" ")
            peak, seconds, words = rest.split(" ", 2)
            done += 1
            result.files += 1
            result.peak, result.slowest = max(result.peak, int(peak)), max(result.slowest, float(seconds))
            if verdict == "lost":
                result.losses.append((words, one.mutate(_random(one, seed, numbers.start + done - 1))))
            else:
                setattr(result, verdict, getattr(result, verdict) + 1)
                result.reasons[words] += 1
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"{one.name}: the worker failed; its message stands above")
    return done, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _work(one: Format, numbers: range, seed: int, base: Path) -> Iterator[str]:
    """A line for each file: verdict, memory, seconds, words."""
    home = base / "home"
    home.mkdir(exist_ok=True)
    os.chdir(home)
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # what loaders print is theirs
        os.dup2(null, descriptor)
    warnings.simplefilter("ignore")
    os.environ["XDG_CACHE_HOME"] = str(home / "cache")
    os.environ.pop("CAGEM_DATA", None)
    path = home / "file"
    path.write_bytes(one.sound)
    expected = one.load(path)  # also imports what a first load imports
    watch = Watch(home)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        content = one.mutate(_random(one, seed, number))
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        # Not caught, on purpose: a loop in C would never let Python's handler run.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, CLOCK)
        clock = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        watch.on = True
        verdict, words = _verdict(one, path, content, expected)
        watch.on = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        if watch.seen:
            verdict, words = "lost", f"escape: {watch.seen[0]}"
            watch.seen.clear()
        words = words.encode("ascii", "backslashreplace").decode().replace("\n", " ")
        yield f"{verdict} {1024 * (usage.ru_maxrss - before)} {usage.ru_utime - clock:.3f} {words}"


def _verdict(one: Format, path: Path, content: bytes, expected: Any) -> tuple[str, str]:
    try:
        found = one.load(path)
    except Exception as error:
        wrong = fail_of(error, one.clean)
        return ("lost", wrong) if wrong else ("refused", type(error).__name__)
    if one.exact and content != one.sound and found != expected:
        return "lost", "was read, with another content, in spite of its digest"
    return "read", "changed" if found != expected else "the same"
