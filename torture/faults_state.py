"""What a folder holds, and when two hold the same: bytes, or what they say but for times and the state of git."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parmesan_cagem import checkpoint, sealed

State = dict[str, bytes]
# The log's size depends on how many digits its times have.
_OF_TIME = {"seconds", "epoch_seconds", "train_seconds", "started", "finished", "peak_memory_bytes", "git", "log_size"}


def state(folder: Path) -> State:
    """Every file but locks, by its name from ``folder``."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != "lock"}


def plain(name: str, content: bytes) -> Any:
    """What a file says, without times: equal for two runs that did the same."""
    if name.endswith(".h5"):
        try:
            arrays, facts = sealed.decode(_body(content))
        except sealed.Damaged as reason:
            return f"{name} {reason}"
        told = {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays.items() if not key.endswith("/seconds")}
        return told, _timeless(facts)
    if name.endswith((".json", ".jsonl")):
        try:
            return [
                _timeless(json.loads(line)) for line in ([content] if name.endswith(".json") else content.splitlines())
            ]
        except ValueError:
            return content
    return content


def _body(content: bytes) -> bytes:
    seal, body = content[:512], content[512:]
    if seal != sealed.seal(body):
        raise sealed.Damaged("is not as it was sealed")
    return body


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(inner) for key, inner in value.items() if key not in _OF_TIME}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def whole_previous(name: str, content: bytes) -> Any:
    """As :func:`plain`; of the checkpoint before the newest only whether it is whole.

    Which one is kept in a run that was interrupted depends on where that was.
    """
    said = plain(name, content)
    return isinstance(said, tuple) if Path(name).name == checkpoint.PREVIOUS else said


def same(given: State, expected: State, read: Callable[[str, bytes], Any] = plain) -> bool:
    """Whether two folders hold the same, but for times and the state of git."""
    return given.keys() == expected.keys() and all(
        content == expected[name] or read(name, content) == read(name, expected[name])
        for name, content in given.items()
    )
