#!/usr/bin/env python3
"""One session on a machine with a GPU, within a budget of minutes: check, time, train, carry away; see docs/gpu.md.

    python tools/gpu_session.py all --minutes 9 --data-dir DATA --carried CARRIED --out OUT    # everything, in order:
    python tools/gpu_session.py train      # queue and pack: for later sessions, or in spite of a check
    python tools/gpu_session.py check      # the GPU against the CPU: a few steps and bounds of a small model
    python tools/gpu_session.py time       # step and F_k at full width in each precision, and what it does to the bound
    python tools/gpu_session.py queue      # the runs of tools/gpu_queue.txt, each where it was left, until time is over
    python tools/gpu_session.py pack       # them into a few small files
    python tools/gpu_session.py unpack     # ... and back

Everything that computes is a child process, one at a time: JAX takes most of the GPU's memory for itself, and a child
can be stopped. What was found is in OUT/session.json after every stage. Exit status: 0; 1 if the check or a run failed;
2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks import device_report  # noqa: E402
from parmesan_cagem import files, packing, run_queue, unpacking  # noqa: E402
from parmesan_cagem.errors import UserError  # noqa: E402

PLATFORMS = {"gpu": "cuda", "cpu": "cpu"}


class Failed(Exception):
    """Something was found to be wrong; one line."""


class Session:
    """The budget, the environment of the children, and what was found so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.deadline = args, time.monotonic() + 60 * args.minutes
        self.environment = {**os.environ, "JAX_PLATFORMS": PLATFORMS[args.platform]}
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        path = args.out / "session.json"  # stages that are called one by one write into the same
        self.found: dict[str, Any] = files.read_json(path, "remove it") if path.exists() else {}

    def left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def keep(self, **facts: Any) -> None:
        self.found |= facts
        files.write_json(self.args.out / "session.json", self.found)

    def child(self, what: str, *flags: Any, seconds: float, **environment: str) -> str:
        """``benchmarks.on_device`` in a process of its own; returns what it printed.

        Raises
        ------
        Failed
            It failed, or was not done in time.
        """
        data = ["--data-dir", str(self.args.data_dir.resolve())] if self.args.data_dir else []
        command = [sys.executable, "-m", "benchmarks.on_device", what, *map(str, flags), *data]
        try:
            done = subprocess.run(
                command,
                env=self.environment | environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{what}: not done after {seconds:.0f} s, stopped") from None
        if done.returncode:
            raise Failed(f"{what}: exit status {done.returncode}; its last lines are above")
        return done.stdout


def probe(session: Session) -> None:
    """Which device, which versions; a session without the device that it is for ends here."""
    found = json.loads(session.child("probe", seconds=session.left()).splitlines()[-1])
    if (found["backend"] == "cpu") != (session.args.platform == "cpu"):
        raise Failed(f"JAX runs on {found['backend']} ({found['device']}), not on a {session.args.platform}")
    errors = ", ".join(f"{name} {error:.1e}" for name, error in found["product_errors"].items())
    versions = found["versions"]
    say(f"device: {found['device']}; JAX {versions['jax']}, NumPy {versions['numpy']}, {versions['python']}")
    say(f"relative error of a product of 512: {errors}")
    session.keep(probe=found)
    if found["product_errors"]["float32"] > device_report.FLOAT32_PRODUCT:
        raise Failed("products asked for in float32 are not computed in float32")


def check(session: Session) -> None:
    """A few steps and bounds of a small model, on this device in every precision and on the CPU in float32."""
    flags = ["--preset", session.args.check_preset, "--steps", 5, "--images", 20]
    with tempfile.TemporaryDirectory() as folder:
        arrays = []
        for name, precisions, more in (
            ("cpu", ["float32"], {"JAX_PLATFORMS": "cpu"}),
            ("device", session.args.precisions, {}),
        ):
            path = Path(folder) / f"{name}.npz"
            flags_here = [*flags, "--npz", path, "--precisions", *precisions]
            session.child("results", *flags_here, seconds=session.left() / 2, **more)
            arrays.append(dict(np.load(path)))
    rows = [device_report.compare(*arrays, precision) for precision in session.args.precisions]
    session.keep(check=rows)
    for row in rows:
        say(
            "check: {precision}: outputs {outputs:.1e}, bounds {bounds:.1e}, weights {weights:.1e}: {verdict}".format(
                **row
            )
        )
    if wrong := [row["precision"] for row in rows if row["verdict"] == "WRONG"]:
        raise Failed(f"check: {', '.join(wrong)}: not the CPU's results; tolerances are {device_report.TOLERANCES}")


def measure(session: Session) -> None:
    """Times and bounds by precision; what there was no time for is left out."""
    args = session.args
    seconds = min(60 * args.time_minutes, session.left())
    sizes = ["--steps", args.time_steps, "--images", args.time_images, "--samples", args.time_samples]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.jsonl"
        flags = ["--preset", args.time_preset, "--precisions", *args.precisions, "--batches", *args.batches]
        try:
            session.child("times", *flags, *sizes, "--jsonl", path, "--seconds", 0.75 * seconds, seconds=seconds)
        except Failed as error:
            say(str(error))
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    session.keep(time=found)
    say(device_report.table(found))
    if not found:
        raise Failed("time: nothing was measured")


def work(session: Session) -> None:
    """The queue, until what packing needs is left."""
    args = session.args
    if args.carried:
        unpack(session, args.carried)
    entries = run_queue.read(args.queue, args.runs, args.data_dir)
    deadline = session.deadline - (args.pack_seconds if pack in STAGES[args.stage] else 0)
    found = run_queue.work(entries, deadline, args.grace, session.environment)
    session.keep(queue=found)
    if failed := [str(f["name"]) for f in found if str(f["outcome"]).startswith(("failed", "killed"))]:
        raise Failed(f"queue: {', '.join(failed)} failed or had to be killed")


def unpack(session: Session, folder: Path) -> None:
    """The pack in ``folder``, into --runs; before a first session there is none."""
    parts = sorted(folder.glob("runs.pack-*"))
    if not parts and session.args.stage == "unpack":
        raise UserError(f"--carried {folder}: no runs.pack-* there")
    for line in unpacking.unpack(parts, session.args.runs) if parts else []:
        say(f"unpacked {line}")


def pack(session: Session) -> None:
    """The runs of the queue that have begun, or those named."""
    args = session.args
    queued = [] if args.names else run_queue.read(args.queue, args.runs, args.data_dir)
    runs = args.names or [entry.folder for entry in queued if entry.state != "new"]
    if not runs:
        say("pack: no runs yet")
        return
    made = packing.pack(runs, args.out, args.part_mib, args.parts, finished_weights=not args.records_only)
    for line in made.left_out:
        say(f"LEFT OUT: {line}")
    sizes = {path.name: path.stat().st_size for path in made.parts}
    session.keep(pack={"parts": sizes, "left_out": made.left_out})
    say(f"packed {len(runs)} runs into {len(sizes)} files, {sum(sizes.values()) / packing.MIB:.1f} MiB")


STAGES = {"check": [probe, check], "time": [probe, measure], "queue": [probe, work], "pack": [pack]}
STAGES |= {"all": [probe, check, measure, work, pack], "train": [probe, work, pack]}


def arguments() -> argparse.ArgumentParser:
    """Every flag with its default."""
    text = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=text.partition("\n")[0], allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "unpack"])
    parser.add_argument("names", nargs="*", type=Path, help="pack: run folders (those of the queue when absent)")
    parser.add_argument("--minutes", type=float, default=9.0, help="the script ends within so many")
    parser.add_argument("--platform", choices=PLATFORMS, default="gpu")
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST files, as in run_mnist.py")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="folder of run folders")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="for session.json and the pack")
    parser.add_argument("--carried", type=Path, help="folder of the pack of last time, unpacked before the queue")
    parser.add_argument("--queue", type=Path, default=ROOT / "tools" / "gpu_queue.txt")
    parser.add_argument("--grace", type=float, default=40.0, help="seconds that a run may take to save itself")
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "tf32", "bf16"), default=["float32", "tf32", "bf16"]
    )
    parser.add_argument("--check-preset", default="demo", help="the small model's sizes")
    parser.add_argument("--time-minutes", type=float, default=3.0, help="of them at most for `time`")
    parser.add_argument("--time-preset", default="paper")
    parser.add_argument("--time-steps", type=int, default=100, help="steps of a timed block")
    parser.add_argument("--time-images", type=int, default=200, help="of the bound")
    parser.add_argument("--time-samples", type=int, default=500, help="k of the bound")
    parser.add_argument("--batches", nargs="+", type=int, default=[100, 256])
    parser.add_argument("--pack-seconds", type=float, default=30.0, help="kept for packing")
    parser.add_argument("--part-mib", type=float, default=15.0, help="largest file of a pack")
    parser.add_argument("--parts", type=int, default=4, help="most files of a pack")
    parser.add_argument("--records-only", action="store_true", help="pack: no weights of finished runs")
    return parser


def say(line: str) -> None:
    """Tell the person who waits."""
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Stage by stage. After a failed check nothing is trained; what was won is packed whatever else failed."""
    args = arguments().parse_args(argv)
    status, sound = 0, True
    try:
        session = Session(args)
        if args.stage == "unpack":
            unpack(session, args.carried or args.out)
            return 0
        args.out.mkdir(parents=True, exist_ok=True)
        for stage in STAGES[args.stage]:
            if not sound and stage is not pack:
                continue
            say(f"-- {stage.__name__}, {session.left():.0f} s left")
            try:
                stage(session)
            except Failed as error:
                say(f"FAILED: {error}")
                status, sound = 1, sound and stage not in (probe, check)
    except UserError as error:
        say(f"gpu_session.py: {error}")
        return error.exit_status
    say(f"done, {session.left():.0f} s left; {args.out}/session.json")
    return status


if __name__ == "__main__":
    sys.exit(main())
