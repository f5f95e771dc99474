"""What Theano's C code needs from the machine: NumPy 1, a compiler, headers, a BLAS, a folder. Imports no Theano."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

from parmesan_cagem.errors import UserError
from parmesan_cagem.files import cause

# The BLAS routines that Theano's C code calls by their Fortran names; the wheel scipy-openblas32 prefixes them.
_BLAS_ROUTINES = ("gemm", "gemv", "ger", "dot", "axpy", "scal", "copy", "swap", "nrm2", "asum")


def numpy_has_c_code() -> bool:
    """Whether Theano's C code compiles against this NumPy: it uses structures that NumPy 2 made private."""
    return int(np.__version__.split(".")[0]) < 2


def theano_flags() -> dict[str, str]:
    """``THEANO_FLAGS`` as names and values; old names with dots become those of Theano-PyMC."""
    given = [flag.partition("=") for flag in os.environ.get("THEANO_FLAGS", "").split(",")]
    return {name.strip().replace(".", "__"): value for name, equals, value in given if equals}


def blas_flags() -> dict[str, str]:
    """Find the BLAS that Theano's C code will call.

    Returns
    -------
    dict
        ``ldflags`` (empty: no BLAS was found), ``cxxflags``, ``library`` (a name) and ``preload`` (a file or empty).

    Notes
    -----
    The locked wheel ``scipy-openblas32`` comes first: the BLAS is then pinned by hash like every other package and no
    system package is needed. Its symbols carry a prefix, so the compiler renames Theano's calls; the library is loaded
    before Theano's modules instead of being linked, because ``THEANO_FLAGS`` allows neither commas (``-Wl,-rpath``)
    nor folders with spaces, and because the compile cache then survives a move of the virtual environment.
    """
    # Theano uses its BLAS code only when there is a linker flag: -lm is one that is always true.
    if not numpy_has_c_code():
        # Nothing will be linked; but without a flag Theano logs a warning at import.
        return {"ldflags": "-lm", "cxxflags": "", "library": "none", "preload": ""}
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
        for library in sorted(folder.glob("libscipy_openblas.*")):
            renames = [f"-D{p}{r}_=scipy_{p}{r}_" for r in _BLAS_ROUTINES for p in "sd"]
            return {
                "ldflags": "-lm",
                "cxxflags": " ".join(renames),
                "library": "scipy-openblas32",
                "preload": str(library),
            }
    if ctypes.util.find_library("openblas"):
        return {"ldflags": "-lopenblas", "cxxflags": "", "library": "system OpenBLAS", "preload": ""}
    return {"ldflags": "", "cxxflags": "", "library": "none", "preload": ""}


def require_toolchain() -> None:
    """Check what Theano's C code needs: NumPy 1, a C++ compiler, Python's headers, a BLAS, a folder.

    Raises
    ------
    UserError
        Names what is missing and the package that provides it.
    """
    flags = theano_flags()
    if flags["floatX"] not in ("float32", "float64"):
        raise UserError(f"THEANO_FLAGS floatX={flags['floatX']}: must be float32 (the paper's) or float64")
    if not numpy_has_c_code():
        raise UserError(
            f"engine c needs NumPy < 2, here is NumPy {np.__version__}; "
            "use --engine xla, or the archive environment (make setup)"
        )
    _require_writable(Path(flags["base_compiledir"]))
    if shutil.which("g++") is None:
        raise UserError("engine c needs the C++ compiler g++, which is not on PATH; install it: apt-get install g++")
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise UserError(
            f"engine c needs Python's headers (Python.h); install them: apt-get install python{version}-dev"
        )
    if not flags["blas__ldflags"]:
        raise UserError(
            "engine c needs a BLAS: pip install scipy-openblas32 or apt-get install libopenblas-dev, "
            "or name one in THEANO_FLAGS=blas__ldflags=-l..."
        )


def _require_writable(folder: Path) -> None:
    """Theano compiles into ``folder``, whose name goes through a shell-like parser."""
    fix = "name another with XDG_CACHE_HOME or THEANO_FLAGS=base_compiledir=DIR"
    if set("'\",") & set(str(folder)):
        raise UserError(f"compile folder {folder}: Theano cannot use a name with quotes or commas; {fix}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"compile folder {folder}: cannot write: {cause(error)}; {fix}") from error
