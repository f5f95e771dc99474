"""Compiled training steps of tiny models, and finite differences by the name of a parameter."""

import functools

import numpy as np
import toy

from parmesan_cagem import training_step

BYTES = np.random.default_rng(4).integers(0, 256, (12, toy.X_DIM)).astype("uint8")
LABELLED = np.random.default_rng(5).integers(0, 256, (7, toy.X_DIM)).astype("uint8")
LABELS = np.array([0, 1, 2, 2, 1, 0, 0])
BATCH = np.array([3, 7, 1, 10], "int32")
LABELLED_BATCH = np.array([6, 2, 4], "int32")
W_Q, W_P = 2.0, 3.0
STEP = {"batch_size": 4, "labelled_batch_size": 3, "seed": 3}


def in_networks(name, *networks):
    return name.split(".")[0] in networks


def trained(built):
    return [p.name for p in built.params(trainable=True)]


def slopes(function, weights, name, step=1e-6, entries=None):
    """Central differences of the numbers that ``function`` returns, by each entry (or some) of a weight."""
    value = weights[name]
    places = list(np.ndindex(value.shape))[:entries]
    found = {}
    for place in places:
        ends = []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * step
            ends.append(function({**weights, name: moved}))
        found[place] = {key: (ends[0][key] - ends[1][key]) / (2 * step) for key in ends[0]}
    return found


class Step:
    """A compiled training step of a tiny model."""

    def __init__(self, labels=True, weights=0, engine=None, **changes):
        self.model = toy.model(weights=weights, **STEP, **changes)
        self.e = self.model.experiment
        labelled = (LABELLED, (W_Q, W_P), LABELS) if labels else (None, (W_Q, W_P))
        self.built = training_step.build(self.model, self.e, BYTES, *labelled)
        self.labels = labels
        self.function = (engine or toy.ENGINE).steps(
            self.built.inputs, list(self.built.outputs.values()), list(self.built.updates.items()), "step"
        )

    def __call__(self, batch=BATCH, labelled_batch=LABELLED_BATCH, temperature=1.0, rate=1e-3):
        batches = [batch, labelled_batch] if self.labels else [batch]
        values = [*batches, temperature, rate]
        sequences = [np.array([v], variable.dtype) for v, variable in zip(values, self.built.inputs, strict=True)]
        outputs = self.function(*sequences)
        return {name: value[0] for name, value in zip(self.built.outputs, outputs, strict=True)}

    def state(self):
        self.function.pull()
        return {name: variable.get_value() for name, variable in self.built.state.items()}

    def restore(self, state):
        for name, value in state.items():
            self.built.state[name].set_value(value)


@functools.cache
def compiled(**changes):
    return Step(**changes)


def start(**changes):
    """A compiled step in its initial state: compiled once, whatever ran before."""
    step = compiled(**changes)
    if not hasattr(step, "first"):
        step.first = step.state()
    step.restore(step.first)
    return step


def differing(one, other):
    assert one.keys() == other.keys()
    return {name for name in one if not np.array_equal(one[name], other[name])}


def reached_by_labels(step):
    inside = {p.name for p in (*step.model.theta_y, *step.model.phi_y)}
    return {f"{place}/{name}" for place in ("weights", "adam/m", "adam/v") for name in inside}
