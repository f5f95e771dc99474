"""What is not finite: where it stands among named arrays, in words that JSON can hold. This file knows no Theano."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NumericalError(FloatingPointError):
    """NaN or Inf: no further number can be trusted; what was saved before is intact. Exit status 3."""


def faults(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Arrays that hold NaN or Inf, by name; those of integers cannot.

    Returns
    -------
    dict
        Name -> ``not_finite`` (how many numbers), ``of`` (how many there are), ``first`` (index of the first one) and
        ``value`` (which it is, as a word).

    Examples
    --------
    >>> faults({"good": np.ones(3), "bad": np.array([[1, 2], [np.inf, np.nan]])})
    {'bad': {'not_finite': 2, 'of': 4, 'first': [1, 0], 'value': 'inf'}}
    """
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "fc" or np.isfinite(array).all():
            continue
        bad = np.argwhere(~np.isfinite(array))
        first = tuple(int(i) for i in bad[0])
        found[name] = {
            "not_finite": len(bad),
            "of": array.size,
            "first": list(first),
            "value": f"{array[first]:g}",
        }
    return found


def words(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The first of the :func:`faults` and how many follow, for a message of one line.

    Examples
    --------
    >>> words(faults({"b": np.array([0, np.nan]), "c": np.array(np.inf)}))
    'nan in b at [1], 1 of its 2 numbers; and 1 more array'
    """
    name, one = next(iter(found.items()))
    more = len(found) - 1
    rest = f"; and {more} more array{'s' * (more > 1)}" if more else ""
    return f"{one['value']} in {name} at {one['first']}, {one['not_finite']} of its {one['of']} numbers{rest}"
