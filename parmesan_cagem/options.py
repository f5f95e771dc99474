"""A field of a settings class with its meaning, provenance and bounds, and the check of values against them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from parmesan_cagem.errors import UserError

SMALLEST, LARGEST = 1.2e-38, 3.4e38  # normal numbers of float32, nearly
MOST = 10**9  # of anything that is counted: products of settings then meet no integer or float that they overflow


def option(
    default: Any,
    help: str,
    source: str = "ours",
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    role: str = "training",
    models: tuple[str, ...] = (),
    later: bool = False,
) -> Any:
    """Declare a field: ``source`` is its provenance; ``role`` says whether a resumed run may change it.

    Roles: ``training`` shapes the weights and may never change; ``length`` and ``evaluation`` may. ``models`` are those
    that have the setting: all when empty. A ``later`` field did not exist in the first records: at its default it
    leaves their hash alone. A whole number is at most :data:`MOST` where no ``maximum`` says less.
    """
    if maximum is None and type(default) is int:
        maximum = MOST
    facts = {"help": help, "source": source, "choices": choices, "role": role, "models": models, "later": later}
    return dataclasses.field(
        default=default, metadata={**facts, "minimum": minimum, "maximum": maximum, "above": above, "below": below}
    )


def told(value: Any) -> str:
    """``value`` for a message; a whole number too long to be written out (from YAML, in hexadecimal) by its length.

    Examples
    --------
    >>> told(12), told("a"), told(16**5000)
    ('12', "'a'", 'a number of 20001 bits')
    """
    return f"a number of {value.bit_length()} bits" if type(value) is int and abs(value) > 10**4000 else repr(value)


def check(settings: Any) -> None:
    """Check every field of a dataclass made of :func:`option`; a whole number may stand for a float.

    Raises
    ------
    UserError
        A value is of another type, no choice, or out of bounds: names its flag.
    """
    for field in dataclasses.fields(settings):
        value, facts = getattr(settings, field.name), field.metadata
        flag = "--" + field.name.replace("_", "-")
        if facts["choices"] and value not in facts["choices"]:
            given = value if isinstance(value, str) else told(value)
            raise UserError(f"{flag} {given}: unknown; choose one of {', '.join(facts['choices'])}")
        expected = type(field.default)
        if expected is float and type(value) is int:
            value = float(value) if abs(value) <= LARGEST else math.inf
            object.__setattr__(settings, field.name, value)
        elif type(value) is not expected:
            raise UserError(f"{flag} {told(value)}: must be of type {expected.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{flag} {value}: must be a finite number")
        if isinstance(value, float) and not (value == 0 or SMALLEST <= abs(value) <= LARGEST):
            raise UserError(f"{flag} {value}: must be 0, or from {SMALLEST} to {LARGEST}: training computes in float32")
        for bound, wrong, words in (
            ("minimum", lambda v, b: v < b, "at least"),
            ("maximum", lambda v, b: v > b, "at most"),
            ("above", lambda v, b: v <= b, "above"),
            ("below", lambda v, b: v >= b, "below"),
        ):
            limit = facts[bound]
            # 1 - 1e-9 is 1 to float32, and what must be below 1 divides by 1 less it.
            rounded = float(np.float32(value)) if isinstance(value, float) else value
            if limit is not None and (wrong(value, limit) or (bound == "below" and wrong(rounded, limit))):
                raise UserError(f"{flag} {told(value)}: must be {words} {limit}")
