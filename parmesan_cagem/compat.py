"""Repairs that let Theano-PyMC 1.1.2 and Lasagne 0.1 (2020 and 2015) import on today's Python and NumPy.

Each repair is a no-op where the original still exists. :func:`prepare` runs when ``parmesan_cagem`` is imported; what
needs Theano itself (:mod:`parmesan_cagem.compat_theano`) waits for Theano's import, by an import hook, so that neither
the order of imports nor the absence of Theano matters.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import sysconfig
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import compile_cache
from parmesan_cagem.toolchain import blas_flags, numpy_has_c_code, require_toolchain, theano_flags

__all__ = ["NUMPY_NAMES", "blas_flags", "prepare", "require_toolchain"]


class _Cast:
    """``numpy.cast[dtype](value)``."""

    def __getitem__(self, dtype: Any) -> Callable[[Any], np.ndarray]:
        if not isinstance(dtype, type):
            dtype = getattr(dtype, "dtype", dtype)  # a Theano type is no dtype, but has one
        return lambda value: np.asarray(value).astype(dtype)


# Names that NumPy 1.20 to 2.0 dropped and Theano still reads. All are needed: without `complex` nothing crashes at
# import, but constant folding (theano.tensor.basic.numpy_scalar) breaks silently and an optimiser assertion fails;
# without `sctype2char` a function of integers (Elemwise.prepare_node) fails when it is compiled.
NUMPY_NAMES: dict[str, Any] = {
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
    "MAXDIMS": 32,  # what CumOp says for "all axes"
    "cast": _Cast(),
    "sctype2char": lambda dtype: np.dtype(dtype).char,
    "AxisError": np.exceptions.AxisError,
    "ComplexWarning": np.exceptions.ComplexWarning,
}


def prepare() -> None:
    """Make ``import theano`` and ``import lasagne`` work from here on; harmless when repeated."""
    _restore_numpy_names()
    _set_theano_flags()
    _stand_in_for_pkg_resources()
    if sys.modules.get("theano") is not None:
        _repair_theano()
    elif not any(isinstance(finder, _AroundTheano) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AroundTheano())


def _restore_numpy_names() -> None:
    for name, value in NUMPY_NAMES.items():
        if name not in vars(np):
            setattr(np, name, value)


def _set_theano_flags() -> None:
    """Add to ``THEANO_FLAGS`` what the user did not set.

    ``floatX``: the paper's precision. ``blas.ldflags``: unless it is given, Theano asks ``numpy.distutils``, which no
    longer knows, and the import dies. ``base_compiledir``: the user's cache, so that deleting it is safe and plain.
    ``cxx``: empty with NumPy 2, so that Theano looks for no compiler and computes in Python whatever XLA does not.
    """
    flags = theano_flags()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    flags.setdefault("floatX", "float32")
    flags.setdefault("base_compiledir", str(cache / "cagem" / "theano"))
    if not numpy_has_c_code():
        flags.setdefault("cxx", "")
    if "blas__ldflags" not in flags:
        blas = blas_flags()
        flags["blas__ldflags"] = blas["ldflags"]
        flags["gcc__cxxflags"] = f"{flags.get('gcc__cxxflags', '')} {blas['cxxflags']}".strip()
    os.environ["THEANO_FLAGS"] = ",".join(f"{name}={value}" for name, value in flags.items())


def _stand_in_for_pkg_resources() -> None:
    """``lasagne/__init__.py`` asks ``pkg_resources`` for its own version; setuptools 82 no longer has it."""
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    if importlib.util.find_spec("pkg_resources") is None:
        from importlib import metadata

        module = types.ModuleType("pkg_resources")
        module.__dict__.update(
            get_distribution=metadata.distribution, DistributionNotFound=metadata.PackageNotFoundError
        )
        sys.modules["pkg_resources"] = module


# distutils and numpy.distutils: Theano imports both, at module level.


def _python_include(plat_specific: bool = False, prefix: str | None = None) -> str:
    return sysconfig.get_path("platinclude" if plat_specific else "include")


def _python_library(plat_specific: bool = False, standard_lib: bool = False, prefix: str | None = None) -> str:
    kind = "stdlib" if standard_lib else "lib" if plat_specific else "purelib"
    return sysconfig.get_path(f"plat{kind}" if plat_specific else kind)


def _missing_modules() -> dict[str, dict[str, Any]]:
    """Modules that Theano imports and this Python or NumPy no longer has: name -> the members that Theano uses."""
    missing: dict[str, dict[str, Any]] = {}
    if sys.version_info >= (3, 12):  # setuptools may offer its own copy; it warns, and is not always there
        missing["distutils"] = {}
        missing["distutils.spawn"] = {"find_executable": shutil.which}
        missing["distutils.sysconfig"] = {
            "get_config_var": sysconfig.get_config_var,
            "get_config_h_filename": sysconfig.get_config_h_filename,
            "get_python_version": sysconfig.get_python_version,
            "get_python_inc": _python_include,
            "get_python_lib": _python_library,
        }
    if sys.version_info >= (3, 12) or importlib.util.find_spec("numpy.distutils") is None:  # NumPy 2.5 has none
        missing["numpy.distutils"] = {}
        missing["numpy.distutils.__config__"] = {"blas_opt_info": {}}
        missing["numpy.distutils.misc_util"] = {"get_numpy_include_dirs": lambda: [np.get_include()]}
    return missing


@contextlib.contextmanager
def _missing_modules_stand_in() -> Iterator[None]:
    """While it lasts, the missing modules can be imported.

    Theano keeps what it has imported. Nobody else must find these stand-ins: setuptools, say, warns when it meets a
    ``distutils`` that is not its own.
    """
    missing = _missing_modules()
    before = {name: sys.modules[name] for name in missing if name in sys.modules}
    for name, members in missing.items():
        module = types.ModuleType(name)
        module.__path__ = []  # a package, whose submodules stand in sys.modules
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _compile_folder_of_its_own() -> Iterator[compile_cache.Store | None]:
    """While it lasts, the compile folder that Theano reads from its flags is this process's: :mod:`compile_cache`.

    Yields the store that it shares with others, or None where the user names the very folder, or none can be made.
    """
    flags, given = theano_flags(), os.environ.get("THEANO_FLAGS", "")
    store = None
    if "compiledir" not in flags and "base_compiledir" in flags:
        base = Path(os.path.expanduser(flags["base_compiledir"]))
        with contextlib.suppress(OSError):  # Theano will say it
            store = compile_cache.Store(base, compile_cache.private_folder(base))
            store.take_fixed()
            os.environ["THEANO_FLAGS"] = f"{given},compiledir={store.compiledir}"
    try:
        yield store
    finally:
        os.environ["THEANO_FLAGS"] = given


def _repair_theano() -> None:
    from parmesan_cagem import compat_theano  # imports Theano

    compat_theano.repair()
    # Not a repair, but of the same moment: theano.function(..., mode="XLA").
    from parmesan_cagem.engines.xla import linker

    linker.register()


class _AroundTheano(importlib.abc.MetaPathFinder):
    """Finds ``theano`` as usual; has the missing modules stand in while it is imported, and repairs it afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "theano":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                with _missing_modules_stand_in(), _compile_folder_of_its_own() as store:
                    run(module)
                _repair_theano()
                if store is not None:
                    compile_cache.share(store, sys.modules["theano.link.c.cmodule"])

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
