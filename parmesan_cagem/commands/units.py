"""``cagem units RUN...``: what the latent layers of several runs carry, side by side, with the spread over seeds."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, engines, files, records
from parmesan_cagem.config import LATER, MAY_CHANGE
from parmesan_cagem.errors import UserError
from parmesan_cagem.options import MOST
from parmesan_cagem.presets import LAYERED
from parmesan_cagem.signals import Signals

HELP = "compare what the latent layers of runs carry: KL per layer, active units, KL[q(z|x) || p(z)] of the top one"

_FLOOR = "KL[q(top|x) || p] is never seen more than {:.1f} nats, and the entropy of y, below KL top given z1, y"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem units``."""
    parser.add_argument(
        "runs", type=arguments.path, nargs="+", metavar="RUN", help="folders of runs with a record and weights"
    )
    parser.add_argument("--images", type=int, default=200, metavar="N", help="test images of the divergences (200)")
    parser.add_argument(
        "--draws", type=int, default=500, metavar="S", help="draws of what precedes the top layer (500)"
    )
    parser.add_argument("--json", type=arguments.path, metavar="FILE", help="write every run's numbers there")
    parser.add_argument("--no-progress", action="store_true", help="print the table only")
    arguments.add_data_flags(parser)


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Measure each run and print one Markdown table, a row for runs that differ in nothing but seeds.

    Raises
    ------
    UserError
        A run has no record or no checkpoint, its data differ, or a flag does not fit.
    """
    if not (2 <= args.draws <= MOST and 1 <= args.images <= MOST):
        raise UserError(
            f"--draws {args.draws} --images {args.images}: give at least 2 draws and 1 image, and at most "
            f"{MOST} of each"
        )
    if args.json and not args.json.parent.is_dir():
        raise UserError(f"--json {args.json}: there is no folder {args.json.parent}; make it, or name another")
    found = [(folder, _record(folder)) for folder in args.runs]
    entries = []
    for folder, record in found:
        entries.append(_measure(folder, record, args))
        signals.check()
    print("\n".join(table(entries)))
    print(f"\n{entries[0]['images']} images, {args.draws} draws: {_FLOOR.format(math.log(args.draws))}")
    if args.json:
        try:
            files.write_json(args.json, {"command": "cagem units", "draws": args.draws, "runs": entries})
        except UserError as error:
            raise UserError(f"--json {args.json}: {error}") from error


def _record(folder: Path) -> dict[str, Any]:
    """The record of a run that can be measured: what is found here is not found after minutes of work."""
    from parmesan_cagem import trained  # NumPy, which no other command's start should wait for

    records.require_run(folder)
    if not (folder / "record.json").is_file():
        raise UserError(f"{folder}: no record; `cagem evaluate {folder}` writes it")
    record = records.read(folder / "record.json")
    if not trained.exists(folder):
        raise UserError(f"{folder}: no checkpoint and no weights.h5: train the run again under another --name")
    if record["eval"]["bn_mode"] != "ema":
        raise UserError(f"{folder}: its record has collected statistics; `cagem evaluate {folder} --bn-eval ema` first")
    return record


def _measure(folder: Path, record: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    # Theano takes seconds to import.
    from parmesan_cagem import trained, units
    from parmesan_cagem.config import Experiment
    from parmesan_cagem.data import load
    from parmesan_cagem.data.binarize import binarize
    from parmesan_cagem.data.labels import stratified_subset

    e, one = Experiment.from_dict(record["config"]), trained.load(folder)
    if (record["epochs"], record["train_seconds"]) != (one.facts["epoch"], one.facts["seconds"]) or one.facts["step"]:
        raise UserError(
            f"{folder}: the record is of epoch {record['epochs']}, the checkpoint of epoch {one.facts['epoch']} and "
            f"{one.facts['step']} steps, or of another training; run `cagem evaluate {folder}` first"
        )
    data = load(e.dataset, args.data_dir, args.unverified_data)
    trained.check_data_of(folder, data.sha256)
    indices = stratified_subset(data.test_labels, min(args.images, len(data.test_labels)), e.eval_seed)
    images = binarize(data.test_images[indices], e.pixel_scale, e.eval_seed, indices)
    engine = engines.get(e.engine)
    if not args.no_progress:
        print(folder.name, file=sys.stderr)
    found = units.top_divergence(one.model, e, engine, images, indices, args.draws, args.no_progress)
    k = record["eval"]["k"]
    return {
        "name": folder.name,
        "model": e.model,
        "images": len(indices),
        "group": _title(record["config"]),
        "recipe": _recipe(record),
        "seed": e.seed,
        "epochs": record["epochs"],
        "bound": record["bounds"][f"F_{k}"]["mean"],
        "k": k,
        "kl": {name: value for name, value in (record["terms"] or {}).items() if name.startswith("KL_")},
        "active_units": record["active_units"],
        "top": one.model.variables[-1].name,
        "conditional": float(found.conditional.mean()),
        "lower": float(found.lower.mean()),
        "upper": float(found.upper.mean()),
    }


def _recipe(record: dict[str, Any]) -> dict[str, Any]:
    """All that makes a run and its evaluation, but for seeds and machine."""
    free = {"seed", "label_seed", "engine", "devices", "preset", *MAY_CHANGE}
    settings = {name: value for name, value in {**LATER, **record["config"]}.items() if name not in free}
    protocol = {name: record["eval"][name] for name in ("k", "images", "draws_for_errors", "estimator")}
    return {**settings, "epochs": record["epochs"], **protocol}


def _title(e: dict[str, Any]) -> str:
    layers = f", L={e.get('layers', LATER['layers'])}" if e["model"] in LAYERED else ""
    weighted = f", IW={e['train_iw']}" if e["train_iw"] > 1 else ""
    return arguments.title(e["model"], e["labels"]) + layers + weighted


def _groups(entries: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Runs of one recipe, under their title; where recipes share a title, with the settings in which they differ."""
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_recipe.setdefault(files.to_json([entry["group"], entry["recipe"]], sort_keys=True), []).append(entry)
    groups = []
    for runs in by_recipe.values():
        title, recipe = runs[0]["group"], runs[0]["recipe"]
        namesakes = [other[0]["recipe"] for other in by_recipe.values() if other[0]["group"] == title]
        differ = [name for name in recipe if any(other.get(name) != recipe[name] for other in namesakes)]
        groups.append((", ".join([title, *(f"{name} {recipe[name]}" for name in differ)]), runs))
    return groups


def table(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The table as lines of Markdown: mean and sample standard deviation over the runs of a group."""
    heads = [
        "model",
        "runs",
        "F_k",
        "KL z1",
        "KL top given z1, y",
        "KL[q(top\\|x) \\|\\| p]",
        "KL y",
        "active z1",
        "active top",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for group, runs in _groups(entries):
        top = runs[0]["top"]

        def shown(of: Any, digits: int = 1, runs: list[dict[str, Any]] = runs) -> str:
            values = [of(run) for run in runs]
            if any(value is None for value in values):
                return ""
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            return f"{statistics.fmean(values):.{digits}f}{spread}"

        lower, upper = shown(lambda r: r["lower"]), shown(lambda r: r["upper"])
        cells = [
            group,
            str(len(runs)),
            f"{shown(lambda r: r['bound'], 2)} (k={runs[0]['k']})",
            shown(lambda r: r["kl"].get("KL_z1")),
            shown(lambda r: r["conditional"]),
            lower if lower == upper else f"{lower} to {upper}",
            shown(lambda r: r["kl"].get("KL_y"), 2),
            shown(lambda r: r["active_units"]["z1"], int(len(runs) > 1)),
            shown(lambda r, top=top: r["active_units"][top], int(len(runs) > 1)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
