"""The line that a run ends with: the row of the paper's table that it fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parmesan_cagem import records
from parmesan_cagem.arguments import title
from parmesan_cagem.errors import UserError
from parmesan_cagem.presets import LAYERED, WITH_Y
from parmesan_cagem.report import details, paper
from parmesan_cagem.report.cells import values
from parmesan_cagem.report.runs import DEFAULTS


def table_row(record: Mapping[str, Any]) -> str:
    """The row of Table 1 or 3, or of the text, that the run is about, as Markdown, the published number beside ours.

    The number stands there for orientation even when the run is too small, or too different, to fill the cell
    (:mod:`parmesan_cagem.report.cells` has the rule).
    """
    e, bounds, k = record["config"], record["bounds"], record["eval"]["k"]
    kind = records.images(record)
    where = "" if kind == "test images" else f", {kind}"
    ours = f"{bounds[f'F_{k}']['mean']:.2f} (F_{k}, preset {e['preset']}, {record['epochs']} epochs{where})"
    return f"| {label(e)} | ours {ours} | paper {_published(e)} |"


def label(config: Mapping[str, Any]) -> str:
    """A run's row, in the words of the paper's tables: L only of models with layers, K only without labels.

    Examples
    --------
    >>> label({"model": "cagem", "labels": 0, "clusters": 20}), label({"model": "lvae", "layers": 5, "train_iw": 10})
    ('CaGeM-0, L=2, IW=1, K=20', 'LVAE, L=5, IW=10')
    """
    e = {**DEFAULTS, **config}
    words = [title(e["model"], e["labels"])]
    words += [f"L={e['layers']}"] if e["model"] in ("cagem", *LAYERED) else []
    words += [f"IW={e['train_iw']}"]
    words += [f"K={e['clusters']}"] if e["model"] in WITH_Y and not e["labels"] else []
    return ", ".join(words)


def _published(config: Mapping[str, Any]) -> str:
    try:
        tables = paper.load()
    except UserError:  # an installed package: the run is none the worse
        return ""
    e = {**DEFAULTS, **config}
    for name in ("table1", "table3", "text"):
        for place in (place for row in tables[name].rows for place in row.values if place.quantity == "bound"):
            wanted = {key: value for key, value in (place.settings or {"model": None}).items() if key != "temperature"}
            if all(e.get(key) in values(value) for key, value in wanted.items()):
                return f"{details.published(place)} (F_{details.PAPER_K})"
    return ""
