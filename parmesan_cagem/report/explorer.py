"""The section of the latent explorer: markup for ``explorer.js``, which makes it move."""

from __future__ import annotations

from parmesan_cagem.report import sprites
from parmesan_cagem.report.markup import Html, element, join
from parmesan_cagem.report.sprites import Plane

COMMAND = "python run_mnist.py --labels 100 --z2-dim 2 --preset short"


def missing(reason: str = "No run with a two-dimensional z2 is here.") -> Html:
    """What stands in the explorer's place when there is nothing to explore."""
    return element("p", reason, " ", element("code", COMMAND), " makes one.", class_="missing")


def section(plane: Plane, run: str) -> Html:
    """The explorer of one run.

    Parameters
    ----------
    plane : Plane
    run : str
        The run's name.
    """
    reach = f"{sprites.REACH:g}"
    about = element(
        "p",
        "Move over the plane of z2 and see what run ",
        element("strong", run),
        f" makes of the point. z2 goes from −{reach} to {reach} in both directions; colours show the class that "
        "p(y|z2) finds most probable, paler where it is less sure. ",
        "The picture is the mean of p(x|y,z1) with z1 the ",
        element("em", "mean"),
        " of p(z1|y,z2), not a draw, so that it moves smoothly; "
        f"it was decoded at {plane.points} × {plane.points} points for each class and is interpolated between them.",
    )
    keys = element(
        "p",
        "Keyboard, on the plane: ",
        _keys("←", "↑", "↓", "→"),
        " move by 0.1, with ",
        _keys("Shift"),
        " by 0.5; ",
        _keys("Home"),
        " goes to the origin; ",
        _keys("0"),
        " to ",
        _keys(str(min(plane.classes, 10) - 1)),
        " fix the class, ",
        _keys("a"),
        " makes it automatic.",
        id="explorer-keys",
        class_="quiet",
    )
    canvas = element(
        "canvas",
        "The plane of z2.",
        id="plane",
        width=720,
        height=720,
        tabindex=0,
        role="application",
        aria_label="Plane of z2: arrow keys move",
        aria_describedby="explorer-keys explorer-text",
    )
    digit = element(
        "canvas",
        "The decoded digit.",
        id="digit",
        width=plane.side,
        height=plane.side,
        role="img",
        aria_label="Decoded digit",
    )
    left = element("div", canvas, _dots(plane), class_="plane")
    right = element(
        "div",
        digit,
        element("p", "\xa0", id="explorer-text"),
        element("p", id="explorer-live", class_="hidden", role="status", aria_live="polite"),
        _bars(plane.classes),
        class_="decoded",
    )
    data = element("script", Html(sprites.to_json(plane)), type="application/json", id="explorer-data")
    script_off = element("noscript", element("p", "The explorer needs JavaScript.", class_="missing"))
    return join([about, script_off, element("div", left, right, _choice(plane.classes), class_="explorer"), keys, data])


def _choice(classes: int) -> Html:
    """Radio buttons: arrow keys, labels and focus come with them."""
    options = [
        _option("auto", "automatic: argmax p(y|z2)", True),
        *(_option(str(c), str(c), False) for c in range(classes)),
    ]
    return element("fieldset", element("legend", "Class y"), options, id="explorer-class")


def _option(value: str, text: str, checked: bool) -> Html:
    return element("label", element("input", type="radio", name="class", value=value, checked=checked), " ", text)


def _bars(classes: int) -> Html:
    """Probabilities of the classes; the text beside them says the same."""
    rows = [
        element("div", element("b", c), element("i", element("span"), class_="track"), element("small", ""))
        for c in range(classes)
    ]
    return element("div", rows, id="explorer-bars", aria_hidden="true")


def _dots(plane: Plane) -> Html:
    if plane.dots is None:
        return element("p", "The data set was not at hand: no test images are shown.", class_="quiet")
    words = f"z2 of {len(plane.dots)} test images, one ancestral draw each, coloured by their true class"
    if plane.outside:
        words += f"; {plane.outside} more fell outside the plane"
    box = element("input", type="checkbox", id="explorer-dots", checked=True)
    return element("label", box, " ", words, class_="quiet")


def _keys(*names: str) -> Html:
    return join([element("kbd", name) for name in names], " ")
