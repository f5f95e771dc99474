"""Each repair that lets Theano-PyMC 1.1.2 and Lasagne 0.1 run today, in processes of their own where it must be."""

import ctypes
import ctypes.util
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from parmesan_cagem import compat
from parmesan_cagem.errors import UserError

NUMPY_NAMES = {
    **{"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str},
    **{"product": np.prod, "alltrue": np.all, "sometrue": np.any, "cumproduct": np.cumprod},
}


def run_python(program, **environment):
    """What the program prints, in a process of its own; it must end well and say nothing else."""
    clean = {name: value for name, value in os.environ.items() if name != "THEANO_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**clean, **environment}, timeout=250
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# NumPy's names


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_the_name_that_numpy_dropped_is_back(name):
    assert compat.NUMPY_ALIASES[name] is NUMPY_NAMES[name]
    assert len(compat.NUMPY_ALIASES) == len(NUMPY_NAMES)
    if isinstance(NUMPY_NAMES[name], type):
        assert vars(np)[name] is NUMPY_NAMES[name]
    else:  # NumPy 1.26 still has functions of these names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.array([3, 0, 4])
            assert np.array_equal(vars(np)[name](values), NUMPY_NAMES[name](values))


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_a_name_that_numpy_has_not_is_set(name, monkeypatch):
    monkeypatch.delattr(np, name)
    compat._restore_numpy_names()
    assert vars(np)[name] is NUMPY_NAMES[name]


@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_a_name_that_numpy_still_has_is_left_alone(name, monkeypatch):
    mine = object()
    monkeypatch.setattr(np, name, mine)
    compat._restore_numpy_names()
    assert getattr(np, name) is mine


# Theano's flags


def flags_for(monkeypatch, given):
    if given is None:
        monkeypatch.delenv("THEANO_FLAGS", raising=False)
    else:
        monkeypatch.setenv("THEANO_FLAGS", given)
    compat._set_theano_flags()
    flags = [flag.partition("=") for flag in os.environ["THEANO_FLAGS"].split(",")]
    names = [name.replace(".", "__") for name, _, _ in flags]
    assert len(set(names)) == len(names)  # none twice
    return dict(zip(names, (value for _, _, value in flags), strict=True))


@pytest.mark.parametrize("given", [None, ""], ids=["unset", "empty"])
def test_theanos_flags_have_defaults(given, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    flags = flags_for(monkeypatch, given)
    assert flags["floatX"] == "float32"
    assert flags["base_compiledir"] == str(tmp_path / "cagem" / "theano")
    assert flags["blas__ldflags"] == compat.blas_flags()["ldflags"]
    assert flags["gcc__cxxflags"] == compat.blas_flags()["cxxflags"]


def test_without_a_cache_folder_the_compile_folder_is_in_the_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert flags_for(monkeypatch, None)["base_compiledir"] == "/home/somebody/.cache/cagem/theano"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("floatX=float64", {"floatX": "float64"}),
        ("base_compiledir=/a/b", {"base_compiledir": "/a/b"}),
        ("blas__ldflags=-lmkl", {"blas__ldflags": "-lmkl"}),
        ("blas.ldflags=-lmkl", {"blas__ldflags": "-lmkl"}),
        ("blas__ldflags=", {"blas__ldflags": ""}),
        (" openmp=True , floatX=float64", {"openmp": "True", "floatX": "float64"}),
        ("optimizer_excluding=fusion:inplace", {"optimizer_excluding": "fusion:inplace"}),
    ],
)
def test_a_users_own_flags_are_kept(given, kept, monkeypatch):
    flags = flags_for(monkeypatch, given)
    assert {name: flags[name].strip() for name in kept} == kept
    if "blas__ldflags" in kept:  # the routines of another BLAS must keep their names
        assert "scipy_" not in flags.get("gcc__cxxflags", "")
    else:
        assert "blas__ldflags" in flags


def test_a_users_compiler_flags_stay_beside_ours(monkeypatch):
    flags = flags_for(monkeypatch, "gcc__cxxflags=-O1 -march=native")
    assert flags["gcc__cxxflags"].startswith("-O1 -march=native")
    assert "-Dsgemm_=scipy_sgemm_" in flags["gcc__cxxflags"]


def test_setting_the_flags_twice_changes_nothing(monkeypatch):
    first = flags_for(monkeypatch, None)
    assert flags_for(monkeypatch, os.environ["THEANO_FLAGS"]) == first


# The BLAS


def test_the_locked_blas_is_found():
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


def test_without_the_wheel_the_systems_blas_is_taken(monkeypatch):
    without_the_wheel(monkeypatch, "libopenblas.so.0")
    found = compat.blas_flags()
    assert (found["ldflags"], found["cxxflags"], found["preload"]) == ("-lopenblas", "", "")
    assert found["library"] != "none"


def test_without_any_blas_theano_is_told_so(monkeypatch):
    without_the_wheel(monkeypatch, None)
    assert compat.blas_flags() == {"ldflags": "", "cxxflags": "", "library": "none", "preload": ""}


def test_theanos_dot_calls_openblas():
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


# Imports


@pytest.mark.parametrize(
    "imports",
    [
        "import parmesan_cagem, theano, lasagne",
        "import parmesan_cagem; import lasagne, theano",
        "import numpy, parmesan_cagem, lasagne",
        "import parmesan_cagem.models.cagem, lasagne",
        "import parmesan_cagem, parmesan_cagem.compat; parmesan_cagem.compat.prepare(); import theano, lasagne",
    ],
)
def test_the_order_of_imports_does_not_matter(imports):
    program = f"""
{imports}
import theano
from theano.sandbox.rng_mrg import MRG_RandomStream, MRG_RandomStreams
from theano.tensor.signal import downsample, pool
import theano.tensor.signal.downsample as again
assert MRG_RandomStreams is MRG_RandomStream
assert downsample is again and downsample.max_pool_2d is pool.pool_2d
assert issubclass(theano.tensor.TensorVariable, theano.gof.Variable)
assert theano.config.floatX == "float32"
import lasagne
images = lasagne.layers.InputLayer((2, 3))
layer = lasagne.layers.DenseLayer(images, 4)
assert lasagne.layers.get_output(layer, {{images: theano.tensor.matrix()}}).ndim == 2
print(lasagne.__version__)
"""
    assert run_python(program) == "0.1\n"


@pytest.mark.parametrize("how", ["None in sys.modules", "blocked"])
def test_the_package_imports_without_theano(how):
    block = "sys.modules['theano'] = None"
    if how == "blocked":
        block = """
class Block:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("theano", "lasagne"):
            raise ImportError("blocked " + name)
sys.meta_path.insert(0, Block())"""
    program = f"""
import sys
{block}
import parmesan_cagem, parmesan_cagem.compat, parmesan_cagem.config, parmesan_cagem.arguments, parmesan_cagem.records
import parmesan_cagem.data.mnist, parmesan_cagem.partition, parmesan_cagem.runfolder, parmesan_cagem.provenance
parmesan_cagem.compat.prepare()
parmesan_cagem.provenance.versions()
try:
    import theano
except ImportError:
    print("no theano")
"""
    assert run_python(program) == "no theano\n"


def test_importing_the_package_imports_no_theano():
    program = "import sys, parmesan_cagem; print([n for n in ('theano', 'lasagne') if n in sys.modules])"
    assert run_python(program) == "[]\n"


def test_preparing_twice_is_harmless():
    program = """
import os, sys, parmesan_cagem
from parmesan_cagem import compat
before = list(sys.meta_path), os.environ["THEANO_FLAGS"]
hooks = lambda: sum(type(finder).__name__ == "_AfterTheano" for finder in sys.meta_path)
compat.prepare()
assert (list(sys.meta_path), os.environ["THEANO_FLAGS"]) == before and hooks() == 1
import theano, theano.tensor.signal.downsample as downsample
gof = theano.gof
flags = os.environ["THEANO_FLAGS"]
for _ in range(2):
    compat.prepare()
assert theano.gof is gof and sys.modules["theano.tensor.signal.downsample"] is downsample
assert os.environ["THEANO_FLAGS"] == flags
assert hooks() <= 1
import lasagne
print("well")
"""
    assert run_python(program) == "well\n"


def test_theano_imported_first_is_repaired_too():
    # The user has then given what Theano's import needs.
    program = """
import numpy
for name, value in {"bool": bool, "int": int, "float": float, "complex": complex, "object": object}.items():
    setattr(numpy, name, value)
import theano
assert not hasattr(theano, "gof")
import parmesan_cagem, lasagne
print(hasattr(theano, "gof"))
"""
    assert run_python(program, THEANO_FLAGS="blas__ldflags=-lm,floatX=float32") == "True\n"


def test_lasagne_imports_without_pkg_resources():
    program = """
import sys
class Block:
    def find_spec(self, name, path, target=None):
        if name == "pkg_resources":
            raise ModuleNotFoundError(name)
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "pkg_resources" else find(name, *more)
sys.meta_path.insert(0, Block())
import parmesan_cagem, lasagne
import pkg_resources
print(lasagne.__version__, pkg_resources.__spec__)
"""
    assert run_python(program) == "0.1 None\n"


# What engine c needs


def test_the_toolchain_of_this_machine_is_enough():
    compat.require_toolchain()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"g\+\+.*PATH.*apt-get install g\+\+") as error:
        compat.require_toolchain()
    assert one_line(error)


def test_missing_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"Python\.h.*apt-get install python3\.\d+-dev") as error:
        compat.require_toolchain()
    assert one_line(error)


@pytest.mark.parametrize(
    "flags", ["floatX=float32", "blas__ldflags=", "blas__ldflags=,floatX=float32", "blas.ldflags="]
)
def test_a_missing_blas_is_named(flags, monkeypatch):
    without_the_wheel(monkeypatch, None)
    monkeypatch.setenv("THEANO_FLAGS", flags)
    compat._set_theano_flags()
    with pytest.raises(UserError, match=r"BLAS.*scipy-openblas32.*libopenblas-dev.*THEANO_FLAGS") as error:
        compat.require_toolchain()
    assert one_line(error)


@pytest.mark.parametrize("flags", ["blas__ldflags=-lmkl", "floatX=float32,blas.ldflags=-lopenblas"])
def test_a_blas_that_the_user_names_is_enough(flags, monkeypatch):
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
def test_flags_that_theano_cannot_use_are_refused(flags, words, monkeypatch):
    monkeypatch.setenv("THEANO_FLAGS", flags)
    compat._set_theano_flags()
    with pytest.raises(UserError, match=words) as error:
        compat.require_toolchain()
    assert one_line(error)


def test_repairs_of_what_is_whole_change_nothing(monkeypatch):
    import theano
    from theano.sandbox import rng_mrg

    before = theano.gof, rng_mrg.MRG_RandomStreams, sys.modules["theano.tensor.signal.downsample"]
    assert isinstance(before[0], types.ModuleType)
    compat._repair_theano()
    assert (theano.gof, rng_mrg.MRG_RandomStreams, sys.modules["theano.tensor.signal.downsample"]) == before


# Versions


def test_versions_are_printed_in_two_columns():
    done = subprocess.run([sys.executable, "-m", "parmesan_cagem.versions"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["theano-pymc"] == "1.1.2"
    assert rows["lasagne"] == "0.1"
    assert rows["numpy"] == np.__version__
    assert rows["blas"] == "scipy-openblas32"
    assert rows["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert "g++" in rows
    assert str(Path.home()) not in done.stdout
