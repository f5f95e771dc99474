"""Kill -9 anywhere: in training, while a checkpoint, a log line, a record, a table or a data cache is written.

Real processes, as a user starts them, get a real SIGKILL (their whole group) in every phase of their life. A kill is
*survived* when, right after it, all that stands in the folder loads, every file is whole, an old one or a new one,
every number in it is that of an uninterrupted run, and no more is lost than the configured interval; and when the next
start leaves no stray file and the finished run equals the uninterrupted one bit for bit: weights, Adam, random streams,
log, F_k, every number of the record.

    python -m torture.kill --times 200 --jobs 2 --json FILE
"""

from __future__ import annotations

import collections
import functools
import os
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torture import figures, kill_files, kill_run
from torture.kill_checks import Broken
from torture.kill_run import ROOT, Hit

Life = Callable[[random.Random], Iterator[Hit]]
# Shares of the kills; what is left goes to training and evaluation.
SHARES = {"tables": 0.14, "omniglot": 0.08, "mnist": 0.08, "slow": 0.02}


def lives(times: int, scratch: Path, data: Path) -> Iterator[Life]:
    """The victims one after the other, the quick ones last: a job that ends early then has something to do."""
    runs = [
        kill_run.Run(kill_run.smoke("c", 24, 1, "--model", "vae", "--layers", "1"), scratch / "c"),
        kill_run.Run(kill_run.smoke("xla", 60, 3, "--labels", "20"), scratch / "xla"),
    ]
    slow = kill_run.Run(kill_run.slow("xla", max(1, round(times * SHARES["slow"]))), scratch / "slow")
    yield runs[0].life
    yield runs[1].life
    yield slow.life
    quick = [
        kill_files.tables(scratch / "tables", ROOT / "results" / "runs"),
        kill_files.omniglot_cache(scratch / "omniglot"),
        kill_files.mnist_download(scratch / "mnist", data / "mnist"),
    ]
    for victim, share in zip(quick, ("tables", "omniglot", "mnist"), strict=True):
        yield functools.partial(_several, victim, round(times * SHARES[share]))
    while True:
        yield from (run.life for run in runs)


def _several(victim: kill_files.Victim, kills: int, rng: random.Random) -> Iterator[Hit]:
    """Lives in one folder, one after the other, until there were so many kills."""
    left = max(1, kills)
    while left > 0:
        for hit in victim.life(rng):
            left -= 1
            yield hit


class Campaign:
    """Kills until there were enough, several victims at a time.

    Parameters
    ----------
    found : Figures
    times, seed : int
    """

    def __init__(self, found: figures.Figures, times: int, seed: int) -> None:
        self._found, self._times, self._random = found, times, random.Random(seed)
        self._lock = threading.Lock()
        self.phases: collections.Counter[str] = collections.Counter()
        self.aims: collections.Counter[str] = collections.Counter()
        self.epochs_lost = 0
        self.seconds_lost: list[float] = []

    def work(self, queue: Iterator[Life]) -> None:
        """Live one life after the other."""
        while True:
            try:
                with self._lock:
                    if self._found.injected >= self._times or self._found.losses:
                        return
                    life, seed = next(queue), self._random.getrandbits(64)
                for hit in life(random.Random(seed)):
                    self._count(hit)
            except Broken as broken:
                with self._lock:
                    self._found.lose(str(broken))
            except BaseException as error:  # a thread's would be lost
                with self._lock:
                    self._found.lose(f"the check itself failed: {type(error).__name__}: {error}")
                raise

    def _count(self, hit: Hit) -> None:
        with self._lock:
            self._found.survive()
            self.phases[hit.phase] += 1
            self.aims[hit.aimed_at] += 1
            self.epochs_lost = max(self.epochs_lost, hit.epochs_lost)
            if hit.seconds_lost:
                self.seconds_lost.append(round(hit.seconds_lost, 1))
            self._found.say(f"{self._found.injected} of {self._times}: {hit.phase}")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if nothing was lost."""
    parser = figures.arguments(__doc__)
    parser.add_argument("--times", type=int, default=200, help="kills, at least (default 200)")
    parser.add_argument("--jobs", type=int, default=2, help="victims at a time (default 2)")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices (default 1)")
    args = parser.parse_args(argv)
    data = os.environ.get("CAGEM_DATA")
    if not data:
        parser.error("$CAGEM_DATA: not set; name the folder with MNIST's files and OMNIGLOT's zips")
    found, scratch = figures.Figures("kill"), Path(tempfile.mkdtemp(prefix="torture-kill-"))
    campaign = Campaign(found, args.times, args.seed)
    queue = lives(args.times, scratch, Path(data))
    threads = [threading.Thread(target=campaign.work, args=(queue,), daemon=True) for _ in range(args.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.details = {
        "phases_hit": dict(sorted(campaign.phases.items())),
        "aimed_at": dict(sorted(campaign.aims.items())),
        "most_epochs_lost": campaign.epochs_lost,
        "seconds_of_evaluation_lost": sorted(campaign.seconds_lost),
        "seed": args.seed,
    }
    for what, times in sorted(campaign.phases.items()):
        found.say(f"{times:4d} {what}")
    return found.finish(args.json, scratch)


if __name__ == "__main__":
    sys.exit(main())
