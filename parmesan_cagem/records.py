"""The run record: what a run was, and every number that it found. Tables and figures read nothing else for them."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parmesan_cagem import files, plain_json
from parmesan_cagem.errors import UserError

if TYPE_CHECKING:
    import jsonschema

SCHEMA_VERSION = 2
VALUES = 50_000  # in one file: OMNIGLOT's two tables of confusion have 5,000


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


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    return validator(schema())


def images(record: Mapping[str, Any]) -> str:
    """What a record's numbers are of: ``test images`` or ``held-out images`` (``--eval-split``).

    Examples
    --------
    >>> images({"config": {"eval_split": "heldout"}}), images({"config": {}})
    ('held-out images', 'test images')
    """
    return "held-out images" if record["config"].get("eval_split") == "heldout" else "test images"


def validator(schema: Mapping[str, Any]) -> jsonschema.Draft202012Validator:
    """Of a schema; its ``uniqueItems`` takes a moment where jsonschema's compares each item with each."""
    import jsonschema  # a tenth of a second that --help should not wait for

    def unique(_: Any, wanted: bool, items: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
        if not isinstance(items, list):
            return
        different = {one if isinstance(one, int | float) else files.to_json(one, sort_keys=True) for one in items}
        if wanted and len(different) < len(items):
            yield jsonschema.ValidationError("has an item twice")

    return jsonschema.validators.extend(jsonschema.Draft202012Validator, {"uniqueItems": unique})(schema)


def fitting(value: Any, what: object, validator: jsonschema.Draft202012Validator, schema_name: str) -> dict[str, Any]:
    """``value`` as a reader will see it: dicts, lists, text and finite numbers that fit the schema.

    Raises
    ------
    UserError
        Names the first key that is wrong.
    """
    try:
        for count, (key, leaf) in enumerate(plain_json.leaves(value)):
            if count == VALUES:
                raise UserError(f"{what}: has more than {VALUES} values; {schema_name} says what is expected")
            # Python's json writes NaN, which JSON has not and which passes every bound of the schema.
            if isinstance(leaf, float | np.floating) and not math.isfinite(leaf):
                raise UserError(f"{what}: {key}: {leaf} is not a finite number, so it can be no result")
    except ValueError as error:
        raise UserError(f"{what}: {error}; {schema_name} says what is expected") from None
    plain: dict[str, Any] = json.loads(files.to_json(value))
    found = itertools.islice(validator.iter_errors(plain), 1000)  # of a file of errors, the first will do
    errors = sorted(found, key=lambda error: [str(part) for part in error.path])
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
