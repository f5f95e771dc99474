"""Training curves of a run, from its log: bound and KL terms; with a class, cross-entropies and cluster shares too."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullFormatter

from parmesan_cagem.errors import UserError
from parmesan_cagem.report import style

_WARM, _MOST = "0.92", 1e15  # a shade; a number that a diagram can show
Entries = Sequence[Mapping[str, Any]]
_MONITORED: tuple[tuple[str, str, str, str, Any], ...] = (
    ("labelled", "labelled", style.ORANGE, "s", "--"),
    ("heldout", "held out", style.GREEN, "^", "-."),
)


_LOOKS: dict[str, tuple[str, str, Any]] = {
    "KL_z1": (style.ORANGE, "o", "-"),
    "KL_z2": (style.BLUE, "s", "--"),
    "KL_y": (style.GREEN, "^", "-."),
}
# Of the terms that CaGeM has not: z3, z4 ..., a1 ...; five colours and four markers make twenty looks.
_MORE: tuple[tuple[str, str, Any], ...] = tuple(
    (style.CLASS_COLOURS[1 + 2 * (i % 5)], "vDPX"[i % 4], (":", "-", "--", "-.")[i % 4]) for i in range(20)
)


def curves(title: str, log: Entries, record: Mapping[str, Any] | None = None) -> Figure:
    """Draw a run's log.

    Parameters
    ----------
    title : str
        Of the run.
    log : sequence of mapping
        The lines of log.jsonl; those without an epoch (versions) are passed over. At least one has one.
    record : mapping, optional
        The run's record, for its final numbers: test errors exist only there.

    Raises
    ------
    UserError
        The log is damaged.
    """
    entries = [entry for entry in log if "epoch" in entry]
    _check(entries)
    entries = [{name: _drawable(value) for name, value in entry.items()} for entry in entries]
    with style.style():
        classes = any("usage" in entry for entry in entries)  # a model without y has neither labels nor clusters
        figure = style.new(style.DOUBLE, 5.0 if classes else 2.9)
        grid = figure.subplots(2 if classes else 1, 2, squeeze=False)
        draw = (_bound, _divergence, _entropies, _usage)
        for panel, axes in zip(draw, grid.flat, strict=False):
            panel(axes, entries)
        for axes in grid.flat:
            _shade_warm_up(axes, entries)
            axes.set_xlim(entries[0]["epoch"] - 0.5, entries[-1]["epoch"] + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        figure.suptitle("\n".join([style.text(title), *_results(record)]), size=8.5)
    return figure


def _check(entries: Entries) -> None:
    """Refuse a log whose epochs do not hold the same, or of which a value is of another kind."""
    kinds: dict[str, type] = {"F": float, "usage": list, **{name: dict for name, *_ in _MONITORED}}
    for entry in entries:
        for name, value in entry.items():
            kind = kinds.get(name, float)
            if not isinstance(value, (int, float) if kind is float else kind):
                raise UserError(f"epoch {entry['epoch']} of the log: {name} is no {kind.__name__}; restore the log")
        if "F" not in entry or len(entry.get("usage", ())) != len(entries[0].get("usage", ())):
            raise UserError(f"epoch {entry['epoch']} of the log lacks F, or shares of clusters; restore the log")
    if any(b["epoch"] <= a["epoch"] for a, b in itertools.pairwise(entries)) or entries[-1]["epoch"] > _MOST:
        raise UserError("the log: its epochs do not follow one another; restore it from a copy")


def _drawable(value: Any) -> Any:
    """A value, or several, of the log; NaN, which leaves a gap, for what no axis can show: norms may explode."""
    if isinstance(value, dict):
        return {name: _drawable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_drawable(one) for one in value]
    return value if abs(value) <= _MOST else np.nan


def _head(axes: Axes, title: str, handles: Sequence[Any], columns: int) -> None:
    """Title and legend above the panel, where they hide nothing."""
    options: dict[str, Any] = {"title": title, "alignment": "left", "title_fontsize": 8.5}
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, borderpad=0, ncols=columns,
        handlelength=2.1, handletextpad=0.5, columnspacing=1.0, labelspacing=0.25, **options,
    )  # fmt: skip


def _bound(axes: Axes, entries: Entries) -> None:
    _line(axes, entries, [entry["F"] for entry in entries], "training", style.BLUE, "o", "-")
    for key, label, colour, marker, dashes in _MONITORED:
        _line(axes, entries, [entry.get(key, {}).get("F") for entry in entries], label, colour, marker, dashes)
    of_pairs = [entry.get("F_labelled") for entry in entries]
    _line(axes, entries, of_pairs, "on $\\log p(x_l,y_l)$", style.GREY, "v", ":")
    # The first epochs are tens of nats lower and would flatten all that follows.
    axes.set_ylabel("nats")
    values = np.array([entry["F"] for entry in entries])
    values = values[np.isfinite(values)]
    if len(values) >= 10 and (floor := float(np.quantile(values, 0.1))) < values.max():
        low = floor - 0.15 * (values.max() - floor)
        if values.min() < low:
            axes.set_ylim(bottom=low)
            axes.set_ylabel("nats (first epochs lie below)")
    handles: list[Artist] = [*axes.lines]
    if any(entry.get("temperature", 1) < 1 for entry in entries):
        handles.append(Patch(color=_WARM, label="warm-up"))
    _head(axes, "bound $F$ at temperature 1", handles, 2 if len(handles) > 3 else 3)


def _divergence(axes: Axes, entries: Entries) -> None:
    names = {name for entry in entries for name in entry if name.startswith("KL_") and not name.endswith("_sampled")}
    others = sorted(names - _LOOKS.keys(), key=lambda name: (name[3] != "z", len(name), name))
    looks = {name: look for name, look in _LOOKS.items() if name in names} | dict(zip(others, _MORE, strict=False))
    for name, (colour, marker, dashes) in looks.items():
        values = [entry.get(name) for entry in entries]
        _line(axes, entries, values, style.variable(name.removeprefix("KL_")), colour, marker, dashes)
    axes.set_ylabel("nats")
    _logarithmic(axes)
    _head(axes, "KL terms in training", axes.lines, 3 if len(axes.lines) < 4 else 5)


def _entropies(axes: Axes, entries: Entries) -> None:
    drawn: dict[str, Artist] = {}
    for name, colour, fill in (("H_q", style.BLUE, "full"), ("H_p", style.ORANGE, "none")):
        for key, label, _, marker, dashes in (("", "training", "", "o", "-"), *_MONITORED):
            found = [entry.get(key, {}) if key else entry for entry in entries]
            if any(name in values for values in found):
                _line(axes, entries, [values.get(name) for values in found], label, colour, marker, dashes)
                axes.lines[-1].set(fillstyle=fill)  # hollow or full: a grey print has no colours
                drawn[label] = Line2D([], [], color=style.GREY, marker=marker, linestyle=dashes, label=label)
    if not drawn:
        axes.text(0.5, 0.5, "no labels", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
        axes.set_yticks([])
        _head(axes, "cross-entropies of labels", [], 1)
        return
    axes.set_ylabel("nats")
    _logarithmic(axes)
    fills: tuple[tuple[str, str, str, Literal["full", "none"]], ...]
    fills = (("H_q", "$H_q$", style.BLUE, "full"), ("H_p", "$H_p$", style.ORANGE, "none"))
    which = [
        Line2D([], [], color=colour, marker="o", linestyle="", fillstyle=fill, label=label)
        for name, label, colour, fill in fills
        if any(name in entry for entry in entries)
    ]
    _head(axes, "cross-entropies of labels", [*which, *drawn.values()], 4 if len(drawn) < 3 else 3)


def _usage(axes: Axes, entries: Entries) -> None:
    """Stacked shares: a collapse shows as one band that fills the panel."""
    epochs = [entry["epoch"] for entry in entries]
    shares = np.array([entry["usage"] for entry in entries]).T  # (K, epochs)
    few = len(shares) <= len(style.CLASS_COLOURS)
    colours = style.CLASS_COLOURS[: len(shares)] if few else ("0.55", "0.75")
    edges = np.concatenate([[epochs[0] - 0.5], np.array(epochs) + 0.5])
    base = np.zeros(len(epochs))
    for k, share in enumerate(shares):
        axes.stairs(
            base + share, edges, baseline=base, fill=True, facecolor=colours[k % len(colours)], edgecolor="white",
            linewidth=0.3,
        )  # fmt: skip
        if few and share[-1] > 0.04:
            axes.text(1.01, base[-1] + share[-1] / 2, str(k), transform=axes.get_yaxis_transform(), va="center")
        base = base + share
    axes.set(ylabel="share", ylim=(0, 1))
    of = "q(y|z_1,x)" if "KL_z2" in entries[-1] else "q(y|x)"  # of the models with y, only CaGeM has a z2
    _head(axes, f"shares of the clusters, mean ${of}$", [], 1)


def _line(
    axes: Axes, entries: Entries, values: Sequence[float | None], label: str, colour: str, marker: str, dashes: Any
) -> None:
    found = [(entry["epoch"], value) for entry, value in zip(entries, values, strict=True) if value is not None]
    if found:
        epochs, present = zip(*found, strict=True)
        every = max(1, len(found) // 8)
        axes.plot(epochs, present, color=colour, marker=marker, linestyle=dashes, label=label, markevery=every)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, where all values allow it."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if len(values) and (values > 0).all():
        axes.set_yscale("log")
        low, high = np.log10(values.min() * 0.6), np.log10(values.max() * 1.6)
        if np.ceil(low) > np.floor(high):  # no power of ten in between: no number would stand on the axis
            low, high = np.floor(low), np.ceil(high)
        axes.set_ylim(10**low, 10**high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _shade_warm_up(axes: Axes, entries: Entries) -> None:
    """Grey where the temperature was below 1 at an epoch's end."""
    warm = [entry["epoch"] for entry in entries if entry.get("temperature", 1) < 1]
    if warm:
        axes.axvspan(warm[0] - 0.5, warm[-1] + 0.5, color=_WARM, zorder=0, linewidth=0)


def _results(record: Mapping[str, Any] | None) -> list[str]:
    """The run's final numbers in one line."""
    if record is None:
        return ["no record yet: the run is not evaluated"]
    k = record["eval"]["k"]
    found = record["bounds"][f"F_{k}"]
    spread = "" if found["standard_error"] is None else f" ± {found['standard_error']:.2f}"
    words = [f"test after {record['epochs']} epochs: $F_{{{k}}}$ = {found['mean']:.2f}{spread} nats".replace("-", "−")]
    errors = [f"{record[f'error_{c}']:.2f} % of ${c}(y|x)$" for c in "qp" if record[f"error_{c}"] is not None]
    if errors:
        words.append(f"error{'s' * (len(errors) > 1)} {', '.join(errors)}")
    return ["; ".join(words)]
