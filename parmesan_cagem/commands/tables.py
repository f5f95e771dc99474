"""``cagem tables``."""

from __future__ import annotations

import argparse
from pathlib import Path

from parmesan_cagem import arguments, files, places, speeds
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import missing, paired, paper, render, runs, tables
from parmesan_cagem.report.cells import RANKED
from parmesan_cagem.report.paper import PublishedTable
from parmesan_cagem.report.runs import Run
from parmesan_cagem.signals import Signals

HELP = "write the paper's Tables 1 to 3 with ours beside them, from the run records"


class Incomplete(UserError):
    """Cells lack a record: no mistake, but what ``--check`` is there to say."""

    exit_status = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem tables``."""
    parser.add_argument(
        "--records",
        type=arguments.path,
        nargs="+",
        default=[places.results()],
        metavar="PATH",
        help="folders of run folders (or with a folder runs of them), and records ($CAGEM_RESULTS, else results)",
    )
    parser.add_argument(
        "--out",
        type=arguments.path,
        default=places.results(),
        metavar="DIR",
        help="folder (default $CAGEM_RESULTS, else results)",
    )
    parser.add_argument(
        "--paper", type=arguments.path, metavar="FILE", help="published numbers (default results/paper.json)"
    )
    parser.add_argument(
        "--mixed", action="store_true", help="mark cells whose protocol deviates in place of refusing the column"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; say which cells lack a record and the command that makes each (exit status 1 if any does)",
    )
    parser.add_argument("--preset", choices=RANKED, default="paper", help="what --check asks of a cell (default paper)")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Write the tables, or check them.

    Raises
    ------
    UserError
        A record is refused, or a file cannot be written.
    Incomplete
        ``--check`` found a cell without a record.
    """
    published, found = paper.load(args.paper), runs.read(args.records)
    if args.check:
        folders = [path for path in args.records if path.is_dir() and path != places.results()]
        _check(found, published, args.preset, runs.run_folder(folders[0]) if folders else places.runs())
    else:
        _write(found, published, args.mixed, args.out)


def _write(found: tuple[Run, ...], published: dict[str, PublishedTable], mixed: bool, out: Path) -> None:
    made = tables.build(found, published, mixed)
    texts = {"TABLES.md": "\n".join(["# Tables\n", f"{render.GENERATED}\n", *map(render.markdown, made)])}
    for table in made:
        texts[f"{table.name}.csv"] = render.comma_separated(table)
        texts[f"{table.name}.tex"] = render.latex(table)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {files.cause(error)}; name another folder") from error
    files.write_together({out / name: text.encode() for name, text in texts.items()})
    for name in {f"{paired.NAME}.csv", f"{paired.NAME}.tex"} - texts.keys():  # of records that are gone
        (out / name).unlink(missing_ok=True)
    print(f"{out / 'TABLES.md'}, and {', '.join(table.name for table in made)} as .csv and .tex")
    filled = tables.shown(found, published)
    if idle := [one.name for one in found if one not in filled]:
        print(f"{len(idle)} of {len(found)} records fill no cell: {', '.join(idle)}")


def _check(found: tuple[Run, ...], published: dict[str, PublishedTable], preset: str, folder: Path) -> None:
    lacking, total = missing.find(found, published, preset, folder)
    devices = _devices()
    for one in lacking:
        print("\n".join(one.lines(devices)))
    if lacking:
        print("\n".join(missing.total(lacking, devices)))
        raise Incomplete(f"{len(lacking)} of {total} cells lack a record of preset {preset}, or a full evaluation")
    print(f"all {total} cells have their records")


def _devices() -> list[speeds.Device]:
    """None in an installed package, which has no measured times: commands then stand without their costs."""
    return speeds.read() if speeds.MEASURED.exists() else []
