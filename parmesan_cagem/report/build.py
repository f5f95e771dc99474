"""The report from the folders of results."""

from __future__ import annotations

from pathlib import Path

from parmesan_cagem.report import decode, gallery, inputs, page, run_pages
from parmesan_cagem.report.inputs import Run
from parmesan_cagem.report.markup import Html, element


def build(runs: Path, figures: Path, data_dir: Path | None) -> tuple[bytes, list[str]]:
    """The page, and what the caller should be told, a line each.

    The same inputs give the same bytes: nothing here depends on the time, the place or the machine's order of files.

    Parameters
    ----------
    runs, figures : Path
        ``results/runs`` and ``results/figures``.
    data_dir : Path or None
        Folder of the data set, for the explorer's scatter of test images.

    Raises
    ------
    UserError
        ``runs`` cannot be read.
    """
    found, left_out = inputs.collect(runs, figures)
    explorer, said = decode.section(found, data_dir)
    content = page.fill(
        tables=tables(found),
        figures=gallery.section(figures),
        explorer=explorer,
        runs=run_pages.section(found),
        left_out=left_out,
    )
    return content, [*(f"not shown: {line}" for line in left_out), said]


def tables(runs: list[Run]) -> Html:
    """Tables 1 to 3 of the paper, ours beside them."""
    return element("p", "No tables yet: ", element("code", "cagem tables"), class_="missing")
