"""A server on 127.0.0.1 that plays every mirror that misbehaves: one folder of it for each behaviour."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

HTML = b"\n<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>"
SLOW_SECONDS = 0.05  # between the blocks of "slow"

# Behaviour: what fetch says of it. FILE is the file's name, SIZE its bytes.
BAD = {
    "404": "HTTP status 404 for FILE",
    "500": "HTTP status 500 for FILE",
    "204": "HTTP status 204 for FILE",
    "html": "sent an HTML page as FILE",
    "empty": "FILE ends after 0 of SIZE bytes",
    "wrong": "FILE has the wrong SHA-256",
    "one-more": "FILE is longer than its SIZE bytes",
    "endless": "FILE is longer than its SIZE bytes",
    "endless-chunks": "FILE is longer than its SIZE bytes",
    "announces-less": "FILE ends after",
    "announces-more": "connection failed for FILE",
    "announces-nonsense": "FILE ends after",
    "truncated": "connection failed for FILE",
    "broken-chunks": "connection failed for FILE",
    "reset": "connection failed for FILE",
    "garbage": "connection failed for FILE",
    "hangs-up": "connection failed for FILE",
    "silent": "no answer in time for FILE",
    "stalls": "no answer in time for FILE",
    "trickle": "FILE took more than",
    "trickling-headers": "FILE took more than",
    "other-host": "redirects FILE to another host, 'localhost'; not followed",
    "other-scheme": "redirects FILE from https to 'ftp'; not followed",
    "nowhere": "redirects FILE more than",
    "bad-address": "connection failed for FILE",
    "loop": "redirects FILE more than",
    "dead": "connection failed for FILE",
}
GOOD = ("good", "moved", "slow")


class Mirrors(socketserver.ThreadingTCPServer):
    """Serves `body` under any name; ``requests`` are the paths that it was asked for, each with its Host."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.closing = body, False
        self.requests: list[tuple[str, str]] = []

    def mirror(self, behaviour: str) -> str:
        """The address of a mirror."""
        port = self.server_address[1]
        if behaviour == "dead":  # a port that was free a moment ago
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        return f"http://127.0.0.1:{port}/{behaviour}/"

    def handle_error(self, *_: Any) -> None:
        """Clients hang up: that is what they are tested for."""


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[Mirrors]:
    """A server that runs while it lasts."""
    with Mirrors(body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing = True
            server.shutdown()
            thread.join()


class _Handler(socketserver.StreamRequestHandler):
    server: Mirrors

    def handle(self) -> None:
        self.connection.settimeout(20)
        path = self.rfile.readline(4096).split()[1].decode()
        host = ""
        while line := self.rfile.readline(4096).strip():
            if line.lower().startswith(b"host:"):
                host = line[5:].strip().decode()
        self.server.requests.append((path, host))
        if path.startswith("http://"):  # asked as a proxy
            path = "/" + path.split("/", 3)[3]
        self._play(path.strip("/").split("/")[0], path)

    def _head(self, *fields: str, status: str = "200 OK") -> None:
        self.wfile.write("\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""]).encode())

    def _slowly(self, data: bytes, step: int, seconds: float) -> None:
        for start in range(0, len(data), step):
            if self.server.closing:
                return
            self.wfile.write(data[start : start + step])
            time.sleep(seconds)

    def _wait(self) -> None:
        for _ in range(400):
            if self.server.closing:
                return
            time.sleep(0.05)

    def _play(self, behaviour: str, path: str) -> None:
        body, length = self.server.body, f"Content-Length: {len(self.server.body)}"
        half = body[: len(body) // 2]
        match behaviour:
            case "404" | "500" | "204":
                self._head(status=f"{behaviour} So")
                self.wfile.write(b"" if behaviour == "204" else HTML)
            case "html":
                self._head()
                self.wfile.write(HTML)
            case "empty":
                self._head("Content-Length: 0")
            case "wrong":
                self._head(length)
                self.wfile.write(body[:-1] + bytes([body[-1] ^ 1]))
            case "one-more":
                self._head()
                self.wfile.write(body + b"\0")
            case "endless":
                self._head()
                while not self.server.closing:
                    self.wfile.write(body)
            case "endless-chunks":
                self._head("Transfer-Encoding: chunked")
                while not self.server.closing:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
            case "announces-less":
                self._head(f"Content-Length: {len(half)}")
                self.wfile.write(body)
            case "announces-more":
                self._head(f"Content-Length: {2 * len(body)}")
                self.wfile.write(half)
            case "announces-nonsense":
                self._head("Content-Length: -many")
                self.wfile.write(half)
            case "truncated":
                self._head(length)
                self.wfile.write(half)
            case "broken-chunks":
                self._head("Transfer-Encoding: chunked")
                self.wfile.write(b"%x\r\n%s\r\nnot a length\r\n" % (len(half), half))
            case "reset":
                self._head(length)
                self.wfile.write(half)
                self.wfile.flush()
                time.sleep(0.05)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "garbage":
                self.wfile.write(b"\0\1\2 this is no HTTP\r\n\r\n")
            case "hangs-up":
                pass
            case "silent":
                self._wait()
            case "stalls":
                self._head(length)
                self.wfile.write(half)
                self._wait()
            case "trickle":
                self._head(length)
                self._slowly(body, 10, 0.05)
            case "trickling-headers":
                self._slowly(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 400, 1, 0.05)
            case "other-host":
                self._head(f"Location: http://localhost:{self.server.server_address[1]}/good/x", status="302 Found")
            case "other-scheme":
                self._head("Location: ftp://127.0.0.1/x", status="302 Found")
            case "nowhere":
                self._head(status="302 Found")
            case "bad-address":
                self._head("Location: http://[bad/", status="302 Found")
            case "loop":
                self._head(f"Location: {path}x", status="307 Temporary Redirect")
            case "moved":
                self._head("Location: /good/x", status="301 Moved Permanently")
            case "slow":
                self._head(length)
                self._slowly(body, len(body) // 20 + 1, SLOW_SECONDS)
            case _:
                self._head(length)
                self.wfile.write(body)
