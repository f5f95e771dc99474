"""The line that a run ends with: the row of the paper's table that it fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parmesan_cagem.errors import UserError
from parmesan_cagem.report import details, paper


def table_row(record: Mapping[str, Any]) -> str:
    """The row of Table 1 or 3 that the run is about, as Markdown, the published number beside ours.

    The number stands there for orientation even when the run is too small, or too different, to fill the cell
    (:mod:`parmesan_cagem.report.cells` has the rule).
    """
    e, bounds, k = record["config"], record["bounds"], record["eval"]["k"]
    clusters = f", K={e['clusters']}" if not e["labels"] else ""
    model = "CaGeM" if e["model"] == "cagem" else e["model"].upper()
    label = f"{model}-{e['labels']}, L=2, IW={e['train_iw']}{clusters}"
    ours = f"{bounds[f'F_{k}']['mean']:.2f} (F_{k}, preset {e['preset']}, {record['epochs']} epochs)"
    return f"| {label} | ours {ours} | paper {_published(e)} |"


def _published(e: Mapping[str, Any]) -> str:
    try:
        tables = paper.load()
    except UserError:  # an installed package: the run is none the worse
        return ""
    for name in ("table1", "table3"):
        for row in tables[name].rows:
            for place in row.values:
                wanted = place.settings or {"model": None}
                keys = [key for key in ("dataset", "model", "labels", "clusters") if key in wanted]
                if all(e.get(key) == wanted[key] for key in keys):
                    return f"{details.published(place)} (F_{details.PAPER_K})"
    return ""
