"""Downloads from mirrors that misbehave, played by a local server; and reading files with distrust."""

import gzip
import hashlib
import http.server
import logging
import os
import re
import socket
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parmesan_cagem.data.fetch import RemoteFile, fetch, read_gz, user_cache
from parmesan_cagem.data.mirror import Limits
from parmesan_cagem.errors import UserError

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT, mtime=0)
FILE = RemoteFile("set.gz", len(PACKED), hashlib.sha256(PACKED).hexdigest())
OTHER = RemoteFile("other.gz", 5, hashlib.sha256(b"other").hexdigest())
HTML = b"\n<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>"
FIX = "fix: bring your own"


class Handler(http.server.BaseHTTPRequestHandler):
    """Each mirror is a folder of the server, named after its behaviour."""

    def do_GET(self) -> None:
        mirror, name = self.path.strip("/").split("/")
        self.server.requests.append(f"{mirror}/{name}")  # type: ignore[attr-defined]
        body = {"set.gz": PACKED, "other.gz": b"other"}[name]
        status, announced, extra = 200, None, {}
        match mirror:
            case "404" | "500":
                status, body = int(mirror), HTML
            case "html":
                body = HTML
            case "empty":
                body = b""
            case "short":
                body = body[:-1]
            case "truncated":
                announced, body = len(body), body[: len(body) // 2]
            case "wrong":
                body = body[:-1] + bytes([body[-1] ^ 1])
            case "long":
                body = body + b"\0"
            case "encoded":
                extra = {"Content-Encoding": "gzip"}
            case "silent":
                time.sleep(5)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for key, value in extra.items():
            self.send_header(key, value)
        self.end_headers()
        step = 10 if mirror == "trickle" else len(body) or 1
        for start in range(0, len(body), step):
            try:
                self.wfile.write(body[start : start + step])
            except OSError:
                return  # the client hung up
            if mirror == "trickle":
                time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    requests: list[str]

    def mirror(self, behaviour: str) -> str:
        port = self.server_port
        if behaviour == "dead":  # a port that was free a moment ago
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        return f"http://127.0.0.1:{port}/{behaviour}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


BAD_MIRRORS = [
    pytest.param("dead", "connection failed for set.gz", id="dead"),
    pytest.param("404", "HTTP status 404 for set.gz", id="404"),
    pytest.param("500", "HTTP status 500 for set.gz", id="500"),
    pytest.param("html", "sent an HTML page as set.gz", id="html"),
    pytest.param("empty", "set.gz ends after 0 of", id="empty"),
    pytest.param("short", f"set.gz ends after {FILE.size - 1} of {FILE.size} bytes", id="short"),
    pytest.param("truncated", "connection failed for set.gz", id="truncated"),
    pytest.param("wrong", "set.gz has the wrong SHA-256", id="wrong hash"),
    pytest.param("long", f"set.gz is longer than its {FILE.size} bytes", id="long"),
    pytest.param("silent", "no answer in time for set.gz", id="silent"),
    pytest.param("trickle", "set.gz took more than 0.5 s", id="trickle"),
]
SLOW = {"silent": Limits(read=0.5), "trickle": Limits(file=0.5)}


@pytest.mark.parametrize(("behaviour", "reason"), BAD_MIRRORS)
def test_a_bad_mirror_is_reported_and_the_next_one_used(
    behaviour: str,
    reason: str,
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, folder = server.mirror(behaviour), tmp_path / "cache" / "set"
    started = time.monotonic()
    fetch([FILE], [bad, server.mirror("good")], folder, FIX, SLOW.get(behaviour))
    assert time.monotonic() - started < 10  # the whole trickle takes 15 s
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert warning.startswith(f"mirror {bad}: {reason}")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("set.gz", PACKED)]


@pytest.mark.parametrize(("behaviour", "reason"), BAD_MIRRORS)
def test_when_all_mirrors_fail_one_line_says_why_and_the_cache_stays_empty(
    behaviour: str, reason: str, server: Server, tmp_path: Path
) -> None:
    mirrors = [server.mirror("404"), server.mirror(behaviour)]
    with pytest.raises(UserError, match="no mirror gave set") as caught:
        fetch([FILE], mirrors, tmp_path, FIX, SLOW.get(behaviour))
    message = str(caught.value)
    assert f"{mirrors[1]}: {reason}" in message
    assert message.startswith("no mirror gave set.gz (")
    assert message.endswith(f"; {FIX}")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_gz_served_as_encoded_is_kept_packed(server: Server, tmp_path: Path) -> None:
    fetch([FILE], [server.mirror("encoded")], tmp_path, FIX)
    assert (tmp_path / "set.gz").read_bytes() == PACKED


def test_a_file_of_unknown_size_is_known_by_its_md5(server: Server, tmp_path: Path) -> None:
    md5 = hashlib.md5(PACKED).hexdigest()
    fetch([RemoteFile("set.gz", 10 * len(PACKED), "", md5)], [server.mirror("good")], tmp_path, FIX)
    assert (tmp_path / "set.gz").read_bytes() == PACKED
    (tmp_path / "set.gz").unlink()
    with pytest.raises(UserError, match=r"set.gz has the wrong MD5"):
        fetch([RemoteFile("set.gz", 10 * len(PACKED), "", md5)], [server.mirror("wrong")], tmp_path, FIX)
    with pytest.raises(UserError, match=r"set.gz is longer than its 100 bytes"):
        fetch([RemoteFile("set.gz", 100, "", md5)], [server.mirror("good")], tmp_path, FIX)


def test_a_bad_mirror_is_tried_last_for_the_next_file(server: Server, tmp_path: Path) -> None:
    fetch([FILE, OTHER], [server.mirror("404"), server.mirror("good")], tmp_path, FIX)
    assert server.requests == ["404/set.gz", "good/set.gz", "good/other.gz"]


def test_files_in_place_are_kept_and_damaged_ones_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "other.gz").write_bytes(b"other")
    (tmp_path / "set.gz").write_bytes(PACKED[:-1])
    fetch([OTHER, FILE], [server.mirror("good")], tmp_path, FIX)
    assert server.requests == ["good/set.gz"]
    assert (tmp_path / "set.gz").read_bytes() == PACKED


def test_a_damaged_file_in_place_survives_a_failed_download_as_it_was(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(b"old")
    with pytest.raises(UserError):
        fetch([FILE], [server.mirror("wrong")], tmp_path, FIX)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("set.gz", b"old")]


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_bytes(b"")
    with pytest.raises(UserError, match=rf"^{re.escape(str(folder))}/set.gz: cannot write the cache \(.+\); {FIX}$"):
        fetch([FILE], [server.mirror("good")], folder, FIX)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"XDG_CACHE_HOME": "/x/cache", "HOME": "/home/u"}, "/x/cache/cagem", id="XDG"),
        pytest.param({"HOME": "/home/u"}, "/home/u/.cache/cagem", id="home"),
        pytest.param({"XDG_CACHE_HOME": "", "HOME": "/home/u"}, "/home/u/.cache/cagem", id="XDG empty"),
        pytest.param({"XDG_CACHE_HOME": "a/b", "HOME": "/home/u"}, "/home/u/.cache/cagem", id="XDG relative"),
    ],
)
def test_user_cache(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert user_cache() == Path(expected)


def test_user_cache_of_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for an unknown user id
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert user_cache() == tmp_path / "cagem"


@pytest.mark.parametrize("level", [0, 1, 9])
def test_read_gz_accepts_any_compression_of_the_content(level: int, tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(gzip.compress(CONTENT, level))
    assert read_gz(tmp_path / "set.gz", len(CONTENT), SHA256) == CONTENT


def _damaged() -> bytes:
    stored = bytearray(gzip.compress(CONTENT, 0))  # level 0 stores: a flipped bit breaks only the CRC
    stored[1000] ^= 1
    return bytes(stored)


BAD_FILES = [
    pytest.param(b"", "truncated: the file is empty", id="empty"),
    pytest.param(HTML, "not a gzip file but looks like an HTML page", id="html"),
    pytest.param(b"<html>", "not a gzip file but looks like an HTML page", id="html without doctype"),
    pytest.param(b"\0\0\x08\x03" + CONTENT, "looks like an IDX file; fix: gzip it", id="unpacked IDX"),
    pytest.param(b"plain text", "not a gzip file; fix", id="other"),
    pytest.param(PACKED[:5], "truncated gzip file", id="cut in the header"),
    pytest.param(PACKED[:-100], "truncated gzip file", id="cut in the data"),
    pytest.param(PACKED[:-1], "truncated gzip file", id="cut in the checksum"),
    pytest.param(_damaged(), r"damaged gzip file .*incorrect data check", id="flipped bit"),
    pytest.param(PACKED[:10] + b"\xff" * 200, r"damaged gzip file \(Error -3", id="invalid data"),
    pytest.param(PACKED + b"garbage", "damaged gzip file", id="garbage after the end"),
    pytest.param(gzip.compress(CONTENT[:-1]), "wrong length: unpacks to only 102399", id="one byte short"),
    pytest.param(gzip.compress(CONTENT + b"\0"), "unpacks to more bytes, not 102400", id="long"),
    pytest.param(PACKED + gzip.compress(b"\0"), "wrong length: unpacks to more", id="a second member"),
    pytest.param(
        gzip.compress(CONTENT[::-1]),
        f"wrong checksum: SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}, not {SHA256}",
        id="other content",
    ),
]


@pytest.mark.parametrize(("content", "says"), BAD_FILES)
def test_read_gz_says_what_is_wrong_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "set.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: .*{says}") as caught:
        read_gz(path, len(CONTENT), SHA256)
    assert "; fix: " in str(caught.value)
    assert "\n" not in str(caught.value)


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(Path.mkdir, "not a regular file", id="directory"),
        pytest.param(os.mkfifo, "not a regular file", id="pipe"),
        pytest.param(lambda path: None, "not a regular file", id="gone"),
    ],
)
def test_read_gz_refuses_what_is_no_file(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    make(tmp_path / "set.gz")
    with pytest.raises(UserError, match=f"set.gz: {says}; fix"):
        read_gz(tmp_path / "set.gz", len(CONTENT), SHA256)


@pytest.mark.parametrize("method", ["is_file", "open"])  # the tests may run as root, whom chmod does not stop
def test_read_gz_names_what_it_may_not_read(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set.gz").write_bytes(PACKED)
    monkeypatch.setattr(Path, method, _refuse)
    with pytest.raises(UserError, match=r"set.gz: cannot be read \(Permission denied\); fix its permissions"):
        read_gz(tmp_path / "set.gz", len(CONTENT), SHA256)


def test_an_error_without_a_number_has_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("the server went away")  # its strerror is None

    (tmp_path / "set.gz").write_bytes(PACKED)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"set.gz: cannot be read \(the server went away\); fix"):
        read_gz(tmp_path / "set.gz", len(CONTENT), SHA256)


def test_a_gzip_bomb_is_left_packed(tmp_path: Path) -> None:
    path = tmp_path / "set.gz"
    path.write_bytes(gzip.compress(bytes(1 << 24), 9) * 16)  # 256 MiB from 256 KiB
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to more bytes, not 1000000"):
            read_gz(path, 1_000_000, SHA256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
