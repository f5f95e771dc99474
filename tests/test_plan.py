"""What a plan costs: hand-computed schedules, bounds that every schedule obeys, and times from counts and speeds."""

import doctest
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import grid, plan, speeds
from parmesan_cagem.commands import plan as command
from parmesan_cagem.config import experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.plan import Chain, Total, makespan
from parmesan_cagem.presets import IMAGES
from parmesan_cagem.speeds import Seconds

RECORDS = sorted(Path(__file__).resolve().parent.parent.glob("results/runs/*/record.json"))


@pytest.mark.parametrize("module", [plan, speeds, command])
def test_docstring_examples(module):
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


@pytest.mark.parametrize(
    ("jobs", "devices", "seconds"),
    [
        ([], 2, 0),
        ([(5, 2, 3)], 1, 11),
        ([(5, 2, 3)], 2, 5 + 4),  # two parts side by side, then the third
        ([(5, 2, 3)], 3, 5 + 2),
        ([(5, 2, 3)], 100, 5 + 2),
        ([(3, 0, 0), (2, 0, 0), (2, 0, 0)], 2, 4),  # longest first: 3 | 2, 2
        # Shortest first would give 1, 1 | 4, 5: done at 6. Longest first: 5, 1 | 4, 1.
        ([(1, 0, 0), (1, 0, 0), (4, 0, 0), (5, 0, 0)], 2, 6),
        ([(0, 3, 4)], 2, 6),  # trained already
        ([(0, 0, 0)], 2, 0),  # finished
        # 4 | 3; at 3 the second run's part of 2 (to 5); at 4 the first's of 1 (to 5).
        ([(4, 1, 1), (3, 2, 1)], 2, 5),
        # The training with the long evaluation goes first, though it is the shortest: 2 + 9, and 3, 1, 3 beside it.
        ([(3, 1, 1), (3, 0, 0), (2, 9, 1)], 2, 11),
    ],
)
def test_schedules_by_hand(jobs, devices, seconds):
    assert makespan([Chain(*job) for job in jobs], devices) == seconds


TIMES = st.integers(0, 50).map(float)
CHAINS = st.lists(st.builds(Chain, TIMES, TIMES, st.integers(0, 5)), max_size=8)


@given(CHAINS, st.integers(1, 5))
def test_no_schedule_beats_its_bounds_and_lists_are_near(chains, devices):
    found = makespan(chains, devices)
    work = sum(one.total for one in chains)
    longest = max((one.train + one.part * (one.parts > 0) for one in chains), default=0.0)
    assert max(work / devices, longest) <= found + 1e-9
    assert found <= work / devices + longest * (1 - 1 / devices) + 1e-9  # Graham's bound


@given(CHAINS)
def test_one_device_does_everything_one_after_the_other(chains):
    assert makespan(chains, 1) == sum(one.total for one in chains)


def test_totals_leave_unknown_times_out_and_count_them():
    runs = [Seconds(100.0, 50.0, 10.0), Seconds(None, 50.0, 10.0), Seconds(100.0, None, 10.0), Seconds(0.0, 0.0, 10.0)]
    # Parts of 10 + (40 + 10) / 2 = 35 seconds: half of the work and of the merge's start.
    assert plan.total(runs, 2, 1) == Total(busy=100 + 70 + 70 + 100, until=340, unknown=2)
    assert plan.total(runs, 2, 3) == Total(busy=340, until=135, unknown=2)


@given(st.floats(1, 1e6), st.floats(0, 1e3), st.integers(1, 50))
def test_parts_add_up_and_each_has_its_start(evaluate, start, shards):
    made = plan.chain(Seconds(0.0, start + evaluate, start), shards)
    assert math.isclose(made.part * made.parts, evaluate + (shards + 1) * start)


SPEEDS = {
    "steps": [{"settings": {"labels": 100}, "seconds": 0.5, "flop": 4e9}],
    "bounds": [{"settings": {"labels": 100}, "seconds": 0.01, "flop": 2e6}],
    "classes": [{"settings": {"labels": 100}, "seconds": 0.001, "flop": 1e6}],
    "devices": {
        "2 cores": {"measured": True, "start_seconds": 20.0, "epoch_seconds": 3.0, "reasoning": "measured"},
        "H200": {
            "measured": False,
            "start_seconds": 30.0,
            "epoch_seconds": 0.5,
            "step": {"flop_per_second": 1e12, "seconds": 0.001},
            "row": {"flop_per_second": 1e12, "seconds": 3e-6},
            "reasoning": "assumed",
        },
    },
}


@pytest.fixture
def devices(tmp_path):
    (tmp_path / "speeds.json").write_text(json.dumps(SPEEDS))
    return speeds.read(tmp_path / "speeds.json")


def test_seconds_by_hand(devices):
    e = experiment("short", eval_seeds=2)  # 60 epochs of 600 steps; F_5000 of 500 images, 100 draws of 10,000
    cores, gpu = devices
    bounds, classes = 2 * 500 * 5000, 2 * 10_000 * 100
    assert cores.seconds(e) == Seconds(20 + 60 * (600 * 0.5 + 3), 20 + bounds * 0.01 + classes * 0.001, 20)
    # A step: 4 ms, by its FLOP. A row: not 2 but 3 us, the least.
    assert gpu.seconds(e).train == pytest.approx(30 + 60 * (600 * 0.004 + 0.5))
    assert gpu.seconds(e).evaluate == pytest.approx(30 + (bounds + classes) * 3e-6)


def test_rarer_checkpoints_cost_less(devices):
    assert devices[0].seconds(experiment("short", checkpoint_every=30)).train == 20 + 60 * 600 * 0.5 + 2 * 3


def test_what_is_done_costs_nothing(devices):
    e, cores = experiment("short"), devices[0]
    whole = cores.seconds(e)
    assert cores.seconds(e, "begun", 15).train == 20 + 0.75 * (whole.train - 20)
    assert cores.seconds(e, "begun", 15).evaluate == whole.evaluate
    assert cores.seconds(e, "trained", 60) == Seconds(0, whole.evaluate, 20)
    assert cores.seconds(e, "finished", 60) == Seconds(0, 0, 20)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"seed": 7, "label_seed": 3, "warmup_epochs": 0, "label_weight": "60"}, (True, True)),
        ({"pixel_scale": 255.0, "epochs": 3, "iw_samples": 7, "holdout": 1000}, (True, True)),
        ({"labels": 1000}, (True, True)),  # a step takes 100 of them all the same
        ({"labels": 50}, (False, True)),
        ({"batch_size": 256}, (False, True)),
        ({"bn_eval": "collect"}, (True, False)),
        ({"estimator": "sampled"}, (True, False)),
        ({"z2_dim": 2}, (False, False)),
        ({"model": "adgm"}, (False, False)),
        ({"precision": "bf16"}, (False, False)),
    ],
)
def test_times_are_those_of_the_same_configuration_or_unknown(devices, changes, known):
    for device in devices:
        found = device.seconds(experiment("paper", **changes))
        assert (found.train is not None, found.evaluate is not None) == known


def test_a_vae_of_50_samples_is_evaluated_as_any():
    vae, iwae = experiment("paper", model="vae"), experiment("paper", model="iwae")
    assert speeds.key(vae, "bounds") == speeds.key(iwae, "bounds")
    assert speeds.key(vae, "steps") != speeds.key(iwae, "steps")


def test_a_session_gives_the_rates_of_a_gpu(tmp_path):
    time = [
        {"what": "step", "batch": 256, "precision": "float32", "gflops": 1.0, "seconds": 1.0},
        {"what": "step", "batch": 100, "precision": "bf16", "gflops": 1.0, "seconds": 1.0},
        {"what": "step", "batch": 100, "precision": "float32", "gflops": 500.0, "seconds": 0.008},
        {"what": "bound", "precision": "float32", "gflops": 4000.0, "rows_per_second": 1e6},
    ]
    (tmp_path / "speeds.json").write_text(json.dumps(SPEEDS))
    (tmp_path / "session.json").write_text(json.dumps({"time": time, "probe": {"device": "NVIDIA H200"}}))
    cores, gpu = speeds.read(tmp_path / "speeds.json", tmp_path / "session.json")
    e = experiment("paper")
    assert gpu.unit(e, "steps") == pytest.approx(4e9 / 500e9)
    assert gpu.unit(e, "bounds") == pytest.approx(1e-6)  # 0.5 us by the FLOP, but the session's row took 1 us
    assert "NVIDIA H200" in gpu.reasoning
    assert not gpu.measured
    assert cores.unit(e, "steps") == 0.5
    (tmp_path / "session.json").write_text(json.dumps({"time": time[:2], "probe": {"device": "x"}}))
    with pytest.raises(UserError, match="no float32 times"):
        speeds.read(tmp_path / "speeds.json", tmp_path / "session.json")


@pytest.mark.parametrize("text", ["{}", '{"devices": {"a": {}}}', '{"devices": 3}'])
def test_a_file_that_holds_no_speeds(tmp_path, text):
    (tmp_path / "speeds.json").write_text(text)
    with pytest.raises(UserError, match=r"speeds\.json: not speeds"):
        speeds.read(tmp_path / "speeds.json")


def test_the_data_sets_have_so_many_images():
    assert RECORDS
    for path in RECORDS:
        record = json.loads(path.read_text())
        data, config = record["dataset"], {**experiment("paper").to_dict(), **record["config"]}
        assert IMAGES[data["name"]] == (data["train_images"], data["test_images"])
        counts = speeds.work(experiment(**config))
        assert counts["steps"] * record["epochs"] == record["steps"]
        assert counts["bounds"] == record["eval"]["images"] * record["eval"]["k"]
        assert counts["classes"] == record["eval"]["error_images"] * record["eval"]["draws_for_errors"]


@pytest.mark.parametrize("preset", ["paper", "short", "demo"])
def test_every_run_of_the_papers_grid_has_a_time(preset):
    devices = speeds.read()
    assert [device.measured for device in devices] == [True, False]
    for run in grid.read(grid.CHECKOUT / "paper.yaml", preset, Path("runs")).runs:
        for device in devices:
            assert None not in (device.seconds(run.experiment).train, device.seconds(run.experiment).evaluate), run.name
