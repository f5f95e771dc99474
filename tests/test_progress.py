"""Progress: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import sys

import pytest

from parmesan_cagem import progress
from parmesan_cagem.progress import SECONDS_BETWEEN_LINES, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until it is moved: ``clock[0] += seconds``."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_plain_line_tells_count_rate_time_left_and_words(clock, capsys):
    with Progress(1000, "steps", "training") as bar:
        clock[0] += 20
        bar.advance(100, "F -90.12")
    shown = capsys.readouterr()
    assert shown.err == "training: 100/1000 steps, 5/s, 0:03:00 left  F -90.12\n"
    assert shown.out == ""


def test_plain_lines_come_seldom(clock, capsys):
    with Progress(1000, "steps", "training") as bar:
        for _ in range(100):
            clock[0] += 1
            bar.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 100 // (SECONDS_BETWEEN_LINES + 1)
    assert lines[0].startswith("training: 16/1000 steps, 1/s, 0:16:24 left")


def test_a_resumed_run_counts_what_was_done_but_not_in_the_rate(clock, capsys):
    with Progress(1000, "images", "classifying", done=500) as bar:
        clock[0] += 50
        bar.advance(100)
    assert capsys.readouterr().err.startswith("classifying: 600/1000 images, 2/s, 0:03:20 left")


def test_hours_left(clock, capsys):
    with Progress(10**6, "steps", "training") as bar:
        clock[0] += 100
        bar.advance(100)
    assert "1/s, 277:45:00 left" in capsys.readouterr().err


def test_said_lines_are_printed_at_once_and_as_they_are(capsys):
    with Progress(10, "steps", "training") as bar:
        bar.say("epoch 1: F -100%")
    assert capsys.readouterr().err == "epoch 1: F -100%\n"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["plain", "terminal"])
def test_quiet_prints_nothing(stream, clock, monkeypatch, capsys):
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(10, "steps", "training", quiet=True) as bar:
        clock[0] += 1000
        bar.advance(5, "F -90")
        bar.say("epoch 1")
    assert stderr.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_and_whole_lines(monkeypatch, capsys):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(10, "steps", "training", done=4) as bar:
        bar.advance(6, "F -90.12")
        bar.say("epoch 1: F -90")
    shown = stderr.getvalue()
    assert "training" in shown
    assert "10/10" in shown
    assert "\repoch 1: F -90\n" in shown or "\nepoch 1: F -90\n" in shown  # the bar is cleared first
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_is_no_bar(capsys):
    with Progress(10, "steps", "training") as bar:
        bar.advance(10, "F -90")
    assert capsys.readouterr().err == ""
