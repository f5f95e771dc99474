"""Stand-ins for modules that Theano imports and that Python 3.12 or NumPy 2 no longer has."""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from python_process import run_python

from parmesan_cagem import compat

MODERN = Path(__file__).resolve().parent.parent / ".venv-modern" / "bin" / "python"
DISTUTILS = {"distutils", "distutils.spawn", "distutils.sysconfig"}
OF_NUMPY = {"numpy.distutils", "numpy.distutils.__config__", "numpy.distutils.misc_util"}


def python_is(monkeypatch, version, numpy_distutils):
    find = importlib.util.find_spec
    there = lambda name, *more: numpy_distutils if name == "numpy.distutils" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", there)
    monkeypatch.setattr(sys, "version_info", version)


@pytest.mark.parametrize(
    ("version", "numpy_distutils", "missing"),
    [
        ((3, 11, 7), object(), set()),
        ((3, 11, 7), None, OF_NUMPY),
        ((3, 12, 0), None, DISTUTILS | OF_NUMPY),
        ((3, 13, 5), object(), DISTUTILS | OF_NUMPY),  # a folder may be there; without distutils it cannot be imported
    ],
)
def test_only_what_is_missing_has_a_stand_in(version, numpy_distutils, missing, monkeypatch):
    python_is(monkeypatch, version, numpy_distutils)
    assert compat._missing_modules().keys() == missing


def test_the_stand_ins_answer_what_theano_asks(monkeypatch):
    python_is(monkeypatch, (3, 13, 0), None)
    missing = compat._missing_modules()
    asked = missing["distutils.sysconfig"]
    assert missing["distutils.spawn"]["find_executable"]("sh") == shutil.which("sh")
    assert asked["get_config_var"]("EXT_SUFFIX") == sysconfig.get_config_var("EXT_SUFFIX")
    assert asked["get_config_h_filename"]() == sysconfig.get_config_h_filename()
    assert asked["get_python_version"]() == sysconfig.get_python_version()
    assert asked["get_python_inc"]() == sysconfig.get_path("include")
    assert asked["get_python_inc"](plat_specific=True) == sysconfig.get_path("platinclude")
    assert asked["get_python_lib"]() == sysconfig.get_path("purelib")
    assert asked["get_python_lib"](plat_specific=1) == sysconfig.get_path("platlib")
    assert asked["get_python_lib"](plat_specific=1, standard_lib=1) == sysconfig.get_path("platstdlib")
    assert asked["get_python_lib"](standard_lib=1) == sysconfig.get_path("stdlib")
    assert missing["numpy.distutils.misc_util"]["get_numpy_include_dirs"]() == [np.get_include()]
    assert missing["numpy.distutils.__config__"]["blas_opt_info"] == {}


def test_stand_ins_can_be_imported_and_leave_no_trace(monkeypatch):
    monkeypatch.setattr(compat, "_missing_modules", lambda: {"stand_in": {}, "stand_in.part": {"answer": 42}})

    def import_and_fail():
        with compat._missing_modules_stand_in():
            import stand_in.part  # type: ignore[import-not-found]

            assert stand_in.part.answer == 42
            raise KeyError("whatever")

    for there_before in (False, True):
        original = object()
        if there_before:
            monkeypatch.setitem(sys.modules, "stand_in", original)
        with pytest.raises(KeyError, match="whatever"):
            import_and_fail()
        assert "stand_in.part" not in sys.modules
        assert sys.modules.get("stand_in") is (original if there_before else None)


def test_nobody_else_finds_what_theano_was_given():
    # setuptools warns, twice, of a distutils that is not its own.
    program = """
import sys, warnings
import parmesan_cagem, theano
from theano.link.c import cmodule
assert cmodule.distutils.sysconfig.get_config_var("EXT_SUFFIX")
if sys.version_info >= (3, 12):
    assert not [name for name in sys.modules if "distutils" in name and "hack" not in name]
    warnings.simplefilter("error")
    import setuptools
else:
    import distutils.sysconfig
    assert distutils.sysconfig is cmodule.distutils.sysconfig
print(len(cmodule.std_include_dirs()) > 2)
"""
    assert run_python(program) == "True\n"


def test_a_setuptools_that_was_there_first_is_kept():
    program = """
import setuptools, sys
theirs = sys.modules.get("distutils")
import parmesan_cagem, theano, lasagne
print(sys.modules.get("distutils") is theirs)
"""
    assert run_python(program) == "True\n"


@pytest.mark.skipif(not MODERN.exists(), reason="no .venv-modern (make modern)")
def test_the_modern_environment_computes_without_a_compiler(tmp_path):
    program = """
import parmesan_cagem
import numpy as np, theano, theano.tensor as T, lasagne, jax
from parmesan_cagem.errors import UserError
from parmesan_cagem import engines
assert np.__version__.startswith("2.") and theano.config.cxx == "" and theano.config.linker == "vm"
a, b = T.matrix(), T.vector()
x = np.arange(6, dtype=np.float32).reshape(3, 2)
cvm = theano.compile.Mode("cvm", "fast_run")
for mode in ("FAST_COMPILE", "FAST_RUN", None, theano.compile.Mode("py", "fast_run"), cvm):
    product, vector = theano.function([a, b], [2 * T.dot(a, a.T) + 1, T.dot(a, b)], mode=mode)(x, x[1])
    assert product.dtype == vector.dtype == np.float32
    assert (product == 2 * x @ x.T + 1).all() and (vector == x @ x[1]).all()
try:
    engines.check("c")
except UserError as error:
    print(error)
"""
    printed = run_python(program, python=str(MODERN), PATH=str(tmp_path))
    assert printed.startswith("engine c needs NumPy < 2, here is NumPy 2.")
