"""Whole runs of ADGM, SDGM, M2 and AVAE, from flags to record, on small pictures of real digits; resumed to the bit."""

import json
import math

import pytest
from runs import arrays_of, assert_same_arrays, log_of
from small_runs import train

from parmesan_cagem import records

RUNS = {
    "adgm": ["--model", "adgm", "--labels", "20", "--a-dim", "3", "--estimator", "sampled"],
    "adgm without labels": ["--model", "adgm", "--labels", "0", "--clusters", "4", "--bn-eval", "collect"],
    "sdgm": ["--model", "sdgm", "--labels", "20", "--class-bn", "q", "--labelled-bn", "own"],
    "m2": ["--model", "m2", "--labels", "20", "--train-iw", "2", "--holdout", "30"],
    "avae": ["--model", "avae", "--a-dim", "2"],
}
UNITS = {
    **{"adgm": {"a": 3, "z1": 3}, "adgm without labels": {"a": 64, "z1": 3}, "sdgm": {"a": 64, "z1": 3}},
    **{"m2": {"z1": 3}, "avae": {"a1": 2, "z1": 3, "a2": 2, "z2": 2}},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run(name, tmp_path):
    printed = train(tmp_path, *RUNS[name])
    record = records.read(tmp_path / "run" / "record.json")  # valid by the schema
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    entry = next(line for line in log if "epoch" in line)
    labelled = name in ("adgm", "sdgm", "m2")
    assert {"F_labelled", "H_q"} & set(entry) == ({"F_labelled", "H_q"} if labelled else set())
    assert not {"H_p", "gradient_norm_y"} & set(entry)
    assert all(math.isfinite(v) for v in entry.values() if isinstance(v, float))
    assert set(record["active_units"]) == set(UNITS[name])
    assert all(record["active_units"][v] <= units for v, units in UNITS[name].items())
    if name == "adgm":
        assert record["terms"] is None
    else:
        assert {t for t in record["terms"] if not t.endswith("_sampled")} == {
            "reconstruction",
            *(f"KL_{v}" for v in (*UNITS[name], *(["y"] if name != "avae" else []))),
        }
    assert (record["error_q"] is not None) == labelled
    assert record["error_p"] is None
    assert ("test error q(y|x)" in printed) == labelled
    assert (tmp_path / "run" / "samples.png").stat().st_size > 500


@pytest.mark.parametrize("name", ["adgm", "sdgm", "m2", "avae"])
def test_a_resumed_run_is_the_run_without_a_break(name, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole, *RUNS[name], "--epochs", "2")
    train(broken, *RUNS[name])
    train(broken, *RUNS[name], "--epochs", "2", "--resume")
    assert_same_arrays(arrays_of(broken / "run"), arrays_of(whole / "run"))
    assert log_of(broken / "run") == log_of(whole / "run")
    assert [entry["epoch"] for entry in log_of(whole / "run")] == [1, 2]
