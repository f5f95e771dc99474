"""Mutation testing of what numbers and files rest on: ``python -m tools.mutation --json docs/records/mutation.json``.

Makes every mutant of the modules in ``TESTS``, runs the module's tests against it, and compares the survivors with
``tests/mutants.toml``, which says of each why no test can tell it from the original. Exit status 1 when one survives
unexplained, or when an explanation explains nothing. What is done stands in the progress file: run again after an
interruption, it goes on. A change of the module, or of anything in ``tests``, makes its results void; ``--keep``
keeps those of killed mutants as long as the module is the same, for working on the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.mutation.mutants import Mutant, mutants
from tools.mutation.trial import PACKAGE, Trial

ROOT = Path(__file__).resolve().parent.parent.parent

# Module -> its tests: those that kill most in the least time first.
TESTS = {
    "densities": ["tests/test_densities.py"],
    "objectives": ["tests/test_objective_terms.py", "tests/test_objective.py"],
    "evaluation": ["tests/test_evaluation_fields.py"],
    "checkpoint": ["tests/test_checkpoint.py", "tests/test_checkpoint_damage.py", "tests/test_checkpoint_faults.py"],
    "data/labels": ["parmesan_cagem/data/labels.py", "tests/data/test_labels.py"],
    "label_weights": ["parmesan_cagem/label_weights.py", "tests/test_config.py"],
    "sealed": ["tests/test_sealed.py", "tests/test_checkpoint.py", "tests/test_checkpoint_damage.py"],
    "files": [
        "parmesan_cagem/files.py",
        "tests/test_files.py",
        "tests/test_files_in_place.py",
        "tests/test_records.py",
        "tests/test_checkpoint_faults.py",
    ],
}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 when every survivor is explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}; all when none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--progress", type=Path, default=ROOT / ".mutation.jsonl", metavar="FILE", help="%(default)s")
    parser.add_argument("--keep", action="store_true", help="trust what older tests killed")
    parser.add_argument("--fresh", action="store_true", help="forget the progress file")
    options = parser.parse_args(argv)
    if unknown := set(options.modules) - set(TESTS):
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(TESTS)}")
    if options.fresh:
        options.progress.unlink(missing_ok=True)
    chosen = options.modules or list(TESTS)
    for module in chosen:
        _in_child(module, options.progress, options.keep)
    figures, faults = summary(chosen, _done(options.progress), explanations())
    for line in faults:
        print(line)
    for module, counts in figures["modules"].items():
        print(f"{module}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
    if options.json:
        figures = {"commit": _commit(), "finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", **figures}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if faults else 0


def _in_child(module: str, progress: Path, keep: bool) -> None:
    """Try what is left of the module's mutants, in a process that ends with it: another module warms another one."""
    todo = list(_todo(module, progress, keep))
    print(f"{module}: {len(todo)} mutants to try", flush=True)
    if not todo:
        return
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
                root = Path(folder).resolve() / "checkout"
                _copy(root)
                progress = progress.resolve()
                _try(module, todo, Trial(root, module, TESTS[module]), progress)
                os.chdir("/")
            code = 0
        except SystemExit as error:
            print(error, file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(f"{module}: not all mutants were tried; what was is in {progress}: run again to go on")


def _try(module: str, todo: list[Mutant], trial: Trial, progress: Path) -> None:
    clock = time.monotonic()
    print(f"{module}: its tests take {trial.baseline.cpu} s, {len(trial.stale)} modules imported anew", flush=True)
    of, tests = _of(module), _tests(trial.root)
    with open(progress, "a", encoding="utf-8") as file:
        for count, mutant in enumerate(todo, 1):
            outcome = trial.run(mutant.source)
            entry = {"module": module, "of": of, "tests": tests, **vars(mutant), **vars(outcome)}
            del entry["source"]
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if outcome.result == "survived" or count % 25 == 0:
                minutes = (time.monotonic() - clock) / 60
                what = f"survived: line {mutant.line}: {mutant.was} -> {mutant.now}" if not outcome.by else ""
                print(f"{module} {minutes:5.1f} min {count}/{len(todo)} {what}", flush=True)


def _todo(module: str, progress: Path, keep: bool) -> Iterator[Mutant]:
    of, tests = _of(module), _tests(ROOT)
    done = {
        entry["number"]
        for entry in _done(progress)
        if entry["module"] == module
        and entry["of"] == of
        and (entry["tests"] == tests or (keep and entry["result"] != "survived"))
    }
    for mutant in mutants((ROOT / PACKAGE / f"{module}.py").read_text(encoding="utf-8")):
        if mutant.number not in done:
            yield mutant


def _done(progress: Path) -> list[dict[str, Any]]:
    """What the progress file says, the newest word on each mutant of today's modules; a torn last line is skipped."""
    found = {}
    if progress.exists():
        for line in progress.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["module"] in TESTS and entry["of"] == _of(entry["module"]):
                found[entry["module"], entry["number"]] = entry
    return list(found.values())


def _of(module: str) -> str:
    return hashlib.sha256((ROOT / PACKAGE / f"{module}.py").read_bytes()).hexdigest()[:16]


def _tests(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted((root / "tests").rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _copy(root: Path) -> None:
    """The files of the checkout, those that nobody has committed yet among them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("results/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)


def _commit() -> str:
    return (
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout.decode().strip()
    )


def explanations() -> list[dict[str, str]]:
    """The entries of ``tests/mutants.toml``: ``module``, ``was``, ``now``, ``why``."""
    return tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]


def summary(
    chosen: list[str], done: list[dict[str, Any]], explained: list[dict[str, str]]
) -> tuple[dict[str, Any], list[str]]:
    """The figures, and a line for every survivor that nobody explains and every explanation without a survivor."""
    key = lambda entry: (entry["module"], entry["was"], entry["now"])  # noqa: E731
    why = {key(entry): entry["why"] for entry in explained}
    modules, faults, used = {}, [], set()
    for module in chosen:
        entries = [entry for entry in done if entry["module"] == module]
        results = Counter(entry["result"] for entry in entries)
        survivors = [entry for entry in entries if entry["result"] == "survived"]
        unexplained = [entry for entry in survivors if key(entry) not in why]
        used |= {key(entry) for entry in survivors}
        faults += [f"{module} line {entry['line']} survived: {entry['was']} -> {entry['now']}" for entry in unexplained]
        modules[module] = {
            "mutants": len(entries),
            "killed": results["killed"],
            "timeouts": results["timeout"],
            "survived and explained": len(survivors) - len(unexplained),
            "survived unexplained": len(unexplained),
            "cpu seconds": round(sum(entry["cpu"] for entry in entries)),
        }
    faults += [
        f"{module}: tests/mutants.toml explains what does not survive: {was} -> {now}"
        for module, was, now in sorted(set(why) - used)
        if module in chosen
    ]
    names = ("mutants", "killed", "timeouts", "survived and explained", "survived unexplained", "cpu seconds")
    total = {name: sum(counts[name] for counts in modules.values()) for name in names}
    return {"tool": f"mutmut {importlib.metadata.version('mutmut')}", "modules": modules, "total": total}, faults


if __name__ == "__main__":
    sys.exit(main())
