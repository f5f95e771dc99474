"""Checkpoints: named arrays and plain values in a sealed file, written atomically and checked when read.

``checkpoint.h5`` is the newest, ``checkpoint.previous.h5`` the one before; ``sealed`` describes the file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import files, sealed
from parmesan_cagem.errors import UserError

NEWEST, PREVIOUS = "checkpoint.h5", "checkpoint.previous.h5"


class CheckpointError(UserError):
    """A checkpoint cannot be written or read; one line, with the fix."""


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`load` found: ``path`` says in which file, ``warnings`` why not in the newest."""

    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]
    path: Path
    warnings: tuple[str, ...]


def exists(folder: Path) -> bool:
    """Whether ``folder`` holds a checkpoint file, sound or not."""
    return any((Path(folder) / name).is_file() for name in (NEWEST, PREVIOUS))


def save(folder: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Path:
    """Write a checkpoint; the one that was there becomes the previous one.

    At every instant one of the two names holds a sound checkpoint; a failed save leaves both as they were.

    Parameters
    ----------
    folder : Path
        Made when absent.
    arrays : mapping of str to ndarray
        Booleans, integers, floats up to 64 bits, complex numbers; any shape. Slashes in names make groups.
    attributes : mapping
        What JSON can hold, NaN included; floats return exactly. (As in JSON, tuples return as lists.)

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        The file cannot be written: names file and cause.
    ValueError, TypeError
        A name, dtype or attribute that the format does not hold: the caller's mistake.
    """
    path = Path(folder) / NEWEST
    try:
        body = sealed.encode(arrays, attributes)
        path.parent.mkdir(parents=True, exist_ok=True)
        _store(path, body)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot save the checkpoint: {files.cause(error)}; the last saved state is intact; "
            f"free some space or make the folder writable, then go on with --resume"
        ) from error
    return path


def load(folder: Path) -> Checkpoint:
    """Read the newest checkpoint of ``folder``, or the previous one when the newest is damaged.

    Raises
    ------
    CheckpointError
        Neither can be used: names both, the reasons and the fix. Or the system does not let the newest be read now: it
        may be whole, and who went on from the one before would write over it, or evaluate older weights.
    """
    folder = Path(folder)
    if not exists(folder):
        raise CheckpointError(
            f"{folder}: no checkpoint ({NEWEST} or {PREVIOUS}); name the run's folder, or omit --resume"
        )
    reasons = []
    for name in (NEWEST, PREVIOUS):
        path = folder / name
        try:
            arrays, attributes = sealed.decode(sealed.read(path))
        except sealed.Damaged as reason:
            if name == NEWEST and isinstance(reason, sealed.Unreadable):
                raise CheckpointError(
                    f"{path} {reason}; make it readable, or move it away to use {PREVIOUS}, the save before"
                ) from None
            reasons.append(f"{name} {reason}")
        else:
            warnings = tuple(f"{folder}: {reason}; using {name}, the save before" for reason in reasons)
            return Checkpoint(arrays, attributes, path, warnings)
    raise CheckpointError(
        f"{folder}: no usable checkpoint: {'; '.join(reasons)}; restore one of them from a copy, or train "
        f"again under another --name"
    )


# The plain values of a run that training saves, and their types.
FACTS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("epoch", "step", "log_size", "peak_memory_bytes"), (int,)),
    **dict.fromkeys(("seconds", "epoch_seconds"), (int, float)),
    **dict.fromkeys(("started", "training_hash", "data_sha256"), (str,)),
    "config": (dict,),
}


def describes_run(attributes: Mapping[str, Any], whole: bool = True) -> bool:
    """Whether plain values are those of a run, all (or those that are there) of their types: anyone can seal a file."""
    found = {name: attributes[name] for name in FACTS if name in attributes}
    notes = attributes.get("notes", [])
    return (
        (len(found) == len(FACTS) or not whole)
        and all(type(value) in FACTS[name] for name, value in found.items())
        and all(value >= 0 for value in found.values() if isinstance(value, int | float))
        and isinstance(notes, list)
        and all(type(note) is str for note in notes)
    )


def _store(path: Path, body: bytes) -> None:
    """Write and rotate. The old file gets a second name first, so that the new one replaces it in one go."""
    previous = path.with_name(PREVIOUS)
    files.sweep(path)
    files.sweep(previous)
    with files.temporary(path) as (descriptor, new):
        files.write_and_sync(descriptor, sealed.seal(body), body)
        if not _is_sound(path):  # absent, or not worth more than the previous one
            files.put_in_place({new: path})
            return
        spare = files.temporary_name(previous)
        try:
            files.give_second_name(path, spare)
            os.replace(new, path)
            try:
                files.sync_folder(path.parent)  # the new one is safe on disk before the oldest goes
                os.replace(spare, previous)
            except OSError:
                os.replace(spare, path)
                raise
        finally:
            with contextlib.suppress(OSError):
                os.unlink(spare)


def _is_sound(path: Path) -> bool:
    """Whether a file is worth keeping as the previous one; not one that cannot be read: a run goes on all the same."""
    try:
        sealed.read(path)
    except sealed.Damaged:
        return False
    return True
