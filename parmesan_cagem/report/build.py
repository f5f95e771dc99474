"""The report from the folders of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parmesan_cagem.report import decode, html_figures, html_tables, inputs, page, paper, run_pages
from parmesan_cagem.report import tables as paper_tables
from parmesan_cagem.report.inputs import Run
from parmesan_cagem.report.markup import Html, join


def build(runs: Path, figures: Path, data_dir: Path | None, published: Path | None = None) -> tuple[bytes, list[str]]:
    """The page, and what the caller should be told, a line each.

    The same inputs give the same bytes: nothing here depends on the time, the place or the machine's order of files.

    Parameters
    ----------
    runs, figures : Path
        ``results/runs`` and ``results/figures``.
    data_dir : Path or None
        Folder of the data set, for the explorer's scatter of test images.
    published : Path, optional
        The paper's numbers; by default ``results/paper.json``.

    Raises
    ------
    UserError
        ``runs`` or the paper's numbers cannot be read.
    """
    found, left_out = inputs.collect(runs, figures)
    explorer, said = decode.section(found, data_dir)
    content = page.fill(
        tables=tables(found, published),
        figures=html_figures.section(figures),
        explorer=explorer,
        runs=run_pages.section(found),
        left_out=left_out,
    )
    return content, [*(f"left out: {line}" for line in left_out), said]


def tables(runs: Sequence[Run], published: Path | None = None) -> Html:
    """Tables 1 to 3 of the paper, ours beside them; cells of another protocol than their column's are marked.

    Raises
    ------
    UserError
        The file of published numbers cannot be read.
    """
    made = paper_tables.build([run.of_tables for run in runs if run.of_tables], paper.load(published), mixed=True)
    return join([html_tables.render(table) for table in made])
