"""NaN and Inf put into a training step's own graph, at one step, at one place: the fault happens where the sums do.

The package's graph is built as always; each place gets a switch that does nothing until it is armed. So one compiled
step serves every fault, in both engines, also in the middle of a block that runs on a device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

from parmesan_cagem import objectives, training_step

VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
# In the outputs of the very step: where -> the output that must be named.
OUTPUTS = {
    "bound": "objective",
    "term": "KL_z1",
    "gradient y": "gradient_norm_y",
    "gradient rest": "gradient_norm_rest",
}
# One number of the state, after the step: weights, both of Adam's moments, its clock, running averages.
STATE = (
    "weights/q_z1.mu.W",
    "weights/q_y.bn1.gamma",
    "weights/p_x.logits.b",
    "weights/q_z2.bn1.running_mean",
    "weights/p_z1.bn1.running_variance",
    "adam/m/p_x.logits.W",
    "adam/v/q_y.logits.W",
    "adam/v/p_x.logits.b",
    "adam/t",
)
PLACES = (*OUTPUTS, *STATE)


class Switches:
    """Switches in a training step, off until :meth:`arm`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses which number of an array is struck.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        import theano
        import theano.tensor as T

        self._rng, self._T = rng, T
        self._clock, self._at, self._place = (theano.shared(np.int32(i), name=n) for i, n in _SHARED)
        self._value = theano.shared(np.array(0, theano.config.floatX), name="fault/value")

    def arm(self, place: str, value: float, step: int) -> None:
        """Strike at the step ``step``, counted from the next one that runs."""
        self._clock.set_value(np.int32(0))
        self._at.set_value(np.int32(step))
        self._place.set_value(np.int32(PLACES.index(place)))
        self._value.set_value(np.array(value, self._value.dtype))

    def disarm(self) -> None:
        self._at.set_value(np.int32(-1))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """While inside, ``training_step.build`` builds steps with these switches."""
        with mock.patch.object(training_step, "build", self._building(training_step.build)):
            yield

    def _building(self, build: Callable[..., Any]) -> Callable[..., Any]:
        bound, terms, clipped = objectives.bound, objectives.decomposition, training_step._clipped

        def struck_bound(*args: Any) -> Any:
            return bound(*args) + self._scalar("bound")

        def struck_terms(*args: Any) -> Any:
            found = terms(*args)
            found["KL_z1"] = found["KL_z1"] + self._scalar("term")
            return found

        def struck_gradients(gradients: list[Any], params: list[Any], model: Any, clip_norm: float) -> Any:
            gradients = list(gradients)
            for place, wanted in (("gradient y", True), ("gradient rest", False)):
                i = next(i for i, param in enumerate(params) if (param in model.routed) == wanted)
                gradients[i] = self._one_number(place, gradients[i], params[i].get_value(borrow=True).shape)
            return clipped(gradients, params, model, clip_norm)

        def built(*args: Any, **kwargs: Any) -> Any:
            with (
                mock.patch.object(objectives, "bound", struck_bound),
                mock.patch.object(objectives, "decomposition", struck_terms),
                mock.patch.object(training_step, "_clipped", struck_gradients),
            ):
                step = build(*args, **kwargs)
            for name in STATE:
                variable = step.state[name]
                new = step.updates.get(variable, variable)
                step.updates[variable] = self._one_number(name, new, variable.get_value(borrow=True).shape)
            step.updates[self._clock] = self._clock + np.int32(1)
            return step

        return built

    def _hit(self, place: str) -> Any:
        return self._T.and_(self._T.eq(self._clock, self._at), self._T.eq(self._place, np.int32(PLACES.index(place))))

    def _scalar(self, place: str) -> Any:
        return self._T.switch(self._hit(place), self._value, np.array(0, self._value.dtype))

    def _one_number(self, place: str, array: Any, shape: tuple[int, ...]) -> Any:
        chosen = np.zeros(shape, dtype="int8")
        chosen.flat[self._rng.integers(chosen.size)] = 1
        struck = self._T.and_(self._T.eq(self._T.constant(chosen), 1), self._hit(place))
        return self._T.switch(struck, self._value, array)


_SHARED = ((0, "fault/clock"), (-1, "fault/at"), (-1, "fault/place"))
