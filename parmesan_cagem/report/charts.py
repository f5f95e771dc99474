"""Small charts and numbers of the report, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from parmesan_cagem.report.markup import Html, element, scroller

LEVELS = 9  # shades of a heat table, classes h0 to h9 of page.css


def number(value: float | None, digits: int = 2) -> str:
    """A number for people, with a minus sign; "–" for None.

    Examples
    --------
    >>> number(-90.254), number(None)
    ('−90.25', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Wall time in the unit that suits it.

    Examples
    --------
    >>> duration(12.5), duration(600), duration(9000), duration(200000)
    ('12 s', '10 min', '2.5 h', '2.3 days')
    """
    for limit, unit, words in ((120, 1, "{:.0f} s"), (7200, 60, "{:.0f} min"), (172800, 3600, "{:.1f} h")):
        if seconds < limit:
            return words.format(seconds / unit)
    return f"{seconds / 86400:.1f} days"


def bars(fractions: Sequence[float], what: str) -> Html:
    """A bar for every fraction, with its index below and its percentage above.

    Parameters
    ----------
    fractions : (K,) float
        Between 0 and 1.
    what : str
        Said to people who do not see the chart, before the values.
    """
    width, height, base = 34, 112, 92
    top = max([*fractions, 1e-9])
    parts = []
    for index, value in enumerate(fractions):
        left, tall = index * width, round(70 * value / top, 2)
        middle = left + width / 2
        parts += [
            element("rect", x=left + 4, y=round(base - tall, 2), width=width - 8, height=tall, class_="bar"),
            element("text", f"{100 * value:.1f}", x=middle, y=round(base - tall - 5, 2), class_="value"),
            element("text", index, x=middle, y=base + 16),
        ]
    words = f"{what}: " + ", ".join(f"{index}: {100 * value:.1f} %" for index, value in enumerate(fractions))
    size = f"0 0 {width * max(len(fractions), 1)} {height}"
    drawing = element("svg", parts, viewBox=size, width=width * len(fractions), role="img", aria_label=words)
    return scroller(drawing, what)


def heat_table(counts: Sequence[Sequence[int]], title: str, rows: str, columns: str) -> Html:
    """A table of counts whose cells are the darker, the larger their share of the row (its square root).

    Parameters
    ----------
    counts : (R, C) int
    title, rows, columns : str
        What the table shows; what a row and a column stand for.
    """
    width = max((len(row) for row in counts), default=0)
    head = element(
        "tr",
        element("th", f"{rows} ↓ {columns} →", scope="col"),
        [element("th", index, scope="col") for index in range(width)],
    )
    body = []
    for index, row in enumerate(counts):
        total = max(sum(row), 1)
        cells = [element("td", n, class_=f"h{round(LEVELS * (n / total) ** 0.5)}") for n in row]
        body.append(element("tr", element("th", index, scope="row"), cells))
    table = element(
        "table", element("caption", title), element("thead", head), element("tbody", body), class_="heat numbers"
    )
    return scroller(table, title)


def facts(pairs: Sequence[tuple[str, object]], class_: str = "facts") -> Html:
    """Names and values, one pair below the other."""
    items = [
        element("div", element("dt", name), element("dd", value if isinstance(value, Html) else str(value)))
        for name, value in pairs
    ]
    return element("dl", items, class_=class_)
