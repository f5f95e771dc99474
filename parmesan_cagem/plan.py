"""What a list of runs costs on some devices: device-hours, and the time until all is done."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parmesan_cagem.speeds import Seconds


@dataclass(frozen=True)
class Chain:
    """A run as work to be placed: a training, which no two devices can share, then the parts of its evaluation.

    Attributes
    ----------
    train : float
        Seconds; 0 where it is done.
    part : float
        Seconds of one part.
    parts : int
        How many; they are independent of each other and all wait for the training.
    """

    train: float
    part: float
    parts: int

    @property
    def total(self) -> float:
        """Seconds on one device."""
        return self.train + self.part * self.parts


@dataclass(frozen=True)
class Total:
    """Sums over runs.

    Attributes
    ----------
    busy : float
        Seconds of work, of all devices together.
    until : float
        Seconds from the start to the end of the last job.
    unknown : int
        Runs without a known time, of which nothing, or the known half, is in the others: those are then "at least".
    """

    busy: float
    until: float
    unknown: int


def chain(seconds: Seconds, shards: int) -> Chain:
    """The work of a run, unknown times left out.

    Every part of an evaluation has a start of its own. So has the merge, which is shared out among the parts: it needs
    no more than that.

    Examples
    --------
    >>> chain(Seconds(train=100.0, evaluate=50.0, start=10.0), shards=4)
    Chain(train=100.0, part=22.5, parts=4)
    """
    if not seconds.evaluate:
        return Chain(seconds.train or 0.0, 0.0, 0)
    part = seconds.start + (max(0.0, seconds.evaluate - seconds.start) + seconds.start) / shards
    return Chain(seconds.train or 0.0, part, shards)


def total(runs: Iterable[Seconds], shards: int, devices: int) -> Total:
    """Sums over runs on so many equal devices."""
    given = list(runs)
    chains = [chain(one, shards) for one in given]
    unknown = sum(one.train is None or one.evaluate is None for one in given)
    return Total(sum(one.total for one in chains), makespan(chains, devices), unknown)


def makespan(chains: Sequence[Chain], devices: int) -> float:
    """Seconds until everything is done, by list scheduling: a free device takes the job with most work behind it.

    Most work: a training counts with one part of its evaluation, which cannot begin before. No device waits while there
    is a job to do, so this is at most twice the best schedule.

    Examples
    --------
    >>> makespan([Chain(3.0, 1.0, 2), Chain(2.0, 1.0, 2)], devices=2)  # 3 + 1 and 2 + 1 + 1, then one part is left
    5.0
    """
    ready: list[tuple[float, int, int]] = []  # (-length of what follows, run, 0: training or 1: a part)
    for i, one in enumerate(chains):
        if one.train:
            heapq.heappush(ready, (-(one.train + one.part), i, 0))
        else:
            for _ in range(one.parts):
                heapq.heappush(ready, (-one.part, i, 1))
    running: list[tuple[float, int, int]] = []  # (end, run, kind)
    clock, free = 0.0, devices
    while ready or running:
        while ready and free:
            _, i, kind = heapq.heappop(ready)
            heapq.heappush(running, (clock + (chains[i].part if kind else chains[i].train), i, kind))
            free -= 1
        clock, i, kind = heapq.heappop(running)
        free += 1
        if kind == 0:
            for _ in range(chains[i].parts):
                heapq.heappush(ready, (-chains[i].part, i, 1))
    return clock
