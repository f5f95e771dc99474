"""What the posteriors of the runs cost (paper, Appendix A), where ``cagem prices`` has measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parmesan_cagem import prices_record
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import charts
from parmesan_cagem.report.charts import number
from parmesan_cagem.report.inputs import Run
from parmesan_cagem.report.markup import Html, element, join, scroller


def section(run: Run) -> Html | None:
    """The prices of one run, for its page; None where there are none."""
    path = run.folder / prices_record.NAME
    if not path.exists():
        return None
    try:
        prices = _read(run)
    except UserError as error:
        return join([_heading(), element("p", str(error).replace(str(run.folder), run.name), class_="warning")])
    k, first, later = prices["protocol"]["k"], prices["first"], _list(prices["later"])
    numbers = prices["numbers"]
    pairs = [
        ("F_1, nats", _bound(numbers["F_1"])),
        (f"price of the posterior of {later}, nats", _bound(numbers["price_later"])),
        ("middle bound, nats", _bound(numbers["middle"])),
        (f"price of the posterior of {first}, nats", _bound(numbers["price_first"])),
        (f"F_{k}, nats", _bound(numbers["F_k"])),
    ]
    if beside := prices["one_layer"]:
        pairs.append((f"F_{k} of one layer ({beside['name']}), nats", _bound(beside["F_k"])))
        pairs.append(("gain over one layer, nats", _bound(beside["gain"])))
    git = prices["git"]["commit"] or "no git checkout"
    words = (
        f"log p(x) − F = KL[q({first}|x) ‖ p({first}|x)] + E KL[q({later}|{first},x) ‖ p({later}|{first},x)]: what "
        f"both posteriors cost. The middle bound has {first} fixed and importance weights over {later}: "
        f"{prices['outer']} draws of {first}, {prices['inner']} of the rest for each, on the record's "
        f"{prices['protocol']['images']} images and binarisations. It is too low rather than too high, and so is the "
        f"price of {later}; that of {first} has the errors of F_{k} and of the middle bound, which oppose each other. "
        f"Engine {prices['engine']}, {prices['precision']}, {prices['device']}, {charts.duration(prices['seconds'])}; "
    )
    return join([_heading(), charts.facts(pairs, "headline"), element("p", words, element("code", git))])


def table(runs: Sequence[Run]) -> Html | None:
    """The prices of all runs; None where there are none."""
    rows = []
    for run in runs:
        try:
            prices = _read(run) if (run.folder / prices_record.NAME).exists() else None
        except UserError:  # its page says why
            continue
        if prices is not None:
            rows.append(_row(run, prices))
    if not rows:
        return None
    heads = (
        "run",
        "F_1",
        "price of the later posteriors",
        "price of the first posterior",
        "F_k",
        "k",
        "gain, one layer",
    )
    head = element("thead", element("tr", [element("th", name, scope="col") for name in heads]))
    words = "Prices of approximate posteriors (Appendix A), nats. ± is the standard error over test images."
    content = element("table", element("caption", words), head, element("tbody", rows), class_="numbers runs")
    return scroller(content, "Table of prices")


def _read(run: Run) -> dict[str, Any]:
    """``prices.json`` of a run.

    Raises
    ------
    UserError
        It is damaged, or of another record.
    """
    prices = prices_record.read(run.folder / prices_record.NAME)
    if not prices_record.belongs_to(prices, run.record):
        raise UserError(f"{run.name}: prices.json is of another record than this; `cagem prices` measures it anew")
    return prices


def _row(run: Run, prices: Mapping[str, Any]) -> Html:
    numbers, beside = prices["numbers"], prices["one_layer"]
    cells = [
        element("td", _bound(numbers["F_1"])),
        element("td", f"{_list(prices['later'])}: {_bound(numbers['price_later'])}"),
        element("td", f"{prices['first']}: {_bound(numbers['price_first'])}"),
        element("td", _bound(numbers["F_k"])),
        element("td", prices["protocol"]["k"]),
        element("td", _bound(beside["gain"]) if beside else "–"),
    ]
    return element("tr", element("th", element("a", run.name, href=f"#{run.id}"), scope="row"), cells)


def _heading() -> Html:
    return element("h4", "Prices of the posteriors")


def _bound(bound: Mapping[str, Any]) -> str:
    error = bound["standard_error"]
    return number(bound["mean"]) + ("" if error is None else f" ± {number(error)}")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
