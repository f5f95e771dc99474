"""The report: one HTML page that holds all that it shows."""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Sequence
from importlib import resources

import parmesan_cagem
from parmesan_cagem.report.markup import Html, element


def fill(*, tables: Html, figures: Html, explorer: Html, runs: Html, left_out: Sequence[str] = ()) -> bytes:
    """The page, UTF-8.

    Its Content-Security-Policy lets the browser load nothing from anywhere and run nothing but the page's own script,
    known by its hash: even markup that had slipped in would do nothing.

    Parameters
    ----------
    tables, figures, explorer, runs : Html
        The sections.
    left_out : sequence of str
        Run folders that the page does not show, and why.
    """
    style, script = _file("page.css"), _file("explorer.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # Only the template's own placeholders are filled: a $ in what fills them stays what it is.
    page = string.Template(_file("page.html")).substitute(
        policy=policy,
        style=style,
        script=script,
        tables=tables,
        figures=figures,
        explorer=explorer,
        runs=runs,
        left_out=_left_out(left_out),
        version=parmesan_cagem.__version__,
    )
    return page.encode()


def _left_out(lines: Sequence[str]) -> Html:
    if not lines:
        return Html()
    return element(
        "div",
        element("p", "Left out:"),
        element("ul", [element("li", line) for line in lines]),
        class_="warning",
    )


def _file(name: str) -> str:
    return resources.files("parmesan_cagem.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
