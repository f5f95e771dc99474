"""What lets Theano-PyMC and Lasagne be imported today: NumPy's names, Theano's flags, the order of imports."""

import os
import sys
import warnings

import numpy as np
import pytest
from python_process import run_python

from parmesan_cagem import compat
from parmesan_cagem.toolchain import numpy_has_c_code

NAMES = {
    **{"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str},
    **{"product": np.prod, "alltrue": np.all, "sometrue": np.any, "cumproduct": np.cumprod},
    **{"AxisError": np.exceptions.AxisError, "ComplexWarning": np.exceptions.ComplexWarning, "MAXDIMS": 32},
}
SUCCESSORS = {  # of what NumPy replaced by nothing of its own
    "cast": lambda cast: [cast[kind](300.7).dtype for kind in ("int8", "float32", np.float64)],
    "sctype2char": lambda char: [char(kind) for kind in ("int8", "float32", np.float64, np.dtype("complex64"))],
}


# NumPy's names


@pytest.mark.parametrize("name", [*NAMES, *SUCCESSORS])
def test_the_name_that_numpy_dropped_is_back(name):
    assert name in vars(np)
    assert compat.NUMPY_NAMES.keys() == NAMES.keys() | SUCCESSORS.keys()
    if name in ("product", "alltrue", "sometrue", "cumproduct"):  # NumPy 1.26 still has functions of these names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.array([3, 0, 4])
            assert np.array_equal(vars(np)[name](values), NAMES[name](values))
    elif name in NAMES and name != "bool":  # NumPy 2 has a bool again, its own
        assert vars(np)[name] is NAMES[name]


def test_casts_and_characters_are_those_of_numpy_1():
    expected = {"cast": [np.dtype(kind) for kind in ("int8", "float32", "float64")], "sctype2char": list("bfdF")}
    for name, values in SUCCESSORS.items():
        for whose in (vars(np), compat.NUMPY_NAMES):  # NumPy 1.26 still has both
            assert values(whose[name]) == expected[name]
    import theano

    assert compat.NUMPY_NAMES["cast"][theano.scalar.float32](1).dtype == "float32"


@pytest.mark.parametrize("name", [*NAMES, *SUCCESSORS])
def test_a_name_that_numpy_has_not_is_set(name, monkeypatch):
    monkeypatch.delattr(np, name)
    compat._restore_numpy_names()
    assert vars(np)[name] is (NAMES[name] if name in NAMES else compat.NUMPY_NAMES[name])


@pytest.mark.parametrize("name", [*NAMES, *SUCCESSORS])
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


def test_a_users_compiler_flags_stay_beside_ours(c_engine, monkeypatch):
    flags = flags_for(monkeypatch, "gcc__cxxflags=-O1 -march=native")
    assert flags["gcc__cxxflags"].startswith("-O1 -march=native")
    assert "-Dsgemm_=scipy_sgemm_" in flags["gcc__cxxflags"]


@pytest.mark.parametrize(("given", "cxx"), [(None, ""), ("cxx=clang++", "clang++"), ("cxx=", "")])
def test_with_numpy_2_theano_looks_for_no_compiler(given, cxx, monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.5.5")
    flags = flags_for(monkeypatch, given)
    assert flags["cxx"] == cxx
    # Linked with nothing, but not empty: Theano would log a warning.
    assert (flags["blas__ldflags"], flags["gcc__cxxflags"]) == ("-lm", "")


def test_with_numpy_1_the_compiler_is_theanos_choice(monkeypatch):
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert "cxx" not in flags_for(monkeypatch, None)
    assert flags_for(monkeypatch, "cxx=clang++")["cxx"] == "clang++"


def test_setting_the_flags_twice_changes_nothing(monkeypatch):
    first = flags_for(monkeypatch, None)
    assert flags_for(monkeypatch, os.environ["THEANO_FLAGS"]) == first


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
hooks = lambda: sum(type(finder).__name__ == "_AroundTheano" for finder in sys.meta_path)
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


@pytest.mark.skipif(sys.version_info >= (3, 12) or not numpy_has_c_code(), reason="Theano needs our help to import")
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
