"""Repairs that let Theano-PyMC 1.1.2 and Lasagne 0.1 (2020 and 2015) import and compile on today's Python and NumPy.

Every repair of the package is in this file, each a no-op where the original still exists. :func:`prepare` runs when
``parmesan_cagem`` is imported; what needs Theano itself waits for Theano's import, by an import hook, so that neither
the order of imports nor the absence of Theano matters.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem.errors import UserError

# Names that NumPy 1.20 to 1.26 dropped and Theano still reads. All are needed: without `complex` nothing crashes at
# import, but constant folding (theano.tensor.basic.numpy_scalar) breaks silently and an optimiser assertion fails.
NUMPY_ALIASES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
    "product": np.prod,
    "alltrue": np.all,
    "sometrue": np.any,
    "cumproduct": np.cumprod,
}

# The BLAS routines that Theano's C code calls by their Fortran names; the wheel scipy-openblas32 prefixes them.
_BLAS_ROUTINES = ("gemm", "gemv", "ger", "dot", "axpy", "scal", "copy", "swap", "nrm2", "asum")


def prepare() -> None:
    """Make ``import theano`` and ``import lasagne`` work from here on; harmless when repeated."""
    _restore_numpy_names()
    _set_theano_flags()
    _stand_in_for_pkg_resources()
    if sys.modules.get("theano") is not None:
        _repair_theano()
    elif not any(isinstance(finder, _AfterTheano) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterTheano())


def _restore_numpy_names() -> None:
    for name, value in NUMPY_ALIASES.items():
        if name not in vars(np):
            setattr(np, name, value)


def _set_theano_flags() -> None:
    """Add to ``THEANO_FLAGS`` what the user did not set.

    ``floatX``: the paper's precision. ``blas.ldflags``: unless it is given, Theano asks ``numpy.distutils``, which no
    longer knows, and the import dies. ``base_compiledir``: the user's cache, so that deleting it is safe and plain.
    """
    flags = _theano_flags()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    flags.setdefault("floatX", "float32")
    flags.setdefault("base_compiledir", str(cache / "cagem" / "theano"))
    if "blas__ldflags" not in flags:
        blas = blas_flags()
        flags["blas__ldflags"] = blas["ldflags"]
        flags["gcc__cxxflags"] = f"{flags.get('gcc__cxxflags', '')} {blas['cxxflags']}".strip()
    os.environ["THEANO_FLAGS"] = ",".join(f"{name}={value}" for name, value in flags.items())


def _theano_flags() -> dict[str, str]:
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
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
        for library in sorted(folder.glob("libscipy_openblas.*")):
            renames = [f"-D{p}{r}_=scipy_{p}{r}_" for r in _BLAS_ROUTINES for p in "sd"]
            # Theano uses its BLAS code only when there is a linker flag: -lm is one that is always true.
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
    """Check what Theano's C code needs: a C++ compiler, Python's headers, a BLAS, a folder; imports no Theano.

    Raises
    ------
    UserError
        Names what is missing and the package that provides it.
    """
    flags = _theano_flags()
    if flags["floatX"] not in ("float32", "float64"):
        raise UserError(f"THEANO_FLAGS floatX={flags['floatX']}: must be float32 (the paper's) or float64")
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
        raise UserError(f"compile folder {folder}: cannot write: {error.strerror}; {fix}") from error


def _stand_in_for_pkg_resources() -> None:
    """``lasagne/__init__.py`` asks ``pkg_resources`` for its own version; setuptools 82 no longer has it."""
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    if importlib.util.find_spec("pkg_resources") is None:
        from importlib import metadata

        _module(
            "pkg_resources",
            get_distribution=metadata.distribution,
            DistributionNotFound=metadata.PackageNotFoundError,
        )


def _repair_theano() -> None:
    """Load the BLAS, and give Lasagne 0.1 what it looks for under names that Theano-PyMC changed."""
    theano = sys.modules["theano"]
    if "=scipy_sgemm_" in theano.config.gcc__cxxflags:
        ctypes.CDLL(blas_flags()["preload"], mode=ctypes.RTLD_GLOBAL)
    if not hasattr(theano, "gof"):
        # lasagne.utils.as_theano_expression, used by get_output(layer, {layer: expression}), tests theano.gof.Variable.
        from theano.graph.basic import Variable

        _module("theano.gof", Variable=Variable)
    from theano.sandbox import rng_mrg

    if not hasattr(rng_mrg, "MRG_RandomStreams"):
        rng_mrg.MRG_RandomStreams = rng_mrg.MRG_RandomStream
    if "theano.tensor.signal.downsample" not in sys.modules:
        from theano.tensor.signal import pool

        _module("theano.tensor.signal.downsample", max_pool_2d=pool.pool_2d)
    # Not a repair, but of the same moment: theano.function(..., mode="XLA").
    from parmesan_cagem.engines.xla import linker

    linker.register()


def _module(name: str, **members: Any) -> types.ModuleType:
    """Register a stand-in module in ``sys.modules`` and as an attribute of its parent."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, module)
    return module


class _AfterTheano(importlib.abc.MetaPathFinder):
    """Finds ``theano`` as usual and runs :func:`_repair_theano` once it has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "theano":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                run(module)
                _repair_theano()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
