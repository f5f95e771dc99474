"""Figure 4: the bound against the number of labels."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from parmesan_cagem.report import style
from parmesan_cagem.report.paper import PublishedTable

LABELS = (0, 20, 50, 100)
_LOOKS = ((style.ORANGE, "o", "-"), (style.BLUE, "s", "--"), (style.GREEN, "^", "-."), (style.GREY, "v", ":"))


def published(table: PublishedTable) -> dict[int, float]:
    """The paper's F_5000 by the number of labels, in nats: the K = 10 rows of its Table 1."""
    found = {}
    for place in (place for row in table.rows for place in row.values):
        cell = place.settings or {}
        if (cell.get("model"), cell.get("clusters")) == ("cagem", 10) and "labels" in cell and place.value is not None:
            found[cell["labels"]] = place.value
    return found


def averaged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``bounds`` of a record, averaged over runs; the error of several is their sample standard deviation, nats."""
    if len(records) == 1:
        return {"bounds": records[0]["bounds"]}
    means = {name: [record["bounds"][name]["mean"] for record in records] for name in records[0]["bounds"]}
    return {
        "bounds": {
            name: {"mean": statistics.fmean(values), "standard_error": statistics.stdev(values)}
            for name, values in means.items()
        }
    }


def bounds(records: Mapping[int, Mapping[str, Any]], paper: Mapping[int, float]) -> Figure:
    """Figure 4: F_1, F_10 and F_k of our runs with 0, 20, 50 and 100 labels, the paper's F_5000 beside them.

    Parameters
    ----------
    records : mapping
        Labels -> a record, or several :func:`averaged`.
    paper : mapping
        Labels -> the published F_5000, nats.
    """
    ks = sorted({k for record in records.values() for k in _ks(record)}, reverse=True)
    with style.style():
        figure = style.new(style.SINGLE, 2.9)
        axes = figure.subplots()
        if paper:
            axes.plot(*zip(*sorted(paper.items()), strict=True), color=style.BLACK, marker="D", markerfacecolor="white",
                      linestyle=(0, (1, 1)), linewidth=1, label="paper, $k$ = 5000")  # fmt: skip
        for i, k in enumerate(ks):
            found = {labels: _ks(record)[k] for labels, record in sorted(records.items()) if k in _ks(record)}
            colour, marker, dashes = _LOOKS[i % len(_LOOKS)]
            axes.errorbar(
                list(found),
                [bound["mean"] for bound in found.values()],
                [bound["standard_error"] or 0 for bound in found.values()],
                color=colour, marker=marker, linestyle=dashes, capsize=2, elinewidth=0.8, label=f"ours, $k$ = {k}",
            )  # fmt: skip
        axes.set(xlabel="labels", ylabel="bound on $\\log p(x)$, nats", xticks=LABELS, xlim=(-6, 106))
        axes.grid(axis="y", linewidth=0.3, color="0.85")
        figure.legend(loc="outside upper center", ncols=2, handlelength=2.6, columnspacing=1.2)
    return figure


def _ks(record: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The bounds F_k of a record, by k; F_1_marginal is another estimate of k = 1 and stays out."""
    named = {name.removeprefix("F_"): bound for name, bound in record["bounds"].items()}
    return {int(k): bound for k, bound in named.items() if k.isdigit()}
