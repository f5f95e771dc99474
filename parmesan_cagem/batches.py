"""The inputs of an epoch's steps: batches, temperatures, step sizes; functions of the settings and the epoch alone."""

from __future__ import annotations

import numpy as np

from parmesan_cagem import schedules
from parmesan_cagem.config import Experiment
from parmesan_cagem.randomness import Purpose, generator


def epoch_inputs(e: Experiment, epoch: int, unlabelled: int, labelled: int) -> list[np.ndarray]:
    """What every step of an epoch is given, stacked over S steps.

    Parameters
    ----------
    epoch : int
        Counted from 0.
    unlabelled, labelled : int
        N_u and N_l.

    Returns
    -------
    list of ndarray
        Unlabelled batches (S, B) int32, a new permutation every epoch; with labels, labelled batches (S, L) int32, each
        drawn without replacement; temperatures (S,) and step sizes (S,) float32.

    Notes
    -----
    An incomplete last batch is left out; every epoch has another order, so no image is left out for good.
    """
    steps = unlabelled // e.batch_size
    order = generator(e.seed, Purpose.BATCHES, epoch).permutation(unlabelled)
    sequences = [order[: steps * e.batch_size].reshape(steps, -1).astype(np.int32)]
    if labelled:
        draws = generator(e.seed, Purpose.LABELLED_BATCHES, epoch)
        size = min(e.labelled_batch_size, labelled)
        chosen = [draws.permutation(labelled)[:size] for _ in range(steps)]
        sequences.append(np.asarray(chosen, dtype=np.int32))
    done = range(epoch * steps, (epoch + 1) * steps)
    temperatures = [schedules.temperature(step, steps, e.warmup_epochs) for step in done]
    rates = np.full(steps, step_size(e, epoch), dtype=np.float32)
    return [*sequences, np.asarray(temperatures, dtype=np.float32), rates]


def step_size(e: Experiment, epoch: int) -> float:
    """Adam's step size throughout an epoch counted from 0."""
    return schedules.learning_rate(epoch, e.learning_rate, e.learning_rate_decay, e.decay_epochs, e.learning_rate_floor)
