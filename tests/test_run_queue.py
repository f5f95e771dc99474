"""The queue: what it reads, what it skips, how it keeps to its time. The runs are stand-ins of a few lines."""

import json
import time

import pytest

from parmesan_cagem import arguments, cli, run_queue
from parmesan_cagem.config import LATER
from parmesan_cagem.errors import UserError
from parmesan_cagem.run_queue import SCRIPTS
from parmesan_cagem.runfolder import RunFolder, is_held

# In place of run_mnist.py: notes how it was called, then does what the run's folder is named after.
STAND_IN = """
import json, pathlib, signal, sys, time
out, name = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--out", "--name"))
folder = pathlib.Path(out) / name
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "calls", "a") as calls:
    calls.write(("resume" if "--resume" in sys.argv else "new") + "\\n")
(folder / "config.json").touch()
(folder / "log.jsonl").write_text('{"versions": {}}\\n{"epoch": 1}\\n')
def stop(number, frame):
    (folder / "saved").touch()
    sys.exit(143)
if name.startswith("long"):
    signal.signal(signal.SIGTERM, stop)
if name.startswith("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if name.startswith(("long", "deaf")):
    (folder / "ready").touch()
    time.sleep(60)
sys.exit(3 if name.startswith("bad") else 0)
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Make the entries of a queue from run names."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "run_mnist.py").write_text(STAND_IN)
    monkeypatch.setattr(run_queue, "ROOT", tmp_path / "root")

    def make(*names, flags="--preset smoke"):
        path = tmp_path / "queue.txt"
        path.write_text("# first\n\n" + "".join(f"run_mnist.py {flags} --name {name}  # why\n" for name in names))
        return run_queue.read(path, tmp_path / "runs")

    return make


def outcomes(results):
    return [(result["name"], result["outcome"]) for result in results]


def calls(entry):
    return (entry.folder / "calls").read_text().split()


def finish(entry, **changes):
    """A record as a whole run leaves it."""
    entry.folder.mkdir(parents=True, exist_ok=True)
    record = {"epochs": entry.experiment.epochs, "config": entry.experiment.to_dict() | changes}
    (entry.folder / "record.json").write_text(json.dumps(record))
    (entry.folder / "config.json").write_text("{}")


def test_runs_in_order_and_a_failure_does_not_stop_the_next(queue):
    entries = queue("one", "bad", "two")
    results = run_queue.work(entries, time.monotonic() + 60, grace=1)
    assert outcomes(results) == [("one", "finished"), ("bad", "failed"), ("two", "finished")]
    assert [result["epochs"] for result in results] == [1, 1, 1]


def test_what_began_is_resumed_and_what_is_finished_or_failed_is_skipped(queue):
    entries = begun, done, failed = queue("begun", "done", "failed")
    begun.folder.mkdir(parents=True)
    (begun.folder / "config.json").touch()
    finish(done)
    failed.folder.mkdir()
    (failed.folder / "failure.json").touch()
    results = run_queue.work(entries, time.monotonic() + 60, grace=1)
    assert outcomes(results) == [("begun", "finished"), ("done", "finished before"), ("failed", "failed before")]
    assert calls(begun) == ["resume"]
    assert not (done.folder / "calls").exists()


@pytest.mark.parametrize("name", ["here", "bad"])
def test_what_another_process_has_at_work_is_passed_over(queue, monkeypatch, name):
    first, other = queue(name, "other")
    if name == "bad":  # it begins after we looked: ours is refused
        looks = iter([False, True])
        monkeypatch.setattr(run_queue, "is_held", lambda folder: next(looks) if folder == first.folder else False)
        results = run_queue.work([first, other], time.monotonic() + 60, grace=1)
    else:
        with RunFolder.create(first.folder, {}):
            results = run_queue.work([first, other], time.monotonic() + 60, grace=1)
        assert not (first.folder / "calls").exists()
    assert outcomes(results) == [(name, "at work elsewhere"), ("other", "finished")]


def test_a_run_whose_process_has_gone_is_held_by_nobody(queue):
    (entry,) = queue("n")
    assert not is_held(entry.folder)
    with RunFolder.create(entry.folder, {}):
        assert is_held(entry.folder)
    assert not is_held(entry.folder)


def test_a_record_of_before_a_setting_existed_counts(queue):
    (entry,) = queue("n")
    finish(entry)
    record = json.loads((entry.folder / "record.json").read_text())
    for name in LATER:
        del record["config"][name]
    (entry.folder / "record.json").write_text(json.dumps(record))
    assert entry.state == "finished"


@pytest.mark.parametrize("minutes", ["nan", "1", "0", "1e9"])
def test_a_time_in_which_nothing_could_begin_is_refused(capsys, tmp_path, minutes):
    (tmp_path / "queue.txt").write_text("run_mnist.py --preset smoke\n")
    assert cli.main(["queue", str(tmp_path / "queue.txt"), "--out", str(tmp_path), "--minutes", minutes]) == 2
    assert "give more than 2" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": {}}', '{"epochs": 2}'])
def test_a_record_that_cannot_be_read_is_none(queue, content):
    (entry,) = queue("n")
    finish(entry)
    (entry.folder / "record.json").write_text(content)
    assert entry.state == "started"


def test_a_torn_line_of_the_log_takes_no_epoch_away(queue):
    (entry,) = queue("n")
    finish(entry)
    (entry.folder / "log.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3, "F"')
    assert entry.epochs == 2


@pytest.mark.parametrize(("changes", "state"), [({"checkpoint_every": 7}, "finished"), ({"iw_samples": 3}, "started")])
def test_a_record_counts_if_its_numbers_are_those_asked_for(queue, changes, state):
    (entry,) = queue("n")
    finish(entry, **changes)
    assert entry.state == state
    (longer,) = queue("n", flags="--preset smoke --epochs 9")
    assert longer.state == "started"


def test_at_the_end_of_its_time_a_run_is_asked_to_save_and_nothing_else_begins(queue):
    entries = queue("long", "after")
    clock = time.monotonic()
    results = run_queue.work(entries, clock + 8, grace=3)
    assert time.monotonic() - clock < 8
    assert outcomes(results) == [("long", "stopped"), ("after", "not begun")]
    assert (entries[0].folder / "saved").exists()


def test_a_run_that_does_not_listen_is_killed_at_the_deadline(queue):
    clock = time.monotonic()
    assert outcomes(run_queue.work(queue("deaf"), clock + 5, grace=2)) == [("deaf", "killed")]
    assert 4.5 < time.monotonic() - clock < 8


def test_nothing_begins_in_the_last_moments(queue):
    assert outcomes(run_queue.work(queue("late"), time.monotonic() + 2, grace=2)) == [("late", "not begun")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train.py --labels 100", "begin with run_mnist.py or run_omniglot.py"),
        ("run_omniglot.py --labels 100 --clusters 20", "K must equal the 50 classes"),
        ("run_mnist.py --labels many", "invalid int value"),
        ("run_mnist.py --labels 100 --clusters 20", "K must equal"),
        ("run_mnist.py --out=elsewhere", "leave them"),
        ("run_mnist.py --help", "a line trains one run"),
        ("run_mnist.py --train-only", "a line trains one run to its record"),
        ("run_mnist.py --resume-if-begun", "leave them"),
        ("run_mnist.py --name 'a", "No closing quotation"),
        ("run_mnist.py --labels 100", "stands in the queue already"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    path = tmp_path / "queue.txt"
    path.write_text(f"run_mnist.py --labels 100\n{line}\n")
    with pytest.raises(UserError, match=f"queue.txt, line 2: .*{reason}"):
        run_queue.read(path, tmp_path)


def test_no_queue_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot read the queue"):
        run_queue.read(tmp_path / "absent", tmp_path)


def test_the_queue_of_the_project_is_the_papers_table(tmp_path):
    entries = run_queue.read(run_queue.ROOT / "tools" / "gpu_queue.txt", tmp_path)
    cells = [(entry.experiment.labels, entry.experiment.clusters) for entry in entries]
    assert cells == [(100, 10), (0, 10), (50, 10), (20, 10), (0, 20)]
    assert {entry.experiment.preset for entry in entries} == {"paper"}


def test_the_queue_of_the_units_is_one_schedule_with_three_seeds(tmp_path):
    entries = run_queue.read(run_queue.ROOT / "tools" / "units_queue.txt", tmp_path)
    assert {(e.experiment.model, e.experiment.labels, e.experiment.seed) for e in entries} == {
        (model, labels, seed)
        for model, labels in (("vae", 0), ("lvae", 0), ("cagem", 0), ("cagem", 100))
        for seed in (1, 2, 3)
    }
    free = {"model", "labels", "seed"}
    assert len({tuple((k, v) for k, v in e.experiment.to_dict().items() if k not in free) for e in entries}) == 1


@pytest.mark.parametrize(("outcomes_of", "status"), [(["finished", "finished before"], 0), (["finished", "failed"], 1)])
def test_the_command_says_what_became_of_every_run(monkeypatch, capsys, tmp_path, outcomes_of, status):
    results = [{"name": f"run{i}", "outcome": what, "epochs": 1, "of": 2} for i, what in enumerate(outcomes_of)]
    monkeypatch.setattr(run_queue, "work", lambda *given: results)
    (tmp_path / "queue.txt").write_text("run_mnist.py --model vae --preset smoke\n")
    assert cli.main(["queue", str(tmp_path / "queue.txt"), "--out", str(tmp_path)]) == status
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"run{i}: {what}, 1 of 2 epochs" for i, what in enumerate(outcomes_of)]
    assert ("1 of 2 runs are not finished" in err) == (status == 1)


def test_a_grid_is_a_queue_in_its_order(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(run_queue, "work", lambda entries, *_: seen.extend(entries) or [])
    (tmp_path / "g.yaml").write_text("runs: [{for: a, labels: [20, 50]}, {for: b, model: vae}]")
    words = ["queue", tmp_path / "g.yaml", "--preset", "smoke", "--out", tmp_path / "out", "--data-dir", tmp_path]
    assert cli.main([str(word) for word in words]) == 0
    assert [entry.experiment.model for entry in seen] == ["cagem", "cagem", "vae"]
    for entry in seen:
        script, *flags = entry.command
        e, job = arguments.parse(flags, SCRIPTS[script], script)
        assert (e, job.folder, job.data_dir) == (entry.experiment, entry.folder, tmp_path)


def test_commands_have_their_own_preset(capsys, tmp_path):
    (tmp_path / "queue.txt").write_text("run_mnist.py --model vae --preset smoke\n")
    assert cli.main(["queue", str(tmp_path / "queue.txt"), "--preset", "short"]) == 2
    assert "--preset short: the commands of" in capsys.readouterr().err
