"""``cagem units RUN...``: what the latent layers of several runs carry, side by side, with the spread over seeds."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, engines, files
from parmesan_cagem.errors import UserError
from parmesan_cagem.presets import LAYERED
from parmesan_cagem.signals import Signals

HELP = "compare what the latent layers of runs carry: KL per layer, active units, KL[q(z|x) || p(z)] of the top one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem units``."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs with a record and weights")
    parser.add_argument("--images", type=int, default=500, metavar="N", help="test images of the divergences (500)")
    parser.add_argument(
        "--draws", type=int, default=100, metavar="S", help="draws of what precedes the top layer (100)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's numbers there")
    parser.add_argument("--no-progress", action="store_true", help="print the table only")
    arguments.add_data_flags(parser)


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Measure each run and print one Markdown table, a row for runs that differ in nothing but their seed.

    Raises
    ------
    UserError
        A run has no record or no checkpoint, its data differ, or a flag does not fit.
    """
    if args.draws < 2 or args.images < 1:
        raise UserError(f"--draws {args.draws} --images {args.images}: give at least 2 draws and 1 image")
    entries = []
    for folder in args.runs:
        entries.append(_measure(folder, args))
        signals.check()
    if args.json:
        files.write_json(
            args.json, {"command": "cagem units", "images": args.images, "draws": args.draws, "runs": entries}
        )
    print("\n".join(table(entries)))


def _measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    # Theano takes seconds to import.
    from parmesan_cagem import records, trained, units
    from parmesan_cagem.data import load
    from parmesan_cagem.data.binarize import binarize
    from parmesan_cagem.data.labels import stratified_subset

    record, one = records.read(folder / "record.json"), trained.load(folder)
    e = one.experiment
    if record["epochs"] != one.facts["epoch"]:
        raise UserError(
            f"{folder}: the record is of epoch {record['epochs']}, the checkpoint of epoch {one.facts['epoch']}; "
            f"run `cagem evaluate {folder}` first"
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
        "group": _group(record),
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


def _group(record: dict[str, Any]) -> str:
    """What the runs of one row share, as words: model, labels or layers, samples in training."""
    e = record["config"]
    layers = f", L={e['layers']}" if e["model"] in LAYERED else ""
    weighted = f", IW={e['train_iw']}" if e["train_iw"] > 1 else ""
    return arguments.title(e["model"], e["labels"]) + layers + weighted


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
    for group in dict.fromkeys(entry["group"] for entry in entries):
        runs = [entry for entry in entries if entry["group"] == group]
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
