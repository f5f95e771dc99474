#!/usr/bin/env python3
"""Put into a folder the wheels that a machine without network or compiler lacks beside its own Python and JAX.

    .venv-modern/bin/python tools/gpu_wheels.py WHEELS --python 3.12

Run it in the modern environment (`make modern`), on a machine with network. Versions and hashes are those of
requirements/modern.lock. Theano and Lasagne are pure Python, published as sources, and are built here; the rest is
downloaded for Linux on x86-64 and the given Python. docs/gpu.md says how to install the folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
BUILT = {"theano-pymc", "lasagne"}
# JAX (which belongs to the machine's CUDA) with all that it requires, what engine c alone needs, what only tests
# need, what only figures need (they are drawn elsewhere).
LEFT_OUT = {"numpy", "scipy", "jax", "jaxlib", "ml-dtypes", "opt-einsum", "scipy-openblas32", "colorama"} | {
    *("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "execnet", "iniconfig", "pluggy", "pygments"),
    *("sortedcontainers", "matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing"),
    *("python-dateutil", "tzdata"),
}


def wanted(lock: str, python: str) -> dict[str, str]:
    """The requirements of a lock, with their hashes, that count on Linux and that Python: name -> logical line."""
    there = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = {}
    for line in lock.replace("\\\n", " ").splitlines():
        text, _, hashes = line.partition("--hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        requirement = Requirement(text)
        if requirement.name in LEFT_OUT or (requirement.marker and not requirement.marker.evaluate(there)):
            continue
        # pip would evaluate the marker for the Python that it runs on, not for the other one.
        found[requirement.name] = f"{requirement.name}{requirement.specifier} --hash={hashes}"
    return found


def main() -> int:
    """Download and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where the wheels go")
    default = ".".join(platform.python_version_tuple()[:2])
    parser.add_argument("--python", default=default, help=f"of the machine that they are for (default {default})")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="packages which that machine has already")
    args = parser.parse_args()
    lines = wanted((ROOT / "requirements" / "modern.lock").read_text(encoding="utf-8"), args.python)
    lines = {name: line for name, line in lines.items() if name not in args.skip}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    target = ["--only-binary", ":all:", "--python-version", args.python, "--implementation", "cp"]
    for level in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        target += ["--platform", level]
    # The same help for Theano's old version script as in `make modern`.
    helped = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "modern-build")}
    with tempfile.TemporaryDirectory() as folder:
        for built, command in (
            (False, ["download", "--no-deps", "--require-hashes", *target, "--dest", str(args.folder)]),
            (True, ["wheel", "--no-deps", "--require-hashes", "--no-build-isolation", "--wheel-dir", str(args.folder)]),
        ):
            file = Path(folder) / "requirements.txt"
            file.write_text("".join(f"{line}\n" for name, line in lines.items() if (name in BUILT) == built))
            if file.stat().st_size:
                subprocess.run([*pip, *command, "-r", str(file)], check=True, env=helped)
    wheels = sorted(args.folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / (1 << 20)
    print(f"{len(wheels)} wheels, {size:.0f} MiB, in {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
