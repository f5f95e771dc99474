"""Downloads: mirrors that misbehave, caches that cannot be written, processes that fetch the same file at once."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from parmesan_cagem.data.fetch import RemoteFile, fetch
from parmesan_cagem.data.mirror import Limits
from parmesan_cagem.errors import UserError
from parmesan_cagem.files import sweep_folder
from torture import mirrors
from torture.figures import Figures

NAME, FIX = "set.gz", "fix: bring your own"
QUICK = Limits(connect=2, read=0.5, file=1.0)
_PROGRAM = """
import json, resource, sys
from pathlib import Path
from parmesan_cagem.data.fetch import RemoteFile, fetch
from parmesan_cagem.errors import UserError
given = json.loads(sys.argv[1])
if given["most"]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["most"], given["most"]))
print("ready", flush=True)
try:
    fetch([RemoteFile(*given["file"])], given["mirrors"], Path(given["folder"]), "fix: bring your own")
except UserError as error:
    sys.exit(str(error))
"""


def body_of(seed: int, size: int = 300_000) -> tuple[bytes, RemoteFile]:
    """Bytes to serve, and how they are known."""
    body = random.Random(seed).randbytes(size)
    return body, RemoteFile(NAME, size, hashlib.sha256(body).hexdigest())


def process(
    file: RemoteFile, addresses: list[str], folder: Path, most: int = 0, **environment: str
) -> subprocess.Popen[str]:
    """A process that fetches; its status is 0 if it has the file."""
    given = {"file": [file.name, file.size, file.sha256], "mirrors": addresses, "folder": str(folder), "most": most}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(given)],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, "no_proxy": "127.0.0.1", **environment},
    )


def holds(folder: Path) -> dict[str, bytes]:
    """What lies in the cache."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def bad_mirrors(figures: Figures, folder: Path, seed: int) -> None:
    """Each mirror alone leaves nothing; before a live one, it costs a warning; and no request goes astray."""
    body, file = body_of(seed)
    for name in mirrors.GOOD:
        with mirrors.serving(body) as server:
            fetch([file], [server.mirror(name)], folder / name, FIX)
        _judge(figures, f"mirror {name}", holds(folder / name) == {NAME: body}, "no good file")
    for name, reason in mirrors.BAD.items():
        reason = reason.replace("FILE", NAME).replace("SIZE", str(file.size))
        if name == "other-scheme":  # the server has no TLS: from http, ftp is just as little followed
            reason = f"redirects {NAME} from"
        message, started = "no error", time.monotonic()
        with mirrors.serving(body) as server:
            try:
                fetch([file], [server.mirror(name)], folder / name, FIX, QUICK)
            except UserError as error:
                message = str(error)
            seconds, empty = time.monotonic() - started, holds(folder / name) == {}
            asked = len(server.requests)
            fetch([file], [server.mirror(name), server.mirror("good")], folder / name, FIX, QUICK)
            astray = [host for _, host in server.requests if not host.startswith("127.0.0.1")]
        good = holds(folder / name) == {NAME: body}
        told = reason in message and message.endswith(FIX) and "\n" not in message
        fine = told and empty and good and not astray and asked <= Limits.redirects + 1
        details = f"said {message!r}, empty {empty}, then good {good}, astray {astray}, asked {asked}, {seconds:.1f} s"
        _judge(figures, f"mirror {name}", fine and seconds < 10, details)


def caches(figures: Figures, folder: Path, seed: int) -> None:
    """A cache that cannot be written is named, and holds no half of a file."""
    body, file = body_of(seed)
    with mirrors.serving(body) as server:
        good, dead = [server.mirror("good")], server.mirror("dead")
        cases = {
            "a file size limit, as a full disk": (process(file, good, folder / "full", 100_000), "File too large"),
            "no folder possible": (process(file, good, Path("/proc/cagem/set")), "cannot write the cache"),
            "a dead proxy": (process(file, good, folder / "proxy", no_proxy="", http_proxy=dead), "names a proxy"),
            "a proxy that sends pages": (
                process(file, [server.mirror("html")], folder / "page", no_proxy="", http_proxy=good[0]),
                "sent an HTML page",
            ),
        }
        for name, (child, reason) in cases.items():
            _, said = child.communicate(timeout=120)
            last = said.splitlines()[-1] if said else ""  # before it, a warning for each mirror
            fine = child.returncode == 1 and reason in last and last.endswith(FIX) and "Traceback" not in said
            _judge(figures, name, fine, f"status {child.returncode}, said {said!r}")
    for name in ("full", "proxy", "page"):
        _judge(figures, f"the cache after: {name}", holds(folder / name) == {}, str(list(holds(folder / name))))


def at_once(figures: Figures, folder: Path, seed: int, counts: tuple[int, ...] = (2, 4)) -> None:
    """Processes that fetch at once, one of them killed: one good file, nobody fails, nothing stays behind."""
    body, file = body_of(seed)
    with mirrors.serving(body) as server:
        for count in counts:
            for killed in (0, 1):
                place = folder / f"{count}-{killed}"
                children = [process(file, [server.mirror("trickle")], place) for _ in range(killed)]
                _until(lambda place=place, killed=killed: len(_names(place)) >= killed)
                children += [process(file, [server.mirror("slow")], place) for _ in range(count)]
                if killed:  # when all the others have begun, so that none of them sweeps
                    others = children[1:]
                    _until(
                        lambda place=place, others=others: (
                            len(_names(place)) > len(others) or all(child.poll() is not None for child in others)
                        )
                    )
                    children[0].send_signal(signal.SIGKILL)
                said = [child.communicate(timeout=120)[1] for child in children]
                failed = [
                    text for child, text in zip(children[killed:], said[killed:], strict=True) if child.returncode
                ]
                swept = not killed or len(_names(place)) == 2  # there is something to sweep
                sweep_folder(place)  # what every start does
                held = holds(place)
                what = f"{count} at once" + ", another killed" * killed
                _judge(
                    figures, what, not failed and swept and held == {NAME: body}, f"failed {failed}, cache {list(held)}"
                )


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _until(true: object, seconds: float = 60.0) -> None:
    stop = time.monotonic() + seconds
    while not true() and time.monotonic() < stop:  # type: ignore[operator]
        time.sleep(0.01)


def _judge(figures: Figures, what: str, fine: bool, otherwise: str) -> None:
    if fine:
        figures.survive()
    else:
        figures.lose(f"{what}: {otherwise}")
