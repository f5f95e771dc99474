"""Records of runs and of prices, damaged inside of JSON, as they are read, tabulated and reported; and bounds.csv."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from parmesan_cagem import image_bounds, prices_record, records
from parmesan_cagem.report import inputs, missing, paper, render, run_pages, runs, tables
from torture.damage_mutate import bytes_of, changed, json_of
from torture.damage_shared import RUN, digest, into
from torture.damage_worker import Format


def formats() -> list[Format]:
    """By the schema, then past it to what reads records."""
    record = json.loads((RUN / "record.json").read_bytes())
    sound = json.dumps(record).encode()
    published = paper.load()

    def read(folder: Path) -> Any:
        return records.read(folder / "record.json")

    def table(folder: Path) -> Any:
        found = runs.read([folder.parent])
        made = tables.build(found, published, mixed=True)
        missing.find(found, published, "short", folder.parent)
        return [write(one) for one in made for write in (render.markdown, render.comma_separated, render.latex)]

    def page(folder: Path) -> Any:
        found, left_out = inputs.collect(folder.parent, folder)
        if left_out:
            raise records.UserError(left_out[0])
        tables.build([one.of_tables for one in found if one.of_tables], published, mixed=True)
        return str(run_pages.section(found))

    def gentle(rng: Random) -> bytes:
        """One value, often by one of its kind: past the schema, to what reads records."""
        return json.dumps(changed(rng, record)).encode()

    def bounds(folder: Path) -> Any:
        found = image_bounds.read(folder, record)
        return found and digest({"images": found.indices, **found.by_name})

    prices, images = _prices(record), (RUN / image_bounds.NAME).read_bytes()
    return [
        Format(image_bounds.NAME, bytes_of(images), into(image_bounds.NAME, bounds), images, share=1500, public=True),
        Format("record.json", json_of(record), into("record.json", read), sound, share=5000, public=True),
        Format("record.json, in tables", gentle, into("record.json", table), sound, share=1200, public=True),
        Format("record.json, in the report", gentle, into("record.json", page), sound, share=600, public=True),
        Format(
            "prices.json", json_of(prices), prices_record.read, json.dumps(prices).encode(), share=3000, public=True
        ),
    ]


def _prices(record: dict[str, Any]) -> dict[str, Any]:
    k = record["eval"]["k"]
    later = {"mean": 1.0, "standard_error": 0.1, "by_seed": [1.0]}
    names = ("model", "config_hash", "steps", "device", "engine", "versions", "git", "name")
    return {
        **{name: record[name] for name in names},
        "schema_version": prices_record.SCHEMA_VERSION,
        "weights_sha256": "0" * 64,
        "first": "z1",
        "later": ["y", "z2"],
        "definitions": prices_record.DEFINITIONS,
        "outer": 10,
        "inner": 100,
        "protocol": {name: record["eval"][name] for name in prices_record.PROTOCOL},
        "numbers": prices_record.numbers(record["bounds"], k, later, {}),
        "same_draws": {"F_1": later, "middle": later},
        "one_layer": None,
        "precision": "float32",
        "finished": record["eval"]["finished"],
        "seconds": 1.0,
        "peak_memory_bytes": 5,
    }
