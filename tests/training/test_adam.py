"""Adam: its state is named and complete, its steps are the paper's."""

import math

import numpy as np
from trainers import STEPS


def test_the_adam_state_is_named_and_complete(whole, compiled):
    trainer, saved = compiled[0], whole[2].arrays
    names = {p.name for p in trainer.model.params(trainable=True)}
    assert names
    assert len(names) == len(trainer.model.params(trainable=True))
    for moment in ("m", "v"):
        assert {name.removeprefix(f"adam/{moment}/") for name in saved if name.startswith(f"adam/{moment}/")} == names
    assert {n.removeprefix("weights/") for n in saved if n.startswith("weights/")} == {
        p.name for p in trainer.model.params()
    }
    assert saved["adam/t"] == 3 * STEPS
    # What a step changes, a checkpoint holds: nothing else can matter for an exact resume.
    assert {id(variable) for variable in trainer.step.updates} <= {id(v) for v in trainer.step.state.values()}
    random = {name for name in saved if name.startswith("random/")}
    assert random == {
        *("random/binarise", "random/eps_z1", "random/eps_z2"),
        *("random/binarise_labelled", "random/eps_z1_labelled", "random/eps_z2_labelled"),
    }


def test_adam_is_the_papers(compiled, new_trainer):
    # The gradient of a step follows from m; then v, and the step itself, must be those of Kingma & Ba (2014).
    trainer = new_trainer()
    state = trainer.step.state
    inputs = [sequence[:3] for sequence in next(iter(trainer._blocks()))]
    inputs[3] = np.array([1e-3, 1e-3, 0.5e-3], np.float32)
    before = {name: variable.get_value().astype(np.float64) for name, variable in state.items()}
    moved = 0
    for t in (1, 2, 3):
        trainer._run_block(*[sequence[t - 1 : t] for sequence in inputs])
        after = {name: variable.get_value().astype(np.float64) for name, variable in state.items()}
        assert after["adam/t"] == t
        rate = float(inputs[3][t - 1]) * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for parameter in trainer.model.params(trainable=True):
            w, m, v = (f"{kind}/{parameter.name}" for kind in ("weights", "adam/m", "adam/v"))
            gradient = (after[m] - 0.9 * before[m]) / (1 - 0.9)
            scale = np.abs(gradient).max()
            expected_v = 0.999 * before[v] + 0.001 * gradient**2
            assert np.allclose(after[v], expected_v, rtol=2e-4, atol=1e-3 * 1e-4 * scale**2), v
            expected = before[w] - rate * after[m] / (np.sqrt(after[v]) + 1e-8)
            assert np.allclose(after[w], expected, rtol=1e-6, atol=2e-7), w
            moved += int((after[w] != before[w]).any())
        before = after
    assert moved > 2 * len(trainer.model.params(trainable=True))  # nearly every parameter moved in every step
