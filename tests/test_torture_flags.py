"""A short version of `python -m torture.flags`: a share of the single values, some mixtures, a few processes."""

from pathlib import Path

import pytest

from parmesan_cagem.errors import UserError
from torture import flags, flags_lines, flags_real
from torture.figures import Figures
from torture.flags_inside import Fault, world

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "results" / "runs" / "mnist-vae-short-s1-2026-11-23"  # its record; weights are not in git


@pytest.fixture(scope="module")
def judge():
    with world(RUN) as made:
        yield made


@pytest.mark.parametrize("command", flags_lines.commands(), ids=lambda command: command.title)
def test_a_share_of_all_lines_begins_or_is_refused_in_one_line(command, judge):
    found = Figures("flags")
    tried = list(flags_lines.singles(command))
    step = max(1, len(tried) // 40)
    ends = flags.sweep(judge, found, command, tried[::step])
    ends += flags.mixtures(judge, found, command, 25, seed=1)
    assert found.losses == []
    assert ends["refused"] > 10


def test_every_flag_of_every_command_is_fuzzed():
    names = {command.title: {flag.name for flag in command.flags} for command in flags_lines.commands()}
    assert len(names) == 14
    assert {"--labels", "--skip", "--name", "--data-dir", "--resume"} <= names["run_mnist.py"]
    assert {"--shard", "--merge", "", "--engine"} <= names["cagem evaluate"]
    assert {"--unverified-data", "--data-dir", ""} <= names["cagem data verify"]
    for command in flags_lines.commands():
        lines = list(flags_lines.singles(command))
        for flag in (flag for flag in command.flags if flag.names):
            assert sum(flag.name in line or any(w.startswith(f"{flag.name}=") for w in line) for line in lines) >= 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda *_: (_ for _ in ()).throw(ValueError("boom")), "ValueError"),
        (lambda *_: Path("written").touch() or (_ for _ in ()).throw(UserError("no")), "written"),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_fault_is_seen(wrong, told, judge, monkeypatch):
    command = flags_lines.commands()[0]
    monkeypatch.setattr("parmesan_cagem.pipeline.run", wrong)
    with pytest.raises(Fault, match=told):
        judge(command, ["--preset", "smoke"])


def test_help_is_quick_and_imports_nothing_heavy(tmp_path):
    found = Figures("flags")
    every = [command for command in flags_lines.commands() if command.title in ("run_mnist.py", "cagem evaluate")]
    flags_real.helps(found, tmp_path, every, tries=5)
    assert found.losses == []
    assert found.survived == 3
