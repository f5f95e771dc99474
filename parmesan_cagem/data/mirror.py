"""One file of one mirror, block by block: bounded in bytes, redirects and total time, whatever the mirror does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What is waited for: seconds to connect, between two reads, and for one file; redirects that are followed."""

    connect: float = 10
    read: float = 30
    file: float = 600  # a mirror that trickles is as good as dead
    redirects: int = 5


class BadMirror(Exception):
    """What was wrong with a mirror, or with what it sent."""


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page: what proxies and dead mirrors like to send."""
    return head.lstrip().lower().startswith((b"<!doctype", b"<html"))


def blocks(url: str, name: str, most: int, limits: Limits) -> Iterator[bytes]:
    """The body of `url`, as it comes.

    A thread of its own does the reading: names that are looked up for minutes, handshakes that never end and headers
    that trickle obey no timeout of a socket, but whoever waits here can leave. (The thread then ends with its socket's
    next timeout, or with the process.)

    Parameters
    ----------
    url : str
    name : str
        Of the file, for messages.
    most : int
        Bytes after which a body is too long.
    limits : Limits

    Raises
    ------
    BadMirror
        In words: no connection, another status than 200, a page, a body too long, too slow, a redirect elsewhere.
    """
    stop, left = time.monotonic() + limits.file, threading.Event()
    arrived: queue.SimpleQueue[bytes | BadMirror | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(url, name, most, limits, arrived, left), daemon=True).start()
    try:
        while True:
            try:
                item = arrived.get(timeout=max(0.0, stop - time.monotonic()))
            except queue.Empty:
                raise BadMirror(f"{name} took more than {limits.file:g} s") from None
            if isinstance(item, BadMirror):
                raise item
            if item is None:
                return
            yield item
            if time.monotonic() > stop:  # blocks that wait already would come without a timeout
                raise BadMirror(f"{name} took more than {limits.file:g} s")
    finally:
        left.set()


def _read(
    url: str,
    name: str,
    most: int,
    limits: Limits,
    arrived: queue.SimpleQueue[bytes | BadMirror | None],
    left: threading.Event,
) -> None:
    """Put the body's blocks into `arrived`, then None or what went wrong."""
    import requests  # not above: importing it takes half a second, and most runs have their data
    import urllib3

    try:
        received = 0
        with _answer(url, name, limits) as answer:
            while (block := answer.raw.read1(_BLOCK)) and not left.is_set():  # read() would wait for a full block
                if received == 0 and looks_like_html(block):
                    raise BadMirror(f"sent an HTML page as {name}")
                received += len(block)
                if received > most:
                    raise BadMirror(f"{name} is longer than its {most} bytes")
                arrived.put(block)
        arrived.put(None)
    except BadMirror as error:
        arrived.put(error)
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        arrived.put(BadMirror(f"no answer in time for {name}{_proxy(url)}"))
    except Exception as error:  # requests, urllib3, http.client, ssl, socket, idna: each has its own
        arrived.put(BadMirror(f"connection failed for {name} ({type(error).__name__}){_proxy(url)}"))


def _answer(url: str, name: str, limits: Limits) -> requests.Response:
    """The answer with the file, after redirects within the host.

    Another host is not followed: what a mirror was chosen for, its word that it will be there and its law, is not
    true of a place that it points to; and a captive network redirects everything to its own page.
    """
    import requests

    host = urlsplit(url).hostname
    for _ in range(limits.redirects + 1):
        answer = requests.get(
            url,
            timeout=(limits.connect, limits.read),
            stream=True,
            headers={"Accept-Encoding": "identity"},  # or a .gz served as encoded arrives unpacked
            allow_redirects=False,
        )
        if answer.status_code == 200:
            return answer
        answer.close()
        if answer.status_code not in (301, 302, 303, 307, 308):
            raise BadMirror(f"HTTP status {answer.status_code} for {name}")
        place = urljoin(url, answer.headers.get("Location", ""))
        target = urlsplit(place)
        if target.hostname != host:
            raise BadMirror(f"redirects {name} to another host, {(target.hostname or 'none')[:100]!a}; not followed")
        if target.scheme not in ("https", urlsplit(url).scheme):
            raise BadMirror(f"redirects {name} from https to {target.scheme[:20]!a}; not followed")
        url = place
    raise BadMirror(f"redirects {name} more than {limits.redirects} times")


def _proxy(url: str) -> str:
    """Words for the user if a proxy stands between: it may be to blame."""
    from requests.utils import get_environ_proxies

    return "; $http_proxy, $https_proxy or $all_proxy names a proxy" if get_environ_proxies(url) else ""
