"""Seconds from the start of the process to the end of the first training step, full-width CaGeM-100.

    python -m benchmarks.start                # engine xla: without any cache (cold), then with what that left (warm)
    python -m benchmarks.start --engine c     # cold takes minutes: g++ compiles every Op

A start is that of ``run_mnist.py --labels 100``: imports, data, graph, compilation, one step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import Any


def child(engine: str, data_dir: str | None, out: str) -> None:
    """A run as `run_mnist.py` begins it, which ends after one step."""
    from parmesan_cagem import pipeline
    from parmesan_cagem.training import Trainer

    build = Trainer.__init__

    def stop_after_one(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        steps = self._run_block

        def first(*sequences: Any) -> None:
            steps(*(sequence[:1] for sequence in sequences))
            os._exit(0)

        self._run_block = first

    Trainer.__init__ = stop_after_one  # type: ignore[method-assign]
    flags = ["--labels", "100", "--engine", engine, "--out", out, "--no-progress"]
    pipeline.main("mnist", [*flags, *(["--data-dir", data_dir] if data_dir else [])])
    raise SystemExit("the run ended before its first step")


def main() -> int:
    """Time a cold and two warm starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="xla", choices=("xla", "c"))
    parser.add_argument("--data-dir")
    parser.add_argument("--child", metavar="OUT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.engine, args.data_dir, args.child)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        for i, state in enumerate(("cold", "warm", "warm")):
            command = [sys.executable, "-m", "benchmarks.start", *sys.argv[1:], "--child", f"{folder}/run{i}"]
            began = time.monotonic()
            subprocess.run(command, check=True, env=environment)
            print(f"engine {args.engine}, {state}: {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
