"""Temperature and learning rate: pure functions of the training step."""

from __future__ import annotations


def temperature(step: int, steps_per_epoch: int, warmup_epochs: int) -> float:
    """Weight of the KL-like terms of F (paper section 5, "temperature on the KL-terms").

    ``T = min(1, step / (steps_per_epoch * warmup_epochs))``: linear in the *step*, because a whole epoch at T = 0 would
    leave p(z1|y,z2) and q(z2|x,y,z1) without any gradient.

    Parameters
    ----------
    step : int
        Steps done before this one, over the whole run.
    steps_per_epoch, warmup_epochs : int
        ``warmup_epochs = 0`` means T = 1 throughout.

    Examples
    --------
    >>> [temperature(step, 10, 2) for step in (0, 5, 20, 99)]
    [0.0, 0.25, 1.0, 1.0]
    """
    if warmup_epochs == 0:
        return 1.0
    return min(1.0, step / (steps_per_epoch * warmup_epochs))


def learning_rate(epoch: int, initial: float, decay: float, decay_epochs: int, floor: float) -> float:
    """Step size of Adam in an epoch counted from 0 (paper section 5: "annealing it by .75 every 50 epochs").

    ``rate = max(floor, initial * decay ** (epoch // decay_epochs))``

    Examples
    --------
    >>> [learning_rate(epoch, 1.0, 0.5, 10, 0.1) for epoch in (0, 9, 10, 25, 80)]
    [1.0, 1.0, 0.5, 0.25, 0.1]
    """
    return max(floor, initial * decay ** (epoch // decay_epochs))
