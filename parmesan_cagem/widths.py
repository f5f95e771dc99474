"""Units of the hidden layers that settings ask for; apart from the networks, so that no Theano is needed to know."""

from __future__ import annotations

from parmesan_cagem.config import Experiment


def hidden_widths(e: Experiment, level: int) -> tuple[int, int]:
    """Units of both hidden layers of a network around latent layer ``level`` (1: x and z1).

    Examples
    --------
    >>> [hidden_widths(Experiment(), level) for level in (1, 2)]
    [(1024, 1024), (512, 512)]
    >>> ladder = Experiment(model="lvae", labels=0, layers=5, widths="ladder")
    >>> [hidden_widths(ladder, level)[0] for level in (1, 2, 3, 4, 5)]
    [512, 256, 128, 64, 32]
    """
    if e.widths == "tapered":
        return e.wide, e.narrow
    if e.widths == "nodes":
        return (e.wide, e.wide) if level == 1 else (e.narrow, e.narrow)
    units = max(1, e.wide // 2 ** (level if e.widths == "ladder" else level - 1))
    return units, units
