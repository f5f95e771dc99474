"""A terminal, a pipe or a log that goes away: training goes on or saves, and every exit status is the right one."""

import contextlib
import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runs import log_of
from small_runs import RUN

from parmesan_cagem import checkpoint, cli, progress, records
from parmesan_cagem.commands import units as command
from parmesan_cagem.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
MANY = 150  # epochs whose lines a terminal does not hold: when the first are read, the last are not printed


# A terminal


def hung_up(out, epochs, ignored):
    """A run whose terminal closes after its second epoch; its exit status. ``ignored``: it was begun with nohup."""
    flags = [flag for flag in RUN if flag != "--no-progress"]
    flags += ["--epochs", str(epochs), "--checkpoint-every", "1000", "--labels", "20", "--out", str(out)]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        command = [sys.executable, str(ROOT / "tests" / "small_runs.py"), "run_mnist.py", *flags]
        os.execv(command[0], command)  # noqa: S606  this interpreter, without a shell
    seen = b""
    with contextlib.suppress(OSError):  # it ended
        while b"epoch 2:" not in seen:
            seen += os.read(terminal, 1024)
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert b"epoch 2:" in seen, seen
    return status


def test_a_run_outlives_its_terminal(tmp_path):
    status = hung_up(tmp_path, 8, ignored=True)
    assert len(log_of(tmp_path / "run")) == 8
    assert records.read(tmp_path / "run" / "record.json")["epochs"] == 8
    assert status == 2  # all is done, and the results could not be printed


def test_a_terminal_that_hangs_up_saves_the_moment(tmp_path):
    assert hung_up(tmp_path, MANY, ignored=False) == 129
    saved = checkpoint.load(tmp_path / "run").attributes
    assert 2 <= saved["epoch"] < MANY
    assert saved["epoch"] == len(log_of(tmp_path / "run"))


@pytest.mark.parametrize("gone", ["terminal", "pipe", "full disk"])
def test_progress_that_nobody_sees_stops_nothing(gone, monkeypatch):
    if gone == "terminal":
        other, end = pty.openpty()
    elif gone == "pipe":
        other, end = os.pipe()
    else:
        other, end = os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
    stream = os.fdopen(end, "w", buffering=1)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Progress(3, "steps", "training") as bar:
            assert (bar._bar is not None) == (gone == "terminal")
            os.close(other)
            for epoch in range(3):
                bar.advance(1, "F -90")
                bar.say(f"epoch {epoch}")
    with pytest.raises(OSError, match=r".") as raised:  # it really was gone
        print("epoch", file=stream, flush=True)
    assert raised.value.errno in (errno.EIO, errno.EPIPE, errno.ENOSPC)
    with contextlib.suppress(OSError):
        stream.close()


def test_a_log_that_has_room_again_gets_the_next_lines(monkeypatch):
    class Log:
        lines, full = "", True

        def write(self, text):
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.lines += text

        def isatty(self):
            return False

        def flush(self):
            pass

    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    with Progress(3, "steps", "training") as bar:
        bar.say("epoch 1")
        log.full = False
        bar.say("epoch 2")
    assert log.lines == "epoch 2\n"


# Exit statuses


def shell(line):
    """Exit status of the last command but ``head``, and all that was printed."""
    line = line.replace("run_mnist.py", f"{sys.executable} run_mnist.py")
    line = line.replace("cagem", f"{sys.executable} -m parmesan_cagem")
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


FULL = "standard output: No space left on device; send it elsewhere\n"


@pytest.mark.parametrize(
    ("line", "ending"),
    [
        ("run_mnist.py --labels 3 2>/dev/full", (2, "", "")),
        ("run_mnist.py --labels 3 2>&-", (2, "", "")),
        ("cagem units 2>/dev/full", (2, "", "")),
        ("run_mnist.py --help >/dev/full", (2, "", f"run_mnist.py: {FULL}")),
        ("cagem --help >/dev/full", (2, "", f"cagem: {FULL}")),
        ("cagem plan --json >/dev/full", (2, "", f"cagem: {FULL}")),
        ("cagem plan >/dev/full 2>&1", (2, "", "")),
        ("cagem plan >&-", (0, "", "")),
        ("run_mnist.py --help | true", (141, "", "")),
        ("cagem plan --json | true", (141, "", "")),
    ],
)
def test_a_stream_that_is_gone_makes_no_traceback_and_no_other_status(line, ending):
    assert shell(line) == ending


@pytest.fixture
def job(monkeypatch):
    """A function: what ``cagem units`` does, and its exit status."""

    def run(work):
        monkeypatch.setattr(command, "run", lambda args, signals: work())
        return cli.main(["units", "somewhere"])

    return run


class Full:
    """A standard output on a full disk."""

    def __init__(self, error=errno.ENOSPC):
        self.error = error

    def write(self, text):
        raise OSError(self.error, os.strerror(self.error))

    def flush(self):
        pass


def test_only_standard_output_is_told_as_such(job, monkeypatch, capsys):
    def fail():
        raise OSError(errno.EIO, "Input/output error")

    def left():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(OSError, match="Input/output error"):
        job(fail)
    with pytest.raises(BrokenPipeError):
        job(left)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(errno.EIO))
        assert job(lambda: print("results")) == 2
    assert capsys.readouterr().err == "cagem: standard output: Input/output error; send it elsewhere\n"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full(errno.EPIPE))
        assert job(lambda: print("results")) == 141
    assert capsys.readouterr().err == ""


def test_the_streams_are_what_they_were_afterwards(job):
    before = sys.stdout, sys.stderr
    assert job(lambda: None) == 0
    assert (sys.stdout, sys.stderr) == before
