"""HTML in which text cannot become markup: what is not marked as HTML is escaped, whoever forgets."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable
from typing import TypeAlias

VOID = frozenset({"br", "hr", "img", "input", "meta"})  # of HTML; parts of an inline SVG all need their end tags
_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Html(str):
    """Text that is HTML already. Only :func:`element`, :func:`join` and templates of this package make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def escape(text: object) -> Html:
    """``text`` as HTML that shows it, in an element or within a quoted attribute.

    Characters that HTML or UTF-8 have no place for (NUL, other controls, lone surrogates) become U+FFFD.

    Examples
    --------
    >>> escape("<b a='1'>")
    '&lt;b a=&#x27;1&#x27;&gt;'
    """
    return Html(html.escape(_NOT_IN_HTML.sub("\ufffd", str(text)), quote=True))


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element; children and attribute values are escaped, unless a child is :class:`Html`.

    Parameters
    ----------
    *children
        Text, numbers, :class:`Html`, or iterables of them; None is left out.
    **attributes
        ``class_`` is ``class``, ``aria_label`` is ``aria-label``; True is an attribute without a value, None and
        False are none.

    Examples
    --------
    >>> element("p", "1 < 2", element("br"), class_="note", hidden=True)
    '<p class="note" hidden>1 &lt; 2<br></p>'
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(value)}"')
    start = f"<{' '.join(words)}>"
    return Html(start) if name in VOID else Html(f"{start}{join(children)}</{name}>")


def join(children: Iterable[Child], separator: str = "") -> Html:
    """All of ``children``, one after the other, those that are not HTML escaped."""
    return Html(escape(separator).join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[Html]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif child is None:
            continue
        elif isinstance(child, str | int | float):
            yield escape(child)
        else:
            yield from _flat(child)


def data_uri(mime: str, data: bytes) -> str:
    """``data`` as an address that needs no network.

    Examples
    --------
    >>> data_uri("image/png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def picture(mime: str, data: bytes, alt: str, **attributes: str | int | float | bool | None) -> Html:
    """An image within the page. As an ``<img>``, an SVG runs no script and loads nothing."""
    return element("img", src=data_uri(mime, data), alt=alt, **attributes)


def scroller(content: Html, label: str) -> Html:
    """A box that scrolls sideways where its content is wider than the page; the keyboard reaches it too."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


class Ids:
    """Unique ids for elements, from names that may hold anything.

    Examples
    --------
    >>> ids = Ids()
    >>> ids.new("run-", 'a "b"'), ids.new("run-", "a -b-"), ids.new("run-", "")
    ('run-a--b-', 'run-a--b--2', 'run-')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, prefix: str, name: str) -> str:
        """An id that begins with ``prefix``: letters, digits, ``.``, ``_`` and ``-`` only."""
        base = prefix + re.sub(r"[^A-Za-z0-9._-]", "-", name)
        made, number = base, 2
        while made in self._taken:
            made, number = f"{base}-{number}", number + 1
        self._taken.add(made)
        return made
