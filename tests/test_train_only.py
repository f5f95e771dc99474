"""``--train-only`` and ``--resume-if-begun``: training that a workflow may repeat at will, evaluated later."""

import json
import shlex
import shutil

import pytest
from runs import arrays_of, assert_same_arrays, log_of
from small_runs import RUN, called, train

from parmesan_cagem import arguments, records
from parmesan_cagem.signals import Stopped

ANYHOW = [*RUN, "--labels", "20", "--train-only", "--resume-if-begun"]


class Dying:
    """An engine whose process is stopped while it compiles."""

    name, precision, device, rows_per_call = "c", "float32", "a toy", 40

    def function(self, *_):
        raise Stopped(15)

    steps = function


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    printed = train(out, "--labels", "20", "--train-only")
    return out / "run", printed


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run")


def go_on(run, *flags, engine=None):
    status, printed, told = called("run_mnist.py", *ANYHOW, *flags, "--out", run.parent, engine=engine)
    assert status == 0, told
    return printed


def test_it_stops_before_the_evaluation_which_its_command_does(trained, tmp_path):
    folder, printed = trained
    assert printed == f"trained    1 epochs; evaluate with: cagem evaluate {folder}\n"
    assert not {path.name for path in folder.iterdir()} & {"record.json", "samples.png", "evaluation.h5"}
    train(tmp_path, "--labels", "20")
    run = shutil.copytree(folder, tmp_path / "later" / "run")
    assert called("cagem", "evaluate", run, "--no-progress")[0] == 0
    ours, whole = (records.read(path / "record.json") for path in (run, tmp_path / "run"))
    for key in ("bounds", "confusion", "config", "label_indices_sha256", "steps", "warnings"):
        assert ours[key] == whole[key], key


def test_what_is_trained_is_known_without_compiling(run):
    before = (run / "log.jsonl").read_bytes()
    printed = go_on(run, engine=Dying())
    assert printed == f"trained    1 epochs; evaluate with: cagem evaluate {run}\n"
    assert (run / "log.jsonl").read_bytes() == before


def test_the_command_names_settings_that_changed_after_the_training(run):
    printed = go_on(run, "--iw-samples", "20", "--eval-seeds", "2", engine=Dying())
    command = printed.strip().partition("evaluate with: ")[2]
    assert command == f"cagem evaluate {run} --iw-samples 20 --eval-seeds 2"
    assert called(*shlex.split(command), "--no-progress")[0] == 0
    assert records.read(run / "record.json")["config"] == json.loads((run / "config.json").read_text())


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--learning-rate", "0.5"], "learning_rate was"), (["--label-seed", "2"], "label_seed was")],
)
def test_another_run_of_that_name_is_refused(run, flags, words):
    status, _, told = called("run_mnist.py", *ANYHOW, *flags, "--out", run.parent, engine=Dying())
    assert status == 2
    assert words in told


def test_more_epochs_are_trained(run):
    go_on(run, "--epochs", "2")
    assert [entry["epoch"] for entry in log_of(run)] == [1, 2]


def empty(run):
    for path in run.iterdir():
        path.unlink()


def no_folder(run):
    shutil.rmtree(run)


def lock_only(run):
    empty(run)
    (run / "lock").write_text("")


def no_checkpoint(run):
    (run / "checkpoint.h5").unlink()


def killed_while_it_compiled(run):
    empty(run)
    assert called("run_mnist.py", *ANYHOW, "--out", run.parent, engine=Dying())[0] == 143
    assert not (run / "checkpoint.h5").exists()


@pytest.mark.parametrize("state", [no_folder, lock_only, no_checkpoint, killed_while_it_compiled])
def test_one_command_begins_or_goes_on_from_every_state(trained, run, state):
    state(run)
    go_on(run)
    assert_same_arrays(arrays_of(run), arrays_of(trained[0]))
    assert log_of(run) == log_of(trained[0])


def test_it_goes_on_to_the_record_too(run):
    status, printed, _ = called("run_mnist.py", *RUN, "--labels", "20", "--resume-if-begun", "--out", run.parent)
    assert (status, printed.splitlines()[0][:5]) == (0, "bound")
    assert len(log_of(run)) == 1


def test_other_settings_without_a_name_begin_another_run(tmp_path):
    given = ["--preset", "smoke", "--out", str(tmp_path), "--learning-rate", "0.002"]
    begun = tmp_path / "mnist-cagem-100-smoke-s1"
    begun.mkdir()
    (begun / "config.json").write_text("{}")
    resumed, if_begun = (
        arguments.parse([*given, flag], "mnist", "run")[1] for flag in ("--resume", "--resume-if-begun")
    )
    assert (resumed.folder, resumed.resume) == (begun, True)  # to be refused: it says which settings differ
    assert (if_begun.folder == begun, if_begun.resume) == (False, False)


def test_damaged_checkpoints_are_not_trained_over(run):
    for name in ("checkpoint.h5", "checkpoint.previous.h5"):
        if (run / name).exists():
            (run / name).write_bytes(b"nothing")
    status, _, told = called("run_mnist.py", *ANYHOW, "--out", run.parent, engine=Dying())
    assert status == 2
    assert "no usable checkpoint" in told
