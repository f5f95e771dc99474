"""Imported before any test: parmesan_cagem makes Theano and Lasagne importable."""

import os
import signal

import pytest

from parmesan_cagem.toolchain import numpy_has_c_code

# The image sets it; tests say themselves where results go.
os.environ.pop("CAGEM_RESULTS", None)

# A background job of a plain shell ignores SIGINT, nohup SIGHUP; programs then ignore them too: a test of its own.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

pytest.register_assert_rewrite("checkpoints", "python_process", "refusals", "runs", "sharded", "toy", "toy_step")


@pytest.fixture(scope="session")
def c_engine():
    """Asked for by every test that needs Theano's C code: in the modern environment it skips them."""
    if not numpy_has_c_code():
        pytest.skip("engine c needs NumPy < 2")


@pytest.fixture(scope="module")
def trained_only(tmp_path_factory):
    """A run with 20 labels that nobody has evaluated; to be copied."""
    from small_runs import train  # imports Theano, which most tests do without

    out = tmp_path_factory.mktemp("trained")
    train(out, "--labels", "20", "--train-only")
    return out / "run"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run with 20 labels and its record; to be copied."""
    from small_runs import train

    out = tmp_path_factory.mktemp("evaluated")
    train(out, "--labels", "20")
    return out / "run"
