"""The words of a table's cells: numbers, spread, seeds, protocol, hardware, time, and what a reader should know."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from parmesan_cagem.presets import PRESETS
from parmesan_cagem.report.cells import ERRORS, Entry, departures, size
from parmesan_cagem.report.paper import Published
from parmesan_cagem.report.runs import DEFAULTS

PAPER_K = 5000  # samples of the paper's bounds
DRAWS = 100  # that class probabilities should be means of; the paper does not say


def published(place: Published) -> str:
    """The paper's number, as ``16.77 (±4.52)`` or ``about 17``.

    Examples
    --------
    >>> published(Published("table2", "Imp. GAN", "20", "error_p", 16.77, 4.52, False, None))
    '16.77 (±4.52)'
    """
    if place.value is None:
        return ""
    number = f"about {place.value:g}" if place.about else f"{place.value:.2f}"
    return number if place.spread is None else f"{number} (±{place.spread:.2f})"


def ours(entry: Entry | None) -> str:
    """Our number, two decimals; empty without one."""
    return "" if entry is None else number(entry.value)


def difference(entry: Entry | None, place: Published) -> str:
    """Ours less the paper's, of the numbers as shown; empty unless there are both.

    Examples
    --------
    >>> place = Published("table1", "CaGeM-100", "", "bound", -79.38, None, False, None)
    >>> difference(Entry((), -80.136, None, ""), place)
    '-0.76'
    """
    if entry is None or place.value is None:
        return ""
    return f"{_zero(round(round(entry.value, 2) - place.value, 2)):+.2f}"


def number(value: float) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{_zero(round(value, 2)):.2f}"


def spread(entry: Entry | None) -> str:
    """As ``0.12 (sd, 3 runs)``, or ``1.11 (se, images)`` of a single run."""
    if entry is None or entry.spread is None:
        return ""
    return f"{entry.spread:.2f} ({'se' if entry.spread_of == 'images' else 'sd'}, {entry.spread_of})"


DETAILS = {
    "spread": "spread",
    "seeds": "seeds",
    "subsets": "label subsets",
    "preset": "preset",
    "epochs": "epochs",
    "k": "k",
    "images": "images",
    "estimator": "estimator",
    "hardware": "hardware",
    "time": "h:mm, training + evaluation",
}


def details(entry: Entry | None, quantity: str) -> tuple[str, ...]:
    """The cells under the headings of ``DETAILS``; all empty without an entry."""
    if entry is None:
        return ("",) * len(DETAILS)
    records = [run.record for run in entry.runs]
    first = records[0]
    images, samples = size(first, quantity)
    if quantity in ERRORS:
        k = f"{samples} draws"
    elif quantity == "bound":
        k = str(samples) if samples >= PAPER_K else f"{samples} of {PAPER_K}"
    else:
        k = "1"
    whole = first["dataset"]["test_images"]
    return (
        spread(entry),
        _list(record["seed"] for record in records),
        _list(entry.subsets),
        first["config"]["preset"],
        str(first["epochs"]),
        k,
        str(images) if images >= whole else f"{images} of {whole}",
        f"mean of {samples} draws" if quantity in ERRORS else first["eval"]["estimator"],
        hardware(entry),
        time(entry),
    )


def hardware(entry: Entry) -> str:
    """Engine and device of training, and of the evaluation where it was another."""
    places = []
    for run in entry.runs:
        trained, evaluated = (f"{part['engine']} on {part['device']}" for part in (run.record, run.record["eval"]))
        places.append(trained if trained == evaluated else f"{trained}, evaluated with {evaluated}")
    return "; ".join(dict.fromkeys(places))


def time(entry: Entry) -> str:
    """Mean wall time of training and of evaluation, as ``26:10 + 5:30``."""
    training = statistics.fmean(run.record["train_seconds"] for run in entry.runs)
    evaluation = statistics.fmean(run.record["eval"]["seconds"] for run in entry.runs)
    return f"{hours(training)} + {hours(evaluation)}"


def hours(seconds: float) -> str:
    """``h:mm``.

    Examples
    --------
    >>> hours(0), hours(3599), hours(360000)
    ('0:00', '1:00', '100:00')
    """
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02}"


def remarks(entry: Entry, place: Published) -> Iterator[str]:
    """What a reader should know of the records behind a number, for its footnotes."""
    config = entry.runs[0].config
    epochs, planned = entry.runs[0].record["epochs"], PRESETS[config["preset"]].get("epochs", DEFAULTS["epochs"])
    if epochs < planned:
        yield f"{epochs} of the preset's {planned} epochs"
    wanted = (place.settings or {}).get("subsets", 0)
    if len(entry.subsets) < wanted:
        yield f"{len(entry.subsets)} of {wanted} label subsets"
    if changed := departures(config, "temperature" in (place.settings or {})):
        yield f"settings other than the preset's: {', '.join(changed)}"
    draws = sorted({run.record["eval"]["draws_for_errors"] for run in entry.runs})
    if place.quantity in ERRORS and draws[0] < DRAWS:
        yield f"class probabilities are means of {', '.join(map(str, draws))} of {DRAWS} draws"
    for run in entry.runs:
        for part, git in (("trained", run.record["git"]), ("evaluated", run.record["eval"]["git"])):
            if git["dirty"] is not False:
                yield f"{run.name}: {part} by a source that may differ from its commit"
        if not run.record["dataset"]["verified"]:
            yield f"{run.name}: data not verified"
        for warning in run.record["warnings"]:
            yield f"{run.name}: {warning}"


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(set(values)))


def _zero(value: float) -> float:
    return value + 0.0  # -0.0 becomes 0.0
