"""One device or several: the batch axis is cut among them, everything else is copied to each."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parmesan_cagem import provenance
from parmesan_cagem.engines.xla import platform
from parmesan_cagem.errors import UserError

Place = Callable[[Any], jax.Array]


class Devices:
    """The first ``count`` devices, as a mesh with one axis, ``batch``.

    XLA partitions the program along the batch and inserts the sums over devices, so batch statistics, gradients and the
    bound are those of the whole batch, and the result is the one-device run's up to rounding.

    Raises
    ------
    UserError
        There are fewer.
    """

    def __init__(self, count: int = 1) -> None:
        present = found()
        if count > len(present):
            kind = present[0].platform
            flag = f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
            hint = f", or simulate them: {flag}" if kind == "cpu" else ""
            raise UserError(f"--devices {count}: JAX sees {len(present)} of kind {kind}; use at most that many{hint}")
        self.count = count
        self._mesh = Mesh(np.array(present[:count]), ("batch",))

    @property
    def name(self) -> str:
        """What they are, for the record."""
        first = self._mesh.devices.flat[0]
        kind = provenance.device_name() if first.platform == "cpu" else first.device_kind
        return kind if self.count == 1 else f"{self.count} x {kind}"

    @property
    def replicated(self) -> Any:
        """The sharding of a value that each device has whole; None for one device."""
        return NamedSharding(self._mesh, PartitionSpec()) if self.count > 1 else None

    def everywhere(self, value: Any) -> jax.Array:
        """A copy on each device."""
        return self._put(value, PartitionSpec())

    def by_batch(self, value: Any) -> jax.Array:
        """(steps, batch, ...): a part of the batch on each device; (steps,): a copy on each.

        Raises
        ------
        UserError
            The batch does not divide.
        """
        if np.ndim(value) < 2 or self.count == 1:
            return self.everywhere(value)
        size = value.shape[1]
        if size % self.count:
            below, above = size - size % self.count, size - size % self.count + self.count
            nearest = f"{below} or {above}" if below else f"{above}"
            raise UserError(f"a batch of {size} cannot be cut into {self.count} equal parts; use {nearest}")
        return self._put(value, PartitionSpec(None, "batch"))

    def _put(self, value: Any, spec: PartitionSpec) -> jax.Array:
        if self.count == 1:
            return jax.device_put(value, self._mesh.devices[0])
        return jax.device_put(value, NamedSharding(self._mesh, spec))


def found() -> list[jax.Device]:
    """What JAX sees; where there are several processes, it is told of them first.

    Raises
    ------
    UserError
        The platform that the user chose is not there.
    """
    if "JAX_COORDINATOR_ADDRESS" in os.environ and not _distributed():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        jax.distributed.initialize(
            os.environ["JAX_COORDINATOR_ADDRESS"],
            int(os.environ["JAX_NUM_PROCESSES"]),
            int(os.environ["JAX_PROCESS_ID"]),
        )
        for number, handler in before.items():  # JAX's preemption service takes SIGTERM, and does nothing with it
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)
    try:
        with platform.no_word_of_a_missing_driver():
            return jax.devices()
    except (RuntimeError, AssertionError) as error:
        if chosen := os.environ.get("JAX_PLATFORMS"):
            raise UserError(
                f"JAX_PLATFORMS={chosen}: {platform.why_no_gpu()}; unset it to use what there is"
            ) from error
        raise


def _distributed() -> bool:
    return bool(jax.distributed.is_initialized())
