"""The BLAS, the compiler and all else that engine c needs; and the table of versions."""

import ctypes
import ctypes.util
import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from python_process import run_python

from parmesan_cagem import compat
from parmesan_cagem.errors import UserError
from parmesan_cagem.toolchain import numpy_has_c_code

# The BLAS


def test_the_locked_blas_is_found(c_engine):
    found = compat.blas_flags()
    assert found["library"] == "scipy-openblas32"
    assert Path(found["preload"]).is_file()
    library = ctypes.CDLL(found["preload"])
    renames = dict(pair.split("=") for pair in found["cxxflags"].replace("-D", "").split())
    assert {"sgemm_", "dgemm_", "sgemv_", "sdot_"} <= set(renames)
    # Every renamed routine exists under its new name, and not under the old one.
    assert [new for new in renames.values() if not hasattr(library, new)] == []
    assert [old for old in renames if hasattr(library, old)] == []


def without_the_wheel(monkeypatch, system):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "scipy_openblas32" else find(name, *more)
    )
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: system if name == "openblas" else None)


def test_without_the_wheel_the_systems_blas_is_taken(c_engine, monkeypatch):
    without_the_wheel(monkeypatch, "libopenblas.so.0")
    found = compat.blas_flags()
    assert (found["ldflags"], found["cxxflags"], found["preload"]) == ("-lopenblas", "", "")
    assert found["library"] != "none"


def test_without_any_blas_theano_is_told_so(c_engine, monkeypatch):
    without_the_wheel(monkeypatch, None)
    assert compat.blas_flags() == {"ldflags": "", "cxxflags": "", "library": "none", "preload": ""}


def test_theanos_dot_calls_openblas(c_engine):
    # The compiled product must be fast, right, and made by the library of the wheel: its thread setter rules the speed.
    printed = run_python("""
import ctypes, time
import parmesan_cagem
from parmesan_cagem import compat
import numpy as np, theano, theano.tensor as T
a, b, v = T.matrix("a"), T.matrix("b"), T.vector("v")
f = theano.function([a, b, v], [T.dot(a, b), T.dot(a, v)], mode=theano.compile.Mode("cvm", "fast_run"))
nodes = [type(node.op).__name__ for node in f.maker.fgraph.toposort()]
assert {"Dot22", "CGemv"} <= set(nodes), nodes
rng = np.random.default_rng(0)
x, y, z = (rng.standard_normal(shape, dtype=np.float32) for shape in ((70, 33), (33, 50), 33))
product, vector = f(x, y, z)
assert product.dtype == np.float32
assert np.allclose(product, x.astype(float) @ y, atol=1e-4), abs(product - x @ y).max()
assert np.allclose(vector, x.astype(float) @ z, atol=1e-4)
# A module of Theano's that uses BLAS leaves gemm undefined; the loader found it in the wheel.
library = ctypes.CDLL(compat.blas_flags()["preload"])
every = ctypes.CDLL(None)
address = lambda where: ctypes.cast(where.scipy_sgemm_, ctypes.c_void_p).value
assert address(every) == address(library)
import pathlib, sysconfig
modules = [p for p in map(str.split, open("/proc/self/maps")) if len(p) > 5 and str(theano.config.compiledir) in p[5]]
uses = {p[5] for p in modules if b"scipy_sgemm_" in pathlib.Path(p[5]).read_bytes()}
print(len(uses) > 0)
""")
    assert printed == "True\n"


# What engine c needs


def test_the_toolchain_of_this_machine_is_enough(c_engine):
    compat.require_toolchain()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numpy_2_is_named_with_what_to_use_instead(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.5.5")
    words = r"NumPy < 2, here is NumPy 2\.5\.5; use --engine xla, or the archive environment \(make setup\)"
    with pytest.raises(UserError, match=words) as error:
        compat.require_toolchain()
    assert one_line(error)
    assert compat.blas_flags()["library"] == "none"


def test_a_missing_compiler_is_named(c_engine, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"g\+\+.*PATH.*apt-get install g\+\+") as error:
        compat.require_toolchain()
    assert one_line(error)


def test_missing_headers_are_named(c_engine, monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"Python\.h.*apt-get install python3\.\d+-dev") as error:
        compat.require_toolchain()
    assert one_line(error)


@pytest.mark.parametrize(
    "flags", ["floatX=float32", "blas__ldflags=", "blas__ldflags=,floatX=float32", "blas.ldflags="]
)
def test_a_missing_blas_is_named(c_engine, flags, monkeypatch):
    without_the_wheel(monkeypatch, None)
    monkeypatch.setenv("THEANO_FLAGS", flags)
    compat._set_theano_flags()
    with pytest.raises(UserError, match=r"BLAS.*scipy-openblas32.*libopenblas-dev.*THEANO_FLAGS") as error:
        compat.require_toolchain()
    assert one_line(error)


@pytest.mark.parametrize("flags", ["blas__ldflags=-lmkl", "floatX=float32,blas.ldflags=-lopenblas"])
def test_a_blas_that_the_user_names_is_enough(c_engine, flags, monkeypatch):
    without_the_wheel(monkeypatch, None)
    monkeypatch.setenv("THEANO_FLAGS", flags)
    compat._set_theano_flags()
    compat.require_toolchain()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("floatX=float16", "floatX=float16: must be float32"),
        ("base_compiledir=/proc/nowhere", "/proc/nowhere: cannot write.*base_compiledir"),
        ("base_compiledir=/tmp/a'b", "a'b: .*quotes.*base_compiledir"),
    ],
)
def test_flags_that_theano_cannot_use_are_refused(c_engine, flags, words, monkeypatch):
    monkeypatch.setenv("THEANO_FLAGS", flags)
    compat._set_theano_flags()
    with pytest.raises(UserError, match=words) as error:
        compat.require_toolchain()
    assert one_line(error)


# Versions


def test_versions_are_printed_in_two_columns():
    done = subprocess.run([sys.executable, "-m", "parmesan_cagem.versions"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["theano-pymc"] == "1.1.2"
    assert rows["lasagne"] == "0.1"
    assert rows["numpy"] == np.__version__
    assert rows["blas"] == ("scipy-openblas32" if numpy_has_c_code() else "none")
    assert rows["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert "g++" in rows
    assert str(Path.home()) not in done.stdout
