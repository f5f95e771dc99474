"""Rows of ours in Tables 1 and 3 that the paper's tables have not: its baselines with CaGeM's architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parmesan_cagem.report.cells import choose
from parmesan_cagem.report.paper import Published, PublishedRow, PublishedTable
from parmesan_cagem.report.row import label
from parmesan_cagem.report.runs import Run
from parmesan_cagem.report.sheet import Cell

GROUP = "Ours, same architecture as our CaGeM"
FEWER = "fewer samples in training than the 50 of the published IWAE, whose row this number does not fill"


@dataclass(frozen=True, eq=False)
class Extra:
    """A row of ours.

    Attributes
    ----------
    settings : mapping
        What identifies its runs (:func:`parmesan_cagem.report.cells.fits`), but for the data set.
    text : str
        Label of the row of the paper's text that has a number for it.
    notes : tuple of str
    """

    settings: Mapping[str, Any]
    text: str = ""
    notes: tuple[str, ...] = ()


_LAYERED = {"labels": 0, "layers": 2, "temperature": True}


def _extras(labels: int) -> tuple[Extra, ...]:
    """Of a data set, with ``labels`` labels where the model has a class; all on CaGeM's schedule."""
    classes = {"labels": labels, "temperature": True}
    return (
        Extra({"model": "vae", **_LAYERED}),
        Extra({"model": "iwae", **_LAYERED, "train_iw": range(2, 50)}, notes=(FEWER,)),
        Extra({"model": "lvae", **_LAYERED}),
        Extra({"model": "m2", **classes}),
        Extra({"model": "adgm", **classes}, text=f"ADGM-{labels}"),
        Extra({"model": "sdgm", **classes}),
    )


# The paper's Table 1 has a row for AVAE with L=2.
EXTRAS = {
    "table1": ("mnist", _extras(100)),
    "table3": ("omniglot", (*_extras(500), Extra({"model": "avae", **_LAYERED}))),
}


def cells(published: Mapping[str, PublishedTable], name: str, runs: Sequence[Run]) -> Iterator[Cell]:
    """The rows of table ``name`` for which there is a record, as cells, by the rule of the paper's own.

    Where the paper's text has a number for the model, it stands beside ours.
    """
    dataset, extras = EXTRAS.get(name, ("", ()))
    said = {row.label: row for row in published["text"].rows} if "text" in published else {}
    for extra in extras:
        settings = {"dataset": dataset, **extra.settings}
        if choice := choose(runs, settings, "bound"):
            row = said.get(extra.text)
            whose = f"ours; paper: {row.where}" if row else "ours"
            value = row.values[0].value if row else None
            place = Published(name, extra.text, "", "bound", value, None, False, settings)
            notes = (*extra.notes, *(row.notes if row else ()))
            shown = label(choice.entry.runs[0].config)
            yield Cell(PublishedRow(GROUP, shown, "", whose, (place,), notes), place, settings, choice)
