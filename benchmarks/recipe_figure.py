"""The picture of a screen: every run's bound minus its reference's, and the same of the training bound by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.recipe_effects import REFERENCE, Arms, usual_spread
from parmesan_cagem.report import style

FAR = 5.0  # times the median effect: what lies beyond is told in a number, not drawn to scale
ROW, GAP, TOP, BOTTOM = 0.17, 0.55, 0.3, 0.45  # inches: an arm, between groups, above and below all
COLOURS = style.CLASS_COLOURS[:9]


def draw(found: Sequence[tuple[str, Arms]], path: Path) -> None:
    """Write ``<path>.svg`` and ``<path>.png``: a row for each group with a finished reference and an arm beside it.

    Left, a dot a seed, minus the mean of the reference's seeds, over a band of the usual spread; right, the training
    bound minus the reference's, the mean over common seeds.
    """
    shown = [(name, {arm: runs for arm, runs in arms.items() if runs}) for name, arms in found]
    shown = [(name, arms) for name, arms in shown if REFERENCE in arms and len(arms) > 1]
    heights = [ROW * len(arms) for _, arms in shown]
    total = TOP + sum(heights) + GAP * (len(shown) - 1) + BOTTOM
    with style.style():
        figure = style.new(style.DOUBLE, total)
        figure.set_layout_engine("none")  # the constrained one gives up on rows of such different heights
        places = {"left": 0.27, "right": 0.98, "bottom": BOTTOM / total, "top": 1 - TOP / total, "wspace": 0.2}
        places |= {"height_ratios": heights, "hspace": GAP / statistics.mean(heights)}
        axes = figure.subplots(len(shown), 2, squeeze=False, gridspec_kw=places)
        for (name, arms), (left, right) in zip(shown, axes, strict=True):
            limit = _limit(arms)
            _bounds(left, arms, limit)
            _curves(right, arms, limit)
            left.set_title(f"{style.text(name)}: held-out F_k", loc="left")
            right.set_title("training F", loc="left")
        axes[-1][0].set_xlabel("minus the reference's, nats; a dot a seed")
        axes[-1][1].set(xlabel="epoch")
    style.save(figure, path)


def _effects(arms: Arms) -> dict[str, list[float]]:
    """Of every run of every arm: F_k minus the mean of the reference's."""
    zero = statistics.mean(run["F_k"] for run in arms[REFERENCE].values())
    return {arm: [run["F_k"] - zero for run in runs.values()] for arm, runs in arms.items()}


def _limit(arms: Arms) -> float:
    """Nats on either side of zero, so that one arm that fails does not hide what the others differ in."""
    sizes = [max(map(abs, values)) for arm, values in _effects(arms).items() if arm != REFERENCE]
    near = [size for size in sizes if size <= FAR * statistics.median(sizes)]
    return 1.2 * max(*near, 1e-3)


def _bounds(axes: Axes, arms: Arms, limit: float) -> None:
    spread = usual_spread(arms)
    axes.axvspan(-spread, spread, color="#DDDDDD", linewidth=0)
    for place, values in enumerate(_effects(arms).values()):
        colour, _ = _look(place)
        inside = [value for value in values if abs(value) <= limit]
        axes.plot(inside, [place] * len(inside), "o", color=colour, markersize=3.5, clip_on=False)
        if len(inside) < len(values):
            mean = statistics.mean(values)
            side = 1 if mean > 0 else -1
            axes.annotate(
                f"{mean:+.1f}",
                (side * limit, place),
                (-6 * side, 0),
                textcoords="offset points",
                ha="left" if side < 0 else "right",
                va="center",
                color=colour,
                size=7,
            )
    axes.set(xlim=(-limit, limit), yticks=range(len(arms)), yticklabels=[style.text(arm) for arm in arms])
    for place, label in enumerate(axes.get_yticklabels()):
        label.set(color=_look(place)[0], size=7)
    axes.set_ylim(len(arms) - 0.5, -0.5)


def _curves(axes: Axes, arms: Arms, limit: float) -> None:
    last = 1
    for place, runs in enumerate(arms.values()):
        seeds = sorted(set(runs) & set(arms[REFERENCE]))
        pairs = [(runs[seed]["F by epoch"], arms[REFERENCE][seed]["F by epoch"]) for seed in seeds]
        by_seed = [[a - b for a, b in zip(*pair, strict=False)] for pair in pairs]
        curve = [statistics.mean(values) for values in zip(*by_seed, strict=False)]
        colour, dashes = _look(place)
        axes.plot(range(1, len(curve) + 1), curve, color=colour, linestyle=dashes, linewidth=1)
        last = max(last, len(curve))
    axes.set(ylim=(-1.5 * limit, 1.5 * limit), xlim=(1, max(last, 2)))


def _look(place: int) -> tuple[str, str]:
    """Colour and dashes of the arm in that place; the reference's are the first."""
    if place == 0:
        return style.BLACK, "-"
    return COLOURS[(place - 1) % len(COLOURS)], ("-", "--", ":")[(place - 1) // len(COLOURS) % 3]
