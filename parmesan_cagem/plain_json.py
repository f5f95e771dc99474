"""JSON of files that anybody may have written, or nobody meant: plain values of bounded depth, or a ValueError."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

DEPTH = 50  # our files have five levels; at some hundreds, Python's recursion ends in whoever walks the value


def parse(text: bytes | str) -> Any:
    """The value that the text holds.

    Python's reader accepts what JSON has not, or leaves open: NaN and Infinity, numbers that become infinite,
    whole ones that no float holds, a key twice (the last one wins; other readers take the first), thousands of
    levels.

    Raises
    ------
    ValueError
        The text is no JSON, or one of these.

    Examples
    --------
    >>> parse(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' is there twice
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"more than {DEPTH} levels") from None
    for key, leaf in leaves(value):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ValueError(f"{key}: {leaf} is not a finite number" if key else f"{leaf} is not a finite number")
        if isinstance(leaf, int) and abs(leaf) >= 1 << 1000:
            raise ValueError(f"{key or 'it'}: is a whole number of more than 300 digits")
    return value


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value that holds no other, empty lists and objects among them, and its key, as ``eval.seeds[0]``.

    Raises
    ------
    ValueError
        Values lie deeper than ``DEPTH``.
    """
    todo = [("", value, 0)]
    while todo:
        key, one, depth = todo.pop()
        if depth > DEPTH:
            raise ValueError(f"more than {DEPTH} levels")
        if isinstance(one, dict) and one:
            inner = [(f"{key}.{name}" if key else str(name), child, depth + 1) for name, child in one.items()]
        elif isinstance(one, list | tuple) and one:
            inner = [(f"{key}[{index}]", child, depth + 1) for index, child in enumerate(one)]
        else:
            yield key, one
            continue
        todo.extend(reversed(inner))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:50]!r} is there twice")
    return found
