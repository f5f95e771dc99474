"""Command lines for :mod:`torture.flags`, made from the parsers: whatever flag is there is fuzzed, a later one too."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from parmesan_cagem import arguments, cli

RUNS = {"run_mnist.py": "mnist", "run_omniglot.py": "omniglot"}
NUMBERS = (
    *("0", "-0", "-1", "1", "2", "3", "7", "10", "100", "500", "1_000", "+5", " 5", "٣", "0x10", "1e2", "0.5", "1.0"),
    *("nan", "-nan", "inf", "-inf", "1e400", "1e39", "1e38", "1e-39", "1e-400", "0.9999999999", "1e-8"),
    *("2147483648", "4294967295", "4294967296", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400),
    *("9" * 4300, "9" * 5000, "paper:1e400", "adgm:1e308", "adgm:", "paper:nan", ":1", "adgm:1:2", "-", "--"),
)
WORDS = (
    *("", " ", "x", "é", "Ω→𝔸", "\u202e", "a\nb", "a\rb", "\t", "\x1b[2J", "a\0b", "\udcff", "a\udcc3", "x" * 300),
    *("x" * 5000, "%s", "%(prog)s", "{}", "${HOME}", "$(id)", "`id`", "; id", "| id", "<b>&amp;", "'", '"', "\\"),
    *("@queue.txt", "-h", "--help", "--", "-", "None", "true", "[]", "a/b", "a,b", "*", "?"),
)
PLACES = (
    *(".", "..", "./", "runs", "runs/", "runs/real", "runs/bare", "runs/evil", "folder", "file", "file/x", "none/x"),
    *("fifo", "fifo/x", "dangling", "dangling/x", "loop", "loop/x", "secret", "locked", "locked/x", "record.json"),
    *("queue.txt", "queue-bad.txt", "queue-long.txt", "grid.yaml", "grid-huge.yaml", "grid-bad.yaml", "broken.json"),
    *("nan.json", "deep.json", "list.json", "binary", "with\nline", "\udcff", "/dev/null", "/dev/full", "/proc/none/x"),
    *("/dev/null/x", "~", "runs/real/record.json", "data", "socket"),
)
EVERY = tuple(dict.fromkeys((*NUMBERS, *WORDS, *PLACES)))


@dataclass(frozen=True)
class Flag:
    """A flag, or a positional word, as its parser knows it."""

    names: tuple[str, ...]
    kind: Any
    takes: bool
    many: bool
    choices: tuple[str, ...]

    @property
    def name(self) -> str:
        """The first spelling; empty for a positional word."""
        return self.names[0] if self.names else ""


@dataclass(frozen=True)
class Command:
    """A program with its fixed first words, and every flag of its parser."""

    program: str
    first: tuple[str, ...]
    usual: tuple[str, ...]  # what makes a line sound, and small
    flags: tuple[Flag, ...]

    @property
    def title(self) -> str:
        """``run_mnist.py``, ``cagem evaluate``."""
        return " ".join((self.program, *self.first))


USUAL = {
    "evaluate": ("runs/real",),
    "prices": ("runs/real",),
    "units": ("runs/real",),
    "compare": ("runs/real", "runs/real"),
    "publish": ("runs/real",),
    "queue": ("queue.txt", "--minutes", "3"),
    "plan": ("grid.yaml",),
    "report": ("--runs", "runs", "--figures", "folder"),
    "figures": ("--runs", "runs"),
    "tables": ("--records", "runs/bare"),
}


def commands() -> tuple[Command, ...]:
    """Every command of the package."""
    smoke = ("--preset", "smoke", "--no-progress")
    found = [Command(p, (), smoke, _flags(arguments._parser(d, p))) for p, d in RUNS.items()]
    (groups,) = (a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in groups.choices.items():
        inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action, below in inner[0].choices.items() if inner else [("", parser)]:
            first = (name, action) if action else (name,)
            found.append(Command("cagem", first, USUAL.get(name, ()), _flags(below)))
    return tuple(found)


def _flags(parser: argparse.ArgumentParser) -> tuple[Flag, ...]:
    found = []
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            choices = action.choices or (action.metavar or "").strip("{}").split(",") * ("{" in str(action.metavar))
            many = action.nargs in ("+", "*")
            found.append(
                Flag(tuple(action.option_strings), action.type, action.nargs != 0, many, tuple(map(str, choices)))
            )
    return tuple(found)


def singles(command: Command) -> Iterator[tuple[str, ...]]:
    """Each flag with each value, the rest of the line sound; and each without one, cut short, twice, with ``=``."""
    for flag in command.flags:
        yield (*command.first, *command.usual, *flag.names[:1])
        for value in EVERY if flag.takes else ("", "1"):
            shown = (f"{flag.name}={value}",) if flag.names and value[:1] == "-" else (*flag.names[:1], value)
            rest = command.usual if flag.names or not command.usual else command.usual[1:]
            yield (*command.first, *rest, *shown)
        for name in flag.names:
            yield (*command.first, *command.usual, f"{name}=", name)
            yield (*command.first, *command.usual, name[:-1])
            yield (*command.first, *command.usual, name.upper())


def lines(command: Command) -> st.SearchStrategy[tuple[str, ...]]:
    """Lines of several flags, each with a value that fits, an extreme one, or any text at all."""
    text = st.text(st.characters(exclude_characters="/", exclude_categories=()), max_size=12)

    @st.composite
    def line(draw: st.DrawFn) -> tuple[str, ...]:
        words: list[str] = list(command.first)
        wild = draw(st.sampled_from((0.0, 0.1, 0.5)))  # most lines must be nearly sound, or only argparse is tried
        if draw(st.integers(0, 9)) or not wild:
            words += command.usual
        for flag in draw(st.lists(st.sampled_from(command.flags), max_size=6)):
            fits = _fitting(flag)
            odd = st.one_of(st.sampled_from(EVERY), text)
            for _ in range(draw(st.integers(1, 2)) if flag.many else 1):
                value = draw(odd) if draw(st.floats(0, 1)) < wild else draw(fits)
                if not flag.names:
                    words.append(value)
                    continue
                name = draw(st.sampled_from(flag.names))
                if draw(st.floats(0, 1)) < wild / 5:
                    name = name[: draw(st.integers(1, len(name)))]
                if not flag.takes:
                    words.append(name if draw(st.floats(0, 1)) >= wild / 5 else f"{name}={value}")
                else:
                    words += [f"{name}={value}"] if draw(st.booleans()) else [name, value]
        if wild and draw(st.floats(0, 1)) < wild / 5:
            words.insert(draw(st.integers(0, len(words))), draw(st.one_of(st.sampled_from(EVERY), text)))
        return tuple(words)

    return line()


def _fitting(flag: Flag) -> st.SearchStrategy[str]:
    if flag.choices:
        return st.sampled_from(flag.choices)
    if flag.kind is int:
        return st.one_of(st.sampled_from(("0", "1", "2", "10", "20", "100")), st.integers(0, 600).map(str))
    if flag.kind is float:
        return st.one_of(st.sampled_from(("0.001", "0.5", "1", "0", "255")), st.floats(0, 300).map(repr))
    if flag.kind is arguments.path:
        return st.sampled_from(PLACES[:8])
    return st.sampled_from(("10", "same", "paper:0.1", "adgm:0.1", "run", "1/2", "2/3", "3"))


def furnish(top: Path, run: Path) -> Path:
    """A folder with everything that :data:`PLACES` names; returns what is to be the current folder.

    Parameters
    ----------
    top : Path
        A new folder.
    run : Path
        A run's folder with a record, copied as ``runs/real``.
    """
    here = top / "here"
    for name in ("runs/real", "runs/bare", "runs/evil", "folder", "data", "locked"):
        (here / name).mkdir(parents=True)
    for path in sorted(run.iterdir()):
        if path.is_file() and path.name != "lock":
            (here / "runs/real" / path.name).write_bytes(path.read_bytes())
    record = (run / "record.json").read_bytes()
    (here / "runs/bare/record.json").write_bytes(record)
    (here / "record.json").write_bytes(record)
    for name in ("config.json", "record.json", "log.jsonl"):
        (here / "runs/evil" / name).write_bytes(b'{"epoch": "\\u0000", "config": [NaN]}\n')
    contents: dict[str | bytes, bytes] = {
        "file": b"text\n",
        "secret": b"{}",
        "queue.txt": b"run_mnist.py --preset smoke --labels 20  # one\n",
        "queue-bad.txt": "run_mnist.py --labels 7 --name 'a\n\xff".encode("latin1"),
        "queue-long.txt": b"run_mnist.py --labels " + b"9" * 5000 + b"\n",
        "grid.yaml": b"runs:\n- {for: Table 1, labels: [20, 100]}\n",
        "grid-huge.yaml": b"runs:\n- {for: T, learning_rate: 1" + b"0" * 400 + b", seed: 0x" + b"f" * 4000 + b"}\n",
        "grid-bad.yaml": b"runs: &a [*a, 2026-13-01, !!python/object/apply:os.system [id]]\n",
        "broken.json": b'{"a": ',
        "nan.json": b'{"devices": {"x": NaN}, "tables": {"table1": 1e400}}',
        "deep.json": b"[" * 100_000,
        "list.json": b"[]",
        "binary": bytes(range(256)) * 4,
        "with\nline": b"{}",
        b"\xff": b"{}",
    }
    for name, content in contents.items():
        with open(os.path.join(os.fsencode(here), os.fsencode(name)), "wb") as file:
            file.write(content)
    os.mkfifo(here / "fifo")
    os.mknod(here / "socket", 0o140600)
    (here / "dangling").symlink_to("nowhere")
    (here / "loop").symlink_to("loop")
    (here / "secret").chmod(0)
    (here / "locked").chmod(0)
    return here


def shown(line: Sequence[str]) -> str:
    """A line as a message can hold it."""
    text = " ".join(ascii(word) if len(word) < 60 else f"{word[:20]!a}...({len(word)})" for word in line)
    return text if len(text) < 400 else text[:400] + "..."
