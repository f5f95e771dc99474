"""Whether an experiment can fit this machine at all, said before anything is built: a lower bound, in bytes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.presets import LAYERED, WITH_Y
from parmesan_cagem.widths import hidden_widths

_FLOAT = 4
_DEVICES = Path("/dev")
# NVIDIA's; the same under WSL2, ROCm's, Google's TPUs of either kind.
_ACCELERATORS = ("nvidiactl", "dxg", "kfd", "accel*", "vfio/[0-9]*")
_COPIES = 3  # of every weight in the host's memory: itself and Adam's two moments, whatever the engine


def least(e: Experiment, pixels: int, on_cpu: bool = True) -> int:
    """Bytes that training takes at least: less than any run needs, so that nothing is refused that would have worked.

    Counted are the weights that every model has, and on a CPU the widest rows of one step: what matrix products read
    and write, which no engine can leave out.

    Examples
    --------
    >>> f"{least(Experiment(), 784) / 2**20:.0f} MiB"
    '53 MiB'
    """
    first, second = hidden_widths(e, 1)
    weights = 2 * (first * second) + pixels * (first + second) + e.z1_dim * first
    if e.model not in LAYERED or e.layers > 1 or e.model == "avae":
        weights += hidden_widths(e, 2)[0] * hidden_widths(e, 2)[1]
    classes = e.clusters if e.model in WITH_Y else 1
    rows = e.batch_size * e.train_iw * classes  # of p(x|y, z1), the sum over y at the bottom
    numbers = rows * (pixels + second)
    if e.model == "cagem":
        numbers += rows * classes  # p(y'|z2^y)
    return _FLOAT * (_COPIES * weights + (numbers // e.devices if on_cpu else 0))


def check(e: Experiment, pixels: int) -> None:
    """Refuse what this machine cannot hold.

    Raises
    ------
    UserError
        Says how much there is, and what takes it.
    """
    there = of_this_machine()
    wanted = least(e, pixels, on_cpu=e.engine == "c" or not has_accelerator())
    if there is not None and wanted > there:
        sizes = f"--wide {e.wide} --narrow {e.narrow} --z1-dim {e.z1_dim} --batch-size {e.batch_size}"
        sizes += f" --train-iw {e.train_iw}" + (f" --clusters {e.clusters}" if e.model in WITH_Y else "")
        raise UserError(
            f"{sizes}: training takes at least {wanted / 2**30:.1f} GiB, and this machine has {there / 2**30:.1f}; "
            f"make some of them smaller"
        )


def has_accelerator() -> bool:
    """Whether the system shows a device beside the CPU, whoever made it; what is no such device costs no refusal."""
    return any(any(_DEVICES.glob(name)) for name in _ACCELERATORS)


def of_this_machine() -> int | None:
    """Bytes of memory that this process may have: the machine's, or its control group's limit; None: nobody knows."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # none, or "max"
            found.append(int((Path("/sys/fs/cgroup") / name).read_text()))
    return min(found, default=None)
