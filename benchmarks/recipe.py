"""From the runs of a screen (workflow/screen.yaml) to what they say: a record, a table and a figure.

    cagem queue workflow/screen.yaml --preset short --out results/screen    # hours on 2 cores; goes on where it stopped
    python -m benchmarks.recipe                  # docs/records/recipe.json, docs/recipe.png, the table in recipe.md
    python -m benchmarks.recipe --table          # the last two alone, from the record

An arm differs from its group's reference by what its name says. Means are over the seeds that both have; an effect is
"none" while it is no larger than the spread over seeds: the largest of both standard deviations and of the median one
among the group's arms, because two or three runs may lie close together by chance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, exit_status, files, grid, records
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import style
from parmesan_cagem.runfolder import read_log

RECORD, PAGE, FIGURE = Path("docs/records/recipe.json"), Path("docs/recipe.md"), Path("docs/recipe")
BEGIN, END = "<!-- begin: python -m benchmarks.recipe --table -->", "<!-- end -->"
REFERENCE = "reference"
Runs = Sequence[Mapping[str, Any]]


def collect(screen: Path, preset: str, out: Path) -> list[dict[str, Any]]:
    """The finished runs of a screen, each told in what the page needs of it.

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
        for path in (run.entry.folder / "record.json", *sorted(run.entry.folder.glob("record.former-*.json"))):
            if path.exists():
                found.append(_told(records.read(path), run, path))
    return found


def _told(record: Mapping[str, Any], run: grid.Run, path: Path) -> dict[str, Any]:
    k, collected = record["eval"]["k"], record["eval"]["bn_mode"] == "collect"
    pairs = [fills.split(": ", 1) for fills in run.fills]
    if collected:
        pairs = [[group, "bn_eval collect"] for group, arm in pairs if arm == REFERENCE]
    epochs = [line for line in read_log(path.parent) if "epoch" in line]
    return {
        "arms": pairs,
        "command": " ".join(run.entry.command),
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


def groups(runs: Runs) -> Iterator[tuple[str, dict[str, dict[int, Mapping[str, Any]]]]]:
    """Each group's arms in the order of the grid, the reference first: arm -> seed -> run."""
    names = dict.fromkeys(group for run in runs for group, _ in run["arms"])
    for name in names:
        arms: dict[str, dict[int, Mapping[str, Any]]] = {REFERENCE: {}}
        for run in runs:
            for group, arm in run["arms"]:
                if group == name:
                    arms.setdefault(arm, {})[run["seed"]] = run
        yield name, arms


def usual_spread(arms: Mapping[str, Mapping[int, Any]]) -> float:
    """Median over the arms of the standard deviation of F_k over seeds; of arms with two seeds or more."""
    values = [[float(run["F_k"]) for run in by_seed.values()] for by_seed in arms.values()]
    return statistics.median([statistics.stdev(v) for v in values if len(v) > 1] or [0.0])


def effect(arm: Mapping[int, Any], reference: Mapping[int, Any], usual: float = 0.0) -> tuple[float, float, int] | None:
    """Mean difference of F_k from the reference over the common seeds, the spread, the number of seeds.

    The spread is the largest of ``usual`` and both standard deviations. None with fewer than two seeds: one run says
    nothing.
    """
    seeds = sorted(set(arm) & set(reference))
    if len(seeds) < 2:
        return None
    ours, theirs = ([float(runs[seed]["F_k"]) for seed in seeds] for runs in (arm, reference))
    return (
        statistics.mean(ours) - statistics.mean(theirs),
        max(usual, *map(statistics.stdev, (ours, theirs))),
        len(seeds),
    )


def table(runs: Runs) -> str:
    """Markdown: a table for each group."""
    parts = []
    for name, arms in groups(runs):
        rows = [
            f"**{name}**\n",
            "| arm | seeds | F_k, nats | effect | spread | verdict | F_k - F_1 | KL z2 | q err, % | p err, % | NMI |",
            "|---|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|",
        ]
        usual = usual_spread(arms)
        for arm, by_seed in arms.items():
            found = None if arm == REFERENCE else effect(by_seed, arms[REFERENCE], usual)
            shown = f"{found[0]:+.2f} | {found[1]:.2f} | {_verdict(*found[:2])}" if found else " |  | "
            gaps = [run["F_k"] - run["F_1"] for run in by_seed.values()]
            cells = [_mean(by_seed, "F_k"), shown, f"{statistics.mean(gaps):.2f}" if gaps else ""]
            cells += [_mean(by_seed, name) for name in ("KL_z2", "error_q", "error_p", "nmi")]
            rows.append(f"| {arm} | {len(by_seed)} | {' | '.join(cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _verdict(difference: float, spread: float) -> str:
    return "none" if abs(difference) <= spread else "better" if difference > 0 else "worse"


def _mean(by_seed: Mapping[int, Mapping[str, Any]], what: str) -> str:
    values = [run[what] for run in by_seed.values() if run[what] is not None]
    return f"{statistics.mean(values):.2f}" if values else ""


def draw(runs: Runs) -> None:
    """For each group, F_k of every seed by arm, and the training bound of each arm minus the reference's, by epoch."""
    found = list(groups(runs))
    heights = [max(1.3, 0.28 * len(arms) + 0.6) for _, arms in found]
    with style.style():
        figure = style.new(style.DOUBLE, sum(heights))
        axes = figure.subplots(len(found), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for (name, arms), (left, right) in zip(found, axes, strict=True):
            order = list(arms)
            for place, arm in enumerate(order):
                colour = style.BLACK if arm == REFERENCE else style.CLASS_COLOURS[(place - 1) % 9]
                values = [run["F_k"] for run in arms[arm].values()]
                left.plot(values, [place] * len(values), "o", color=colour, alpha=0.8)
                if difference := _curve(arms[arm], arms[REFERENCE]):
                    right.plot(range(1, len(difference) + 1), difference, color=colour)
                    right.annotate(style.text(arm), (len(difference), difference[-1]), color=colour, size=5.5)
            left.set(yticks=range(len(order)), yticklabels=[style.text(arm) for arm in order], title=style.text(name))
            left.invert_yaxis()
            left.set_xlabel("F_k on held-out images, nats; a dot a seed")
            right.set(xlabel="epoch", title="training F minus the reference's, nats")
    style.save(figure, FIGURE)


def _curve(arm: Mapping[int, Any], reference: Mapping[int, Any]) -> list[float]:
    seeds = sorted(set(arm) & set(reference))
    curves = [(arm[seed]["F by epoch"], reference[seed]["F by epoch"]) for seed in seeds]
    differences = [[a - b for a, b in zip(*pair, strict=False)] for pair in curves]
    return [statistics.mean(values) for values in zip(*differences, strict=False)]


def write(runs: Runs) -> None:
    """Put the table between its marks in docs/recipe.md, and draw the figure."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{PAGE}: lacks {BEGIN} or {END}; put the table between the two")
    files.write_atomically(PAGE, f"{before}{BEGIN}\n{table(runs)}\n{END}{after}".encode())
    draw(runs)


def main() -> int:
    """Collect the runs, and write what they say."""
    parser = arguments.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screen", type=Path, default=Path("workflow/screen.yaml"), help="the grid")
    parser.add_argument("--preset", default="short", help="as given to cagem queue (default short)")
    parser.add_argument("--out", type=Path, default=Path("results/screen"), help="folder of its runs")
    parser.add_argument("--table", action="store_true", help="read the record, not the runs")

    def job(_: Any) -> None:
        args = parser.parse_args()
        if not args.table:
            files.write_json(RECORD, {"runs": collect(args.screen, args.preset, args.out)})
        write(json.loads(RECORD.read_text(encoding="utf-8"))["runs"])

    return exit_status.of("recipe", job)


if __name__ == "__main__":
    sys.exit(main())
