"""Our rows of Table 1 on the same test images: differences from our VAE, which are surer than the bounds themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parmesan_cagem.image_bounds import ImageBounds, difference
from parmesan_cagem.report import details
from parmesan_cagem.report.protocol import obstacle
from parmesan_cagem.report.row import label
from parmesan_cagem.report.runs import DEFAULTS, Run
from parmesan_cagem.report.table import Column, Row, Table

NAME, TITLE = "table1-paired", "Our rows of Table 1, image by image"
REMARK = (
    "Differences from {} are means over the same test images, binarised alike; ± is their standard error over images. "
    "What another seed of the training would change is no part of it."
)
COLUMNS = (
    Column("model"),
    Column("epochs", True),
    Column("seed", True),
    Column("label subset", True),
    Column("images", True),
    Column("k", True),
    Column("F_k, nats", True),
    Column("less the VAE's", True),
    Column("F_1, nats", True),
    Column("less the VAE's", True),
)


def table(runs: Iterable[Run]) -> Table | None:
    """The table, best F_k first; None unless there is a two-layer VAE, and another run evaluated on its images.

    Of several VAEs the one that most runs can be paired with, then the one with the most epochs, then the first.

    Parameters
    ----------
    runs : iterable of Run
        Those that Table 1 shows. One without ``bounds.csv`` is left out: `cagem evaluate RUN` writes it.
    """
    having = [(run, run.bounds) for run in runs if run.bounds is not None]
    choices = [(vae, its, _alike(vae, having)) for vae, its in having if _is_vae(vae)]
    if not choices:
        return None
    vae, its, paired = max(choices, key=lambda one: (len(one[2]), one[0].record["epochs"]))  # of equals the first
    if len(paired) < 2:
        return None
    k = f"F_{vae.record['eval']['k']}"
    paired.sort(key=lambda one: (-one[0].record["bounds"][k]["mean"], one[0].name))
    notes: list[str] = []
    rows = [Row("", tuple(_cells(run, bounds, vae, its, k)), True, _note(run, vae, notes)) for run, bounds in paired]
    return Table(NAME, TITLE, COLUMNS, tuple(rows), tuple(notes), (REMARK.format(vae.name),))


def _alike(vae: Run, runs: Iterable[tuple[Run, ImageBounds]]) -> list[tuple[Run, ImageBounds]]:
    return [(run, bounds) for run, bounds in runs if not obstacle(vae.record, run.record)]


def _is_vae(run: Run) -> bool:
    have = {**DEFAULTS, **run.config}
    return (have["model"], have["layers"], have["train_iw"]) == ("vae", 2, 1)


def _cells(run: Run, bounds: ImageBounds, vae: Run, its: ImageBounds, k: str) -> Iterator[str]:
    record = run.record
    subset = "" if record["label_seed"] is None else str(record["label_seed"])
    yield from (label(run.config), str(record["epochs"]), str(record["seed"]), subset)
    yield from (str(len(bounds.indices)), str(record["eval"]["k"]))
    for name in (k, "F_1"):
        yield details.number(record["bounds"][name]["mean"])
        less, error = difference(its, bounds, name)
        spread = "" if error is None else f" ± {error:.2f}"
        yield "" if run is vae else f"{less:+.2f}{spread}"


def _note(run: Run, vae: Run, notes: list[str]) -> tuple[int, ...]:
    ours, its = (one.record["epochs"] for one in (run, vae))
    if ours == its:
        return ()
    text = f"trained for {ours} epochs, the VAE for {its}"
    if text not in notes:
        notes.append(text)
    return (notes.index(text) + 1,)
