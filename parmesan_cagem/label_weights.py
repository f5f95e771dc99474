"""The weight of labelled images in the objective: its spellings, and the number that one stands for."""

from __future__ import annotations

import math

from parmesan_cagem.errors import UserError


def resolve(flag: str, text: str, unlabelled: int, labelled: int) -> float:
    """The number that a spelling stands for.

    Parameters
    ----------
    flag : str
        Names the setting in an error.
    text : str
        ``10``, ``paper:BETA`` = BETA (N_u + N_l) / N_u, or ``adgm:BETA`` = BETA N_u / N_l.
    unlabelled, labelled : int
        N_u and N_l.

    Examples
    --------
    >>> resolve("--label-weight", "adgm:0.1", unlabelled=60000, labelled=100)
    60.0

    Raises
    ------
    UserError
        It is no weight.
    """
    number = text.rpartition(":")[2]
    reading = text.removesuffix(number)
    factors = {"": 1.0, "paper:": (unlabelled + labelled) / unlabelled, "adgm:": unlabelled / labelled}
    try:
        value = float(number) * factors[reading]
        if not (math.isfinite(value) and value >= 0):
            raise ValueError
    except (ValueError, KeyError):
        raise UserError(f"{flag} {text}: give a finite number >= 0, paper:BETA or adgm:BETA") from None
    return value


def shortest(text: str) -> str:
    """The shortest spelling of a weight; what is no weight stays as it is, for the error message.

    Examples
    --------
    >>> shortest("1e1"), shortest("adgm:.10"), shortest("same")
    ('10', 'adgm:0.1', 'same')
    """
    reading, colon, number = text.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        return text
    if not math.isfinite(value) or bool(reading) != bool(colon):
        return text
    return f"{reading}{colon}{value!r}".removesuffix(".0")
