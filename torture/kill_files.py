"""Caches of data and tables, killed while they are written: afterwards the old file or the new one, and no strays."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem.data import mnist, omniglot
from torture.kill_aim import CREATE, MOVED_TO, Aim, strays
from torture.kill_checks import Broken, require
from torture.kill_run import Hit, ended, spawn

CAGEM = ("-m", "parmesan_cagem")


class Victim:
    """A command that fills a folder, and what must hold of that folder at any moment.

    Parameters
    ----------
    name : str
    scratch : Path
        The folder is made in it.
    folder : Path
        Where the files appear, below ``scratch``.
    words : sequence of str
        The command after ``python``.
    aims : callable
        Random numbers -> an aim.
    check : callable
        Raises `Broken` if a file in the folder is neither an old one nor a new one, whole.
    check_finished : callable
        The same for the end of a process that nobody killed; given its output.
    clear : callable
        Makes the folder as it was before the command, between two of its lives.
    environment : str
        By name.
    """

    def __init__(
        self,
        name: str,
        scratch: Path,
        folder: Path,
        words: Sequence[str],
        aims: Callable[[random.Random], Aim],
        check: Callable[[], None],
        check_finished: Callable[[str], None],
        clear: Callable[[], None],
        **environment: str,
    ) -> None:
        self.name, self.folder, self._words, self._aims = name, folder, words, aims
        self._check, self._check_finished, self._clear = check, check_finished, clear
        self._log, self._environment = scratch / "log.txt", environment
        folder.mkdir(parents=True, exist_ok=True)

    def _begin(self) -> int:
        return spawn(self._words, self._log, **self._environment)

    def life(self, rng: random.Random) -> Iterator[Hit]:
        """One to three kills one after the other, then a process that ends: it repairs what they left.

        Raises
        ------
        Broken
        """
        self._clear()
        before = self._inodes()
        for _ in range(rng.randint(1, 3)):
            aim = self._aims(rng)
            try:
                strike = aim.struck(self._begin, self.folder)
                require(strike.status in (0, -9), f"exit status {strike.status}; {self._log} says more")
                self._check()
            except (Broken, TimeoutError) as broken:
                raise Broken(f"{self.name}: aimed at {aim.what}: {broken}") from broken
            if strike.killed:
                now = self._inodes()
                yield Hit(f"{self.name}: {self._phase(before, now)}", aim.what)
                before = now
        self._log.unlink(missing_ok=True)
        try:
            ended(self._begin(), self._words, self._log)
            self._check()
            self._check_finished(self._log.read_text())
            require(not strays(self.folder), f"stray files stay after the next start: {sorted(strays(self.folder))}")
        except Broken as broken:
            raise Broken(f"{self.name}: after kills: {broken}") from broken

    def _inodes(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self.folder)}

    def _phase(self, before: dict[str, int], now: dict[str, int]) -> str:
        """By what it has written: a file that was replaced has another inode."""
        written = {name for name in now if now[name] != before.get(name)}
        if written & strays(self.folder):
            return "in the midst of a file"
        return "after a whole file" if written else "before the first file"


def omniglot_cache(scratch: Path) -> Victim:
    """``cagem data verify omniglot``, which rebuilds the images from the zips of ``$CAGEM_DATA`` and keeps them."""
    folder = scratch / "cagem" / "omniglot"

    def check() -> None:
        for path in folder.glob("rebuilt-*"):
            require(len(path.read_bytes()) > 1e8 and _rebuilt_is_whole(path), f"{path.name} is not whole")

    def aims(rng: random.Random) -> Aim:
        return rng.choice(
            [
                Aim("its start", delay=rng.uniform(0.05, 3)),
                Aim("the cache", CREATE, ".rebuilt-*", 1, rng.uniform(0, 0.3)),
                Aim("the cache", CREATE, ".rebuilt-*", 1, rng.uniform(0, 0.3)),
                Aim("the renamed cache", MOVED_TO, "rebuilt-*", 1, rng.uniform(0, 0.1)),
            ]
        )

    def finished(output: str) -> None:
        require(f"SHA-256 {omniglot.REBUILT_SHA256}" in output, f"it says: {output}")

    words = (*CAGEM, "data", "verify", "omniglot")
    clear = functools.partial(_empty, folder)
    return Victim("OMNIGLOT cache", scratch, folder, words, aims, check, finished, clear, XDG_CACHE_HOME=str(scratch))


def _rebuilt_is_whole(path: Path) -> bool:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return omniglot._digest([stored[name] for name in omniglot._NAMES]) == omniglot.REBUILT_SHA256
    except Exception:  # NumPy and zipfile have an exception for every kind of damage
        return False


class _Slowly(http.server.SimpleHTTPRequestHandler):
    """A mirror of the files that a download would bring, at about 10 MB/s: a kill then finds it at work."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while block := source.read(1 << 18):
            outputfile.write(block)
            time.sleep(0.025)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client was killed
            super().handle()


def mnist_download(scratch: Path, source: Path) -> Victim:
    """``cagem data fetch mnist`` from a mirror on this machine that holds the real files, in the folder ``source``."""
    folder = scratch / "cagem" / "mnist"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Slowly, directory=str(source)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_port}/"
    program = (
        "import sys; from parmesan_cagem.data import mnist; from parmesan_cagem import cli; "
        f"mnist.MIRRORS = ({mirror!r},); sys.exit(cli.main(['data', 'fetch', 'mnist']))"
    )

    def check() -> None:
        for name, known in mnist.FILES.items():
            path = folder / f"{name}.gz"
            whole = not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() == known.gz_sha256
            require(whole, f"{path.name} is not whole")

    def aims(rng: random.Random) -> Aim:
        write = [Aim("a download", CREATE, "*tmp*", rng.randint(1, 4), rng.uniform(0, 0.5)) for _ in range(3)]
        return rng.choice([Aim("its start", delay=rng.uniform(0.05, 1.5)), *write, Aim("a rename", MOVED_TO, "*.gz")])

    def finished(output: str) -> None:
        require("mnist: verified" in output and len(list(folder.glob("*.gz"))) == 4, f"it says: {output}")

    clear = functools.partial(_empty, folder)
    environment = {"XDG_CACHE_HOME": str(scratch), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return Victim("MNIST download", scratch, folder, ("-c", program), aims, check, finished, clear, **environment)


def tables(scratch: Path, runs: Path) -> Victim:
    """``cagem tables`` over those of another set of records: each file is an old one or a new one."""
    folder, kept = scratch / "tables", sorted(runs.glob("*/record.json"))
    scratch.mkdir(parents=True, exist_ok=True)
    sets = (kept, kept[: len(kept) // 2])  # of all records, and the former ones of half of them

    def words(number: int, out: Path) -> list[str]:
        return [*CAGEM, "tables", "--out", str(out), "--mixed", "--records", *map(str, sets[number])]

    made: list[dict[str, bytes]] = []
    for number in (0, 1):
        out = scratch / f"reference-{number}"
        ended(spawn(words(number, out), scratch / "log.txt"), words(number, out), scratch / "log.txt")
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    new, old = made
    differ = [name for name in new if new[name] != old.get(name)]

    def check() -> None:
        for path in folder.iterdir():
            if path.name not in strays(folder):
                require(
                    path.read_bytes() in (new.get(path.name), old.get(path.name)), f"{path.name} is neither old nor new"
                )

    def finished(_: str) -> None:
        present = {path.name: path.read_bytes() for path in folder.iterdir()}
        require(
            present == new, f"not the bytes of an uninterrupted call: {[n for n in new if present.get(n) != new[n]]}"
        )

    def aims(rng: random.Random) -> Aim:
        name = rng.choice(differ)
        return rng.choice(
            [
                Aim("its start", delay=rng.uniform(0.05, 0.5)),
                *(Aim(name, CREATE, f".{name}.*", 1, rng.uniform(0, 0.002)) for _ in range(3)),
                Aim(f"the renamed {name}", MOVED_TO, name, 1, rng.uniform(0, 0.002)),
            ]
        )

    def clear() -> None:
        _empty(folder)
        for name, content in old.items():
            (folder / name).write_bytes(content)

    return Victim("tables", scratch, folder, words(0, folder), aims, check, finished, clear)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
