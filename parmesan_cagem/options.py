"""A field of a settings class with its meaning, provenance and bounds, and the check of values against them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from parmesan_cagem.errors import UserError


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
    leaves their hash alone.
    """
    facts = {"help": help, "source": source, "choices": choices, "role": role, "models": models, "later": later}
    return dataclasses.field(
        default=default, metadata={**facts, "minimum": minimum, "maximum": maximum, "above": above, "below": below}
    )


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
        if type(value) is int and abs(value) >= 1 << 63:  # no float, and no text, of thousands of digits
            raise UserError(f"{flag}: must be a number of at most 64 bits")
        if facts["choices"] and value not in facts["choices"]:
            raise UserError(f"{flag} {value}: unknown; choose one of {', '.join(facts['choices'])}")
        expected = type(field.default)
        if expected is float and type(value) is int:
            object.__setattr__(settings, field.name, float(value))
        elif type(value) is not expected:
            raise UserError(f"{flag} {value!r}: must be of type {expected.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{flag} {value}: must be a finite number")
        for bound, wrong, words in (
            ("minimum", lambda v, b: v < b, "at least"),
            ("maximum", lambda v, b: v > b, "at most"),
            ("above", lambda v, b: v <= b, "above"),
            ("below", lambda v, b: v >= b, "below"),
        ):
            limit = facts[bound]
            if limit is not None and wrong(value, limit):
                raise UserError(f"{flag} {value}: must be {words} {limit}")
