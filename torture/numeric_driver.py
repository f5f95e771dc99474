"""``run_mnist.py`` with a fault in its graph: ``python -m torture.numeric_driver PLACE VALUE STEP [flags of a run]``.

STEP counts all steps of the run from 0; nothing else of the package is touched.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from parmesan_cagem import pipeline, training
from torture.numeric_faults import VALUES, Switches


def main(place: str, word: str, step: str, *flags: str) -> int:
    """The exit status of the run."""
    switches = Switches(np.random.default_rng(0))
    run = training.Trainer.run

    def armed(trainer: Any) -> None:
        switches.arm(place, VALUES[word], int(step))
        run(trainer)

    training.Trainer.run = armed  # type: ignore[method-assign]
    with switches.installed():
        return pipeline.main("mnist", flags, prog="run_mnist.py")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
