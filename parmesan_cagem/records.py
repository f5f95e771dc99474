"""The run record: what a run was, and every number that it found. Tables and figures read nothing else."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parmesan_cagem import files
from parmesan_cagem.errors import UserError

if TYPE_CHECKING:
    import jsonschema

SCHEMA_VERSION = 2


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema; its descriptions carry the units."""
    return json.loads(resources.files("parmesan_cagem").joinpath("record.schema.json").read_text())


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Validate ``record`` and write it atomically, with sorted keys.

    Raises
    ------
    UserError
        The record breaks the schema, or the file cannot be written.
    """
    files.write_json(Path(path), _checked(record, Path(path).name))


def require_run(folder: Path) -> None:
    """Refuse what is no run's folder.

    Raises
    ------
    UserError
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no run (no config.json); name a run's folder, as in results/runs/NAME")


def read(path: Path) -> dict[str, Any]:
    """Read and validate a record.

    Raises
    ------
    UserError
        One line: the file is missing, is not JSON, or breaks the schema at the key named.
    """
    return _checked(files.read_json(path, "`cagem evaluate RUN` writes the record anew"), path)


def validate(record: Mapping[str, Any]) -> None:
    """Check ``record`` against the schema.

    Raises
    ------
    UserError
        Names the first key that is wrong.
    """
    _checked(record, "run record")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(child, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _leaves(child, f"{key}[{index}]")
    else:
        yield key, value


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    import jsonschema  # a tenth of a second that --help should not wait for

    return jsonschema.Draft202012Validator(schema())


def fitting(value: Any, what: object, validator: jsonschema.Draft202012Validator, schema_name: str) -> dict[str, Any]:
    """``value`` as a reader will see it: dicts, lists, text and finite numbers that fit the schema.

    Raises
    ------
    UserError
        Names the first key that is wrong.
    """
    for key, leaf in _leaves(value, ""):
        # Python's json reads and writes NaN, which JSON has not and which passes every bound of the schema.
        if isinstance(leaf, float | np.floating) and not math.isfinite(leaf):
            raise UserError(f"{what}: {key}: {leaf} is not a finite number, so it can be no result")
    plain: dict[str, Any] = json.loads(files.to_json(value))
    errors = sorted(validator.iter_errors(plain), key=lambda error: [str(part) for part in error.path])
    if errors:
        key = errors[0].json_path.removeprefix("$").removeprefix(".") or "top level"
        message = " ".join(errors[0].message.split())
        if len(message) > 200:
            message = "..." + message[-200:]
        raise UserError(f"{what}: {key}: {message}; {schema_name} says what is expected")
    return plain


def _checked(record: Any, what: object) -> dict[str, Any]:
    plain = fitting(record, what, _validator(), "record.schema.json")
    usage, k = plain["cluster_usage"], plain["eval"]["k"]
    if usage and abs(sum(usage) - 1) > 1e-3:
        raise UserError(f"{what}: cluster_usage: sums to {sum(usage):.6g}; fractions of clusters sum to 1")
    if f"F_{k}" not in plain["bounds"]:
        raise UserError(f"{what}: bounds: F_{k} is missing, although eval.k says {k}")
    return plain
