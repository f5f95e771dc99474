"""NaN and Inf in data, bound, terms, gradients, weights, moments and running averages, in training and evaluation.

``numeric_sweep`` strikes a small run of real digits at every place with NaN, Inf and -Inf, in engine xla and engine c.
Here follow whole processes, as a user starts them: a fault in the graph of ``run_mnist.py``; a step size of 1e30, which
needs no injection; and ``cagem evaluate`` and ``--resume`` on a checkpoint or a ledger that holds a NaN.

Survived is a fault after which the process ended with status 3 and one line that says where, every file that was good
is the bytes that it was, no record was written, and where training failed, failure.json tells of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from parmesan_cagem import checkpoint, files, sealed
from torture import figures as torture_figures
from torture.figures import Figures
from torture.numeric_sweep import sweep

ROOT = Path(__file__).resolve().parent.parent
RUN = ("--preset", "smoke", "--labels", "20", "--eval-images", "20", "--class-draws", "1", "--no-progress")
TIMEOUT = 1800  # seconds that a process may take: a quarter of a minute when nothing else runs
GOOD = ("checkpoint.h5", "checkpoint.previous.h5", "evaluation.h5", "log.jsonl", "record.json")


class Processes:
    """Processes of the package, each held against what was promised.

    Parameters
    ----------
    figures : Figures
    folder : Path
        For runs.
    """

    def __init__(self, figures: Figures, folder: Path) -> None:
        self.figures, self.folder = figures, folder

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python ARGUMENTS`` in the checkout."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=TIMEOUT)

    def run(self, name: str, engine: str, *flags: str, driver: Sequence[str] = ("run_mnist.py",)) -> Path:
        """Train a run that must end well; its folder."""
        done = self.python(*driver, *RUN, "--engine", engine, "--out", str(self.folder), "--name", name, *flags)
        if done.returncode:
            raise RuntimeError(f"{name} ended with status {done.returncode}: {done.stderr[-500:]}")
        return self.folder / name

    def strike(self, what: str, run: Path, words: Sequence[str], *arguments: str, training: bool = False) -> None:
        """A process that must end with status 3, one line with those ``words``, and leave what is good as it is."""
        before = _digests(run)
        done = self.python(*arguments)
        lines = done.stderr.splitlines()
        last = lines[-1] if lines else ""
        wrong = []
        if done.returncode != 3:
            wrong.append(f"status {done.returncode}, not 3")
        if "Traceback" in done.stderr or not all(word in last for word in words):
            wrong.append(f"it says {last!r}, without {' or '.join(w for w in words if w not in last) or 'calm'}")
        after = _digests(run)
        changed = [name for name in before if before[name] != after.get(name)]
        if changed:
            wrong.append(f"changed: {', '.join(changed)}")
        if "record.json" not in before and (run / "record.json").exists():
            wrong.append("a record was written")
        if training:
            wrong += _failure(run / "failure.json")
        if wrong:
            self.figures.lose(f"{what}: {'; '.join(wrong)}")
        else:
            self.figures.survive()
        self.figures.say(f"{what}: {last}")


def _digests(run: Path) -> dict[str, str]:
    """What is good of a run's files, by name."""
    kept = [run / name for name in GOOD if (run / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _failure(path: Path) -> list[str]:
    """What is wrong with a failure.json."""
    try:
        told = json.loads(path.read_text(), parse_constant=lambda word: word)
    except (OSError, ValueError) as error:
        return [f"failure.json: {error}"]
    wanted = {"epoch", "step", "batch", "labelled_batch", "outputs"}
    named = {"F", "objective", "KL_z1", "KL_z2", "H_q", "H_p", "gradient_norm_y", "gradient_norm_rest"}
    if not wanted <= set(told) or not named <= set(told["outputs"]) or len(told["batch"]) != 50:
        return [f"failure.json lacks something: {sorted(told)}, {sorted(told['outputs'])}"]
    return []


def training(processes: Processes, engine: str, rng: np.random.Generator) -> None:
    """Faults in whole runs: one that needs no injection, then one in the second epoch of a run with a checkpoint."""
    steps = 10  # of an epoch
    run = processes.folder / f"{engine}-1e30"
    flags = (*RUN, "--engine", engine, "--out", str(processes.folder))
    words = ("epoch 1, step 1: not finite: ", "failure.json", "no checkpoint yet")
    processes.strike(
        f"engine {engine}, --learning-rate 1e30", run, words, "run_mnist.py", *flags, "--name", run.name,
        "--learning-rate", "1e30", training=True,
    )  # fmt: skip
    for place in ("gradient rest", "adam/v/q_y.logits.W"):
        run = processes.folder / f"{engine}-{place.split('/')[0].replace(' ', '-')}"
        more = ("--clip-norm", "5") if place == "gradient rest" else ()
        processes.run(run.name, engine, "--epochs", "1", "--train-only", *more)
        step = int(rng.integers(steps))
        words = ("epoch 2, step ", "not finite: ", place.replace("gradient ", "gradient_norm_"), "is intact")
        processes.strike(
            f"engine {engine}, inf in {place} at step {step} of epoch 2", run, words, "-m", "torture.numeric_driver",
            place, "inf", str(step), *flags, "--name", run.name, "--epochs", "2", "--resume", *more, training=True,
        )  # fmt: skip


def evaluation(processes: Processes) -> None:
    """A NaN that lies in a file: of a checkpoint, and of the ledgers of an evaluation and of a part of it."""
    run = processes.run("evaluated", "xla", "--epochs", "1", "--train-only")
    evaluate = ("-m", "parmesan_cagem", "evaluate", "--no-progress")
    for name in ("weights/q_y.logits.b", "weights/q_z1.bn1.running_variance"):
        bad = Path(shutil.copytree(run, processes.folder / name.replace("/", "-")))
        _spoil_checkpoint(bad, name)
        words = ("checkpoint.h5: nan in ", name.removeprefix("weights/"), "checkpoint.previous.h5")
        processes.strike(f"evaluate, nan in {name}", bad, words, *evaluate, str(bad))
    bad = Path(shutil.copytree(run, processes.folder / "resumed"))
    _spoil_checkpoint(bad, "adam/v/q_y.logits.b")
    again = ("run_mnist.py", *RUN, "--out", str(processes.folder), "--name", bad.name, "--epochs", "2", "--resume")
    words = ("--resume: ", "checkpoint.h5: nan in adam/v/q_y.logits.b at [0]")
    processes.strike("--resume, nan in a moment", bad, words, *again)
    for part in ((), ("--shard", "1/2")):
        done = processes.python(*evaluate, str(run), *part)
        assert done.returncode == 0, done.stderr
    (run / "record.json").unlink()
    for name, more in (("evaluation.h5", ()), ("evaluation.shard-1-of-2.h5", ("--merge", "2"))):
        shutil.copyfile(run / "evaluation.shard-1-of-2.h5", run / "evaluation.shard-2-of-2.h5")
        _relabel(run / "evaluation.shard-2-of-2.h5", "2/2")
        bad = Path(shutil.copytree(run, processes.folder / f"bad-{name}"))
        _spoil_ledger(bad / name)
        words = (f"{name}: nan in ", "remove that file")
        processes.strike(f"evaluate {' '.join(more)}, nan in {name}", bad, words, *evaluate, str(bad), *more)


def _spoil_checkpoint(run: Path, name: str) -> None:
    """Put a NaN into one array of a checkpoint, which stays sealed and sound."""
    saved = checkpoint.load(run)
    arrays = dict(saved.arrays)
    arrays[name] = np.array(arrays[name])
    arrays[name].flat[0] = np.nan
    checkpoint.save(run, arrays, saved.attributes)


def _spoil_ledger(path: Path) -> None:
    def spoil(arrays: dict[str, np.ndarray], _: dict[str, object]) -> None:
        name = next(name for name in arrays if name.startswith("bounds/") and name.endswith("/values"))
        row = int(np.flatnonzero(arrays[name.removesuffix("values") + "done"])[0])
        arrays[name] = np.array(arrays[name])
        arrays[name][row, 0] = np.nan

    _rewrite(path, spoil)


def _relabel(path: Path, which: str) -> None:
    def relabel(_: dict[str, np.ndarray], facts: dict[str, object]) -> None:
        facts["identity"] = {**facts["identity"], "shard": which}  # type: ignore[dict-item]

    _rewrite(path, relabel)


def _rewrite(path: Path, change: Callable[[dict[str, np.ndarray], dict[str, object]], None]) -> None:
    arrays, facts = sealed.decode(sealed.read(path))
    change(arrays, facts)
    body = sealed.encode(arrays, facts)
    files.write_atomically(path, sealed.seal(body) + body)


def main(argv: Sequence[str] | None = None) -> int:
    """Everything; 0 if nothing was lost."""
    parser = torture_figures.arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", default="xla,c", metavar="NAMES", help="xla,c")
    args = parser.parse_args(argv)
    figures = Figures("numeric")
    scratch = Path(tempfile.mkdtemp(prefix="numeric-"))
    processes = Processes(figures, scratch / "processes")
    for engine in args.engines.split(","):
        before = figures.injected
        (scratch / engine).mkdir()
        sweep(figures, engine, scratch / engine, args.seed)
        training(processes, engine, np.random.default_rng(args.seed))
        figures.details[f"faults with engine {engine}"] = figures.injected - before
    evaluation(processes)
    return figures.finish(args.json, scratch)


if __name__ == "__main__":
    sys.exit(main())
