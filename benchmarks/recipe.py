"""From the runs of a screen (workflow/screen.yaml) to what they say: a record, a table and a figure.

    cagem queue workflow/screen.yaml --preset short --out results/screen    # hours on 2 cores; goes on where it stopped
    python -m benchmarks.recipe screen           # docs/records/screen.json, docs/screen.png, a table in recipe.md
    python -m benchmarks.recipe screen --table   # the last two alone, from the record

A run that is recorded and no longer on the disk stays in the record as long as it stands in the grid.

An arm differs from its group's reference by what its name says. Means are over the seeds that both have; an effect is
"none" while it is no larger than the spread over seeds: the largest of both standard deviations and of the median one
among the group's arms, because two or three runs may lie close together by chance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import recipe_figure
from benchmarks.recipe_effects import REFERENCE, Runs, effect, groups, usual_spread
from parmesan_cagem import arguments, exit_status, files, grid, records
from parmesan_cagem.errors import UserError
from parmesan_cagem.runfolder import read_log

IN_USE = 0.01  # share of the images that a cluster in use has
DOCS, SCREENS = Path("docs"), ("screen", "confirm")
END = "<!-- end -->"


def begin(screen: str) -> str:
    """The line of docs/recipe.md before a screen's table."""
    return f"<!-- begin: python -m benchmarks.recipe {screen} --table -->"


def collect(screen: Path, preset: str, out: Path, recorded: Runs = ()) -> list[dict[str, Any]]:
    """The finished runs of a screen, each told in what the page needs of it.

    Parameters
    ----------
    screen : Path
        The grid.
    preset : str
        As given to ``cagem queue``.
    out : Path
        The folder of its runs.
    recorded : sequence
        What was collected before; for runs of the grid that are not in ``out``.

    Raises
    ------
    UserError
        The grid, a record or a log cannot be read, or an arm has no group.
    """
    found = []
    for run in grid.read(screen, preset, out).runs:
        for fills in run.fills:
            if ": " not in fills:
                raise UserError(f'{screen}: for: {fills}: say "group: arm"')
        here = (run.entry.folder / "record.json", *sorted(run.entry.folder.glob("record.former-*.json")))
        told = [_told(records.read(path), run, path) for path in here if path.exists()]
        new = [one["arms"] for one in told]
        found += told + [dict(old) for old in recorded if old["command"] == _command(run) and old["arms"] not in new]
    return found


def _command(run: grid.Run) -> str:
    return " ".join(run.entry.command)


def _told(record: Mapping[str, Any], run: grid.Run, path: Path) -> dict[str, Any]:
    k, collected = record["eval"]["k"], record["eval"]["bn_mode"] == "collect"
    pairs = [fills.split(": ", 1) for fills in run.fills]
    if collected:
        pairs = [[group, "bn_eval collect"] for group, arm in pairs if arm == REFERENCE]
    epochs = [line for line in read_log(path.parent) if "epoch" in line]
    return {
        "arms": pairs,
        "command": _command(run),
        "seed": record["seed"],
        "config_hash": record["config_hash"],
        "F_k": record["bounds"][f"F_{k}"]["mean"],
        "F_k standard error over images": record["bounds"][f"F_{k}"]["standard_error"],
        "F_1": record["bounds"]["F_1"]["mean"],
        "KL_z2": (record["terms"] or {}).get("KL_z2"),
        "error_q": record["error_q"],
        "error_p": record["error_p"],
        "nmi": (record["clustering"] or {}).get("nmi"),
        "cluster_usage": [round(share, 5) for share in record["cluster_usage"]],
        "F by epoch": [round(line["F"], 3) for line in epochs],
        "train seconds": round(record["train_seconds"]),
        "evaluation": {key: record["eval"][key] for key in ("k", "images", "bn_mode", "estimator", "seeds")}
        | {"split": record["config"].get("eval_split", "test")},
        "device": record["device"],
        "git": record["git"],
    }


def table(runs: Runs) -> str:
    """Markdown: a table for each group."""
    parts = []
    for name, arms in groups(runs):
        rows = [
            f"**{name}**\n",
            "| arm | seeds | F_k, nats | effect | spread | verdict | F_k - F_1 "
            "| KL z2 | q err, % | p err, % | NMI | clusters |",
            "|---|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|",
        ]
        usual = usual_spread(arms)
        for arm, by_seed in arms.items():
            found = None if arm == REFERENCE else effect(by_seed, arms[REFERENCE], usual)
            shown = f"{found[0]:+.2f} | {found[1]:.2f} | {_verdict(*found[:2])}" if found else " |  | "
            gaps = [run["F_k"] - run["F_1"] for run in by_seed.values()]
            cells = [_mean(by_seed, "F_k"), shown, f"{statistics.mean(gaps):.2f}" if gaps else ""]
            cells += [_mean(by_seed, name) for name in ("KL_z2", "error_q", "error_p", "nmi")]
            used = [sum(share > IN_USE for share in run["cluster_usage"]) for run in by_seed.values()]
            cells.append(f"{statistics.mean(used):.1f}" if any(used) else "")
            rows.append(f"| {arm} | {len(by_seed)} | {' | '.join(cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _verdict(difference: float, spread: float) -> str:
    return "none" if abs(difference) <= spread else "better" if difference > 0 else "worse"


def _mean(by_seed: Mapping[int, Mapping[str, Any]], what: str) -> str:
    values = [run[what] for run in by_seed.values() if run[what] is not None]
    return f"{statistics.mean(values):.2f}" if values else ""


def write(screen: str, runs: Runs) -> None:
    """Put a screen's table between its marks in docs/recipe.md, and draw its figure.

    Raises
    ------
    UserError
        The page lacks the marks.
    """
    page = DOCS / "recipe.md"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin(screen))
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise UserError(f"{page}: lacks {begin(screen)} or {END}; put the table between the two")
    files.write_atomically(page, f"{before}{mark}\n{table(runs)}\n{end}{after}".encode())
    recipe_figure.draw(list(groups(runs)), DOCS / screen)


def main() -> int:
    """Collect the runs, and write what they say."""
    parser = arguments.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen", choices=SCREENS, help="the grid workflow/SCREEN.yaml")
    parser.add_argument("--preset", default="short", help="as given to cagem queue (default short)")
    parser.add_argument("--out", type=Path, help="folder of its runs (default results/SCREEN)")
    parser.add_argument("--table", action="store_true", help="read the record, not the runs")

    def job(_: Any) -> None:
        args = parser.parse_args()
        record = DOCS / "records" / f"{args.screen}.json"
        runs = json.loads(record.read_text(encoding="utf-8"))["runs"] if record.exists() else []
        if not args.table:
            path, out = Path("workflow") / f"{args.screen}.yaml", args.out or Path("results") / args.screen
            runs = collect(path, args.preset, out, runs)
            files.write_json(record, {"runs": runs})
        write(args.screen, runs)

    return exit_status.of("recipe", job)


if __name__ == "__main__":
    sys.exit(main())
