"""The epoch loop: blocks that grow, and the log."""

import numpy as np
import pytest
from runs import arrays_of, assert_same_arrays, lines_of
from trainers import STEPS, record_blocks, stop

from parmesan_cagem import provenance, training


def test_quick_blocks_grow_and_lose_no_step(new_trainer, whole, monkeypatch):
    monkeypatch.setattr(training, "BLOCK_SECONDS", 100.0)
    trainer = new_trainer(epochs=3)
    blocks = record_blocks(trainer)
    trainer.run()
    assert [len(inputs[0]) for inputs, _ in blocks] == [10, 16, 20, 6, 26]  # of 26 steps an epoch
    assert_same_arrays(arrays_of(trainer.folder.path), arrays_of(whole[0]))


def test_a_log_entry_has_every_field(whole):
    folder, _, _, log = whole
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert [entry["steps"] for entry in log] == [STEPS, 2 * STEPS, 3 * STEPS]
    for entry in log:
        assert set(entry) == {
            *("epoch", "steps", "temperature", "learning_rate", "objective", "F", "reconstruction", "KL_z1"),
            *("KL_z2", "KL_z2_sampled", "KL_y", "usage", "H_q", "H_p", "gradient_norm_y", "gradient_norm_rest"),
            "labelled",
        }
        assert set(entry["labelled"]) == {"F", "H_q", "H_p", "expected_log_p_y", "KL_y"}
        assert sum(entry["usage"]) == pytest.approx(1, abs=1e-5)
        assert len(entry["usage"]) == 10
        parts = entry["reconstruction"] - entry["KL_z1"] - entry["KL_z2_sampled"] - entry["KL_y"]
        assert entry["F"] == pytest.approx(parts, rel=1e-5)
        assert entry["H_q"] > 0
        assert entry["gradient_norm_rest"] > 0
    assert [entry["temperature"] for entry in log] == pytest.approx([25 / 52, 51 / 52, 1])
    assert [entry["learning_rate"] for entry in log] == pytest.approx([1e-3, 0.75e-3, 0.5625e-3])
    assert log[0]["objective"] > log[0]["F"]  # the KL-like terms count less than fully
    assert log[2]["objective"] == pytest.approx(log[2]["F"], rel=1e-6)
    assert all(entry["seconds"] > 0 for entry in lines_of(folder) if "epoch" in entry)


def test_the_log_holds_the_means_over_the_steps_of_its_epoch(whole, compiled):
    _, blocks, _, log = whole
    for i, name in enumerate(compiled[0].step.outputs):
        steps = np.concatenate([np.asarray(values[i], np.float64) for _, values in blocks])
        means = steps.reshape(3, STEPS, -1).mean(axis=1).squeeze()
        assert np.allclose([entry[name] for entry in log], means, rtol=1e-12, atol=0), name


def test_the_log_tells_the_versions_and_again_when_they_change(new_trainer, tmp_path, monkeypatch):
    versions, path = provenance.versions(), tmp_path / "run"
    stop(new_trainer(epochs=1)).run()
    stop(new_trainer(epochs=2, resume=True)).run()
    newer = {**versions, "numpy": "9.9"}
    monkeypatch.setattr(provenance, "versions", lambda: newer)
    stop(new_trainer(resume=True)).run()
    kinds = [line.get("epoch", line.get("versions")) for line in lines_of(path)]
    assert kinds == [versions, 1, 2, newer, 3]
