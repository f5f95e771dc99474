"""The instruments of ``torture.soak`` on processes that leak and one that does not, and five epochs of a real run."""

import subprocess
import sys

import pytest

from torture import soak
from torture.figures import Figures

LEAKY = """
import json, sys, time
kept = []
for epoch in range(1, 13):
    time.sleep(0.15)
    if {memory}: kept.append(bytearray(b"x" * (1 << 20)))
    if {files}: kept.append(open("/dev/null"))
    print(json.dumps({{"epoch": epoch, "F": -1.0}}), file=open(sys.argv[1], "a"), flush=True)
time.sleep(0.3)
"""


@pytest.mark.parametrize(
    ("memory", "files", "said"), [(1, 0, "its memory grows by"), (0, 1, "open files grew"), (0, 0, None)]
)
def test_what_leaks_is_seen(memory, files, said, tmp_path, monkeypatch):
    monkeypatch.setattr(soak.checkpoint, "load", lambda _: type("Saved", (), {"arrays": {}}))
    log = tmp_path / "log.jsonl"
    program = LEAKY.format(memory=memory, files=files)
    process = subprocess.Popen([sys.executable, "-c", program, str(log)], text=True)
    samples = soak.watch(process, log, 60)
    wrong, _ = soak.judge(samples, log, 12)
    assert [said in one for one in wrong] == ([] if said is None else [True]), wrong


def test_a_log_with_a_hole_or_a_nan_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(soak.checkpoint, "load", lambda _: type("Saved", (), {"arrays": {}}))
    log, samples = tmp_path / "log.jsonl", soak.Samples([1, 2, 3, 4], [5] * 4, [6] * 4)
    log.write_text('{"epoch": 1, "F": -1.0}\n{"epoch": 2, "labelled": {"F": NaN}}\n{"epoch": 4, "F": -1.0}\n')
    wrong, _ = soak.judge(samples, log, 4)
    assert wrong == ["3 of 4 epochs in its log", "a number of its log is not finite"]


def test_five_epochs_of_a_real_run(tmp_path):
    figures = Figures("soak")
    soak.soak(figures, tmp_path, "xla", "q", 5, 1)
    # Seen from outside, quick epochs may pass unseen between two looks.
    assert all("times only" in one for one in figures.losses), figures.losses
    assert len(list(soak.epochs_of(tmp_path / "xla-q" / "log.jsonl"))) == 5
