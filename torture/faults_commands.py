"""What is played with whole commands: tables, figures, the report, downloads, and small runs from flags to record."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parmesan_cagem import cli
from parmesan_cagem.commands import figures
from parmesan_cagem.data import commands, mnist, omniglot
from torture.faults_judge import Scenario

Act = Callable[[Path], int]


def _cagem(*words: object) -> int:
    return cli.main([str(word) for word in words])


def _tables(folder: Path) -> int:
    return _cagem("tables", "--records", folder / "runs", "--out", folder / "out")


def _report(folder: Path) -> int:
    return _cagem("report", "--runs", folder / "runs", "--figures", folder / "figures", "--out", folder / "report.html")


def _recorded(folder: Path, bound: float = -80.0) -> None:
    import fake_runs

    shutil.rmtree(folder / "runs", ignore_errors=True)
    fake_runs.write(folder / "runs", fake_runs.record("one", bound=bound, labels=100))


def _reported(folder: Path, older: Act, bound: float = -80.0) -> None:
    _recorded(folder, -85.0)
    status = older(folder)
    assert status == 0
    _recorded(folder, bound)


def _figure(height: float) -> Act:
    """A small figure, by what draws the large ones."""

    def draw(folder: Path) -> int:
        from parmesan_cagem.report import style

        studio = figures._Studio(folder / "out")
        studio.draw("figure5", "A figure.", [], lambda: style.new(0.5, height))
        studio.write_captions()
        return 0

    return _as_cagem(draw)


def _as_cagem(act: Act) -> Act:
    """What ``cagem`` makes of errors, around something that is no command."""

    def status(folder: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figures, "run", lambda *_: act(folder))
            return _cagem("figures", folder)

    return status


class _Mirror(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: standard error is what is looked at."""


def mirror(folder: Path) -> str:
    """The address of a server of ``folder``, in a process of its own, which ends with this one."""
    handler = functools.partial(_Mirror, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who fails leaves in mid-download
    parent = os.getpid()
    if os.fork() == 0:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while os.getppid() == parent:
            threading.Event().wait(1)
        os._exit(0)
    server.server_close()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def _fetch(address: str) -> Act:
    def fetch(folder: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("CAGEM_DATA", raising=False)
            patch.setenv("XDG_CACHE_HOME", str(folder))
            patch.setattr(mnist, "MIRRORS", (address,))
            return _as_cagem(lambda _: print(commands.fetch("mnist")) or 0)(folder)

    return fetch


def _damaged(folder: Path) -> None:
    """A cache in which one file is damaged: that one is fetched."""
    (folder / "cagem").mkdir()
    shutil.copytree(Path(os.environ["CAGEM_DATA"]) / "mnist", folder / "cagem" / "mnist")
    names = [f"{name}.gz" for name in mnist.FILES]
    for path in (folder / "cagem" / "mnist").iterdir():
        path.chmod(0o644)
        if path.name not in names:
            path.unlink()
    (folder / "cagem" / "mnist" / names[-1]).write_bytes(b"damaged")


def _omniglot(folder: Path) -> int:
    from data import omniglot_files

    with pytest.MonkeyPatch.context() as patch:
        omniglot_files.alone(patch, folder)
        omniglot_files.known_release(patch)
        return _as_cagem(lambda _: print(omniglot.load(folder / "zips").sha256) or 0)(folder)


def _zipped(folder: Path) -> None:
    from data import omniglot_files

    omniglot_files.write_zips(folder / "zips", omniglot_files.release())


def _stale(folder: Path) -> None:
    """The cache is of other arrays."""
    _zipped(folder)
    _omniglot(folder)
    (cache,) = (folder / "cache" / "cagem" / "omniglot").glob("*.npz")
    cache.write_bytes(cache.read_bytes()[:-100])


VAE = ("--model", "vae", "--labels", "0")  # of two layers, for it must have prices


def _called(*words: object) -> int:
    import small_runs

    status, out, err = small_runs.called(*words)
    print(out, end="")
    print(err, end="", file=sys.stderr)
    return int(status)


def _run(*flags: object) -> Act:
    import small_runs

    return lambda folder: _called("run_mnist.py", *small_runs.RUN, *VAE, *flags, "--out", folder)


def _command(command: str, *flags: object) -> Act:
    return lambda folder: _called("cagem", command, folder / "run", *flags, "--no-progress")


def light() -> Iterator[Scenario]:
    """Commands of some tens of milliseconds."""
    yield Scenario("tables", _tables, lambda folder: _reported(folder, _tables))
    yield Scenario("tables, the first", _tables, _recorded, thorough=False)
    yield Scenario("report", _report, lambda folder: _reported(folder, _report), thorough=False, leaves_out=True)
    yield Scenario("report, the first", _report, _recorded, thorough=False, leaves_out=True)
    yield Scenario("figures", _figure(0.7), lambda folder: _figure(0.5)(folder) and None, thorough=False)
    yield Scenario("figures, the first", _figure(0.7), thorough=False)
    caches = ("zips/images_background.zip", "zips/images_evaluation.zip")
    yield Scenario("omniglot", _omniglot, _stale, thorough=False, enough=caches)
    yield Scenario("omniglot, the first", _omniglot, _zipped, thorough=False, enough=caches)


def heavy(trained: Path) -> Iterator[Scenario]:
    """Downloads of 11 MB, and runs of a second.

    Parameters
    ----------
    trained : Path
        Made: a run without an evaluation, in ``run``.
    """
    import small_runs

    small_runs.digits()  # loaded once, for all children
    address = mirror(Path(os.environ["CAGEM_DATA"]) / "mnist")
    yield Scenario("download", _fetch(address), _damaged, thorough=False)
    yield Scenario("download, the first", _fetch(address), thorough=False)
    status = _run("--train-only")(trained)
    assert status == 0

    def copy(*acts: Act) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            shutil.copytree(trained, folder, dirs_exist_ok=True)
            assert not any(act(folder) for act in acts)

        return prepare

    other = _command("evaluate", "--iw-samples", "5")
    shard, second = (_command("evaluate", "--shard", f"{i}/2") for i in (1, 2))
    prices = _command("prices", "--outer", "2", "--inner", "2")
    yield Scenario("evaluate", _command("evaluate"), copy(other), thorough=False)
    yield Scenario("evaluate, the first", _command("evaluate"), copy(), thorough=False)
    yield Scenario("shard", shard, copy(_command("evaluate", "--shard", "1/2", "--iw-samples", "5")), thorough=False)
    yield Scenario("shard, the first", shard, copy(), thorough=False)
    yield Scenario("merge", _command("evaluate", "--merge", "2"), copy(shard, second), thorough=False)
    earlier = _command("prices", "--outer", "3", "--inner", "2")
    yield Scenario("prices", prices, copy(_command("evaluate"), earlier), thorough=False)
    yield Scenario(
        "run, gone on with", _run("--resume", "--epochs", "2"), copy(_command("evaluate")), thorough=False, steps=True
    )
    again = _run("--resume-if-begun")
    yield Scenario("run", again, again=again, thorough=False, steps=True)
