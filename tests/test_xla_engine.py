"""Engine xla as the package calls it: functions, precision, the compile cache, what is missing."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import theano
import theano.tensor as T

from parmesan_cagem import config, engines
from parmesan_cagem.engines.xla import products
from parmesan_cagem.engines.xla.engine import XLA
from parmesan_cagem.errors import UserError

X = T.matrix("x")


def test_a_function_follows_set_value():
    weight = theano.shared(np.full((3, 2), 2.0, "float32"))
    call = XLA().function([X], [T.dot(X, weight), weight.sum()], "f")
    x = np.ones((4, 3), "float32")
    np.testing.assert_array_equal(call(x)[0], np.full((4, 2), 6.0))
    weight.set_value(np.full((3, 2), 5.0, "float32"))
    values = call(x)
    np.testing.assert_array_equal(values[0], np.full((4, 2), 15.0))
    assert values[1] == 30
    values[0][:] = 0  # results are the caller's
    np.testing.assert_array_equal(call(x)[0], np.full((4, 2), 15.0))


def test_a_function_takes_every_number_of_rows():
    call = XLA().function([X], [X.sum(axis=0)], "f")
    for rows in (1, 5, 3000):
        x = np.random.default_rng(rows).normal(size=(rows, 7)).astype("float32")
        np.testing.assert_allclose(call(x)[0], x.sum(axis=0, dtype="float64"), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 300), (5000, 3), (31, 64), (64, 20, 30)])
@pytest.mark.parametrize("axis", [0, (0, 1), 1, None])
def test_sums_of_every_size_are_accurate(shape, axis):
    variable = T.TensorType("float32", (False,) * len(shape))()
    call = XLA().function([variable], [T.sum(variable, axis=axis)], "sum")
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = x.sum(axis=axis, dtype="float64")
    np.testing.assert_allclose(call(x)[0], expected, rtol=1e-5, atol=1e-6 * np.abs(x).sum())


@pytest.mark.parametrize("shape", [(100, 600, 700), (300, 600, 700), (700, 600, 10), (20, 3, 2), (700, 10, 600)])
@pytest.mark.parametrize("transposed", ["neither", "x", "y", "both"])
def test_products_of_transposes_of_every_size(shape, transposed):
    rows, inner, columns = shape
    rng = np.random.default_rng(2)
    x, y = (rng.normal(size=s).astype("float32") for s in ((rows, inner), (inner, columns)))
    a, b = T.matrix("a"), T.matrix("b")
    turn_x, turn_y = transposed in ("x", "both"), transposed in ("y", "both")
    call = XLA().function([a, b], [T.dot(a.T if turn_x else a, b.T if turn_y else b)], "dot")
    (value,) = call(x.T if turn_x else x, y.T if turn_y else y)
    np.testing.assert_allclose(value, x.astype("float64") @ y, rtol=1e-4, atol=1e-5 * inner)


def test_bf16_rounds_the_factors_and_nothing_else():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(50, 64)).astype("float32"), rng.normal(size=(64, 30)).astype("float32")
    exact, rounded = (
        XLA(precision=precision).function([X], [T.dot(X, T.constant(y)), X.sum(axis=0)], "f")(x)
        for precision in ("float32", "bf16")
    )
    bf16 = [np.asarray(jax.numpy.asarray(v).astype(jax.numpy.bfloat16), "float64") for v in (x, y)]
    np.testing.assert_allclose(rounded[0], bf16[0] @ bf16[1], rtol=1e-5, atol=1e-4)
    assert np.abs(rounded[0] - exact[0]).max() > 1e-3
    np.testing.assert_array_equal(rounded[1], exact[1])
    assert rounded[0].dtype == "float32"


def test_tf32_asks_for_the_devices_own_precision(monkeypatch):
    asked = []
    original = products.lax.dot_general

    def dot_general(*args, precision=None, **kwargs):
        asked.append(precision)
        return original(*args, precision=precision, **kwargs)

    monkeypatch.setattr(products.lax, "dot_general", dot_general)
    for precision in ("float32", "tf32"):
        XLA(precision=precision).function([X], [T.dot(X, X)], "f")(np.ones((2, 2), "float32"))
    assert asked == [jax.lax.Precision.HIGHEST, jax.lax.Precision.DEFAULT]


def test_an_unknown_precision_is_refused():
    with (
        pytest.raises(ValueError, match="precision 'half': choose one of float32, tf32, bf16"),
        products.precision("half"),
    ):
        pass


def test_xla_is_the_default_where_jax_is(monkeypatch):
    assert engines.default() == config.Experiment().engine == "xla"
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert engines.default() == "c"
    with pytest.raises(UserError, match="JAX is not installed; pip install jax, or use --engine c"):
        engines.get("xla")


def test_engine_c_has_one_precision():
    with pytest.raises(UserError, match="--precision bf16: engine c has float32 only; use --engine xla"):
        config.experiment("smoke", engine="c", precision="bf16")


CACHED = """
import parmesan_cagem
import jax, numpy as np, theano.tensor as T
from parmesan_cagem.engines.xla.engine import XLA
assert jax.config.jax_compilation_cache_dir is None
engine = XLA()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
x = T.matrix()
engine.function([x], [T.exp(x).sum()], "f")(np.ones((3, 3), "float32"))
"""


def test_programs_are_cached_on_disk_across_processes(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    folder = tmp_path / "cagem" / "xla"
    written = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CACHED], check=True, env=environment)
        written.append({p.name for p in folder.iterdir() if p.name.endswith("-cache")})
    assert written[0]
    assert written[1] == written[0]


def test_a_cache_that_the_user_chose_is_kept(tmp_path):
    code = CACHED.replace("is None", f"== {str(tmp_path / 'mine')!r}")
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert any((tmp_path / "mine").iterdir())
    assert not (tmp_path / "cagem").exists()


def test_an_accelerator_is_given_larger_calls_than_a_cpu(monkeypatch):
    cpu = XLA().rows_per_call
    monkeypatch.setattr(products, "on_cpu", lambda: False)
    assert XLA().rows_per_call > 10 * cpu
