"""On which device a run computes: said in one line, refused with --require-gpu; what JAX may say of CUDA."""

import logging
import types

import pytest
from refusals import Begun, refuser
from small_runs import called, train

from parmesan_cagem import engines
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.errors import UserError

jax = pytest.importorskip("jax")
from parmesan_cagem.engines.xla import devices, platform  # noqa: E402  # they import JAX


@pytest.fixture
def machine(monkeypatch):
    """A function that says what the machine has."""

    def make(plugin=True, driver=True, sees="gpu", chosen=None):
        monkeypatch.setattr(platform, "_has_plugin", lambda: plugin)
        monkeypatch.setattr(platform, "_has_driver", lambda: driver)
        monkeypatch.setattr(devices, "found", lambda: [types.SimpleNamespace(platform=sees)])
        monkeypatch.setenv("JAX_PLATFORMS", chosen or "")

    return make


@pytest.mark.parametrize(
    ("has", "words"),
    [
        ({"plugin": False, "driver": False}, ["ACCELERATOR=cuda12", "requirements/cuda12.lock"]),
        ({"driver": False}, ["libcuda.so.1", "docker run --gpus all"]),
        ({"chosen": "cpu"}, ["JAX_PLATFORMS=cpu"]),
        ({}, ["nvidia-smi"]),
    ],
)
def test_a_run_without_its_gpu_is_refused_in_a_line_before_it_begins(
    has, words, machine, tmp_path, monkeypatch, capsys
):
    machine(sees="cpu", **has)
    line = refuser(tmp_path, monkeypatch, capsys)("--labels", "100", "--engine", "xla", "--require-gpu")
    assert line.startswith("--require-gpu: ")
    assert [word for word in words if word not in line] == []
    assert not (tmp_path / "runs").exists()


def test_a_run_with_its_gpu_begins(machine, tmp_path, monkeypatch, capsys):
    machine(sees="gpu")
    with pytest.raises(Begun):
        refuser(tmp_path, monkeypatch, capsys)("--labels", "100", "--engine", "xla", "--require-gpu")


def test_without_the_flag_a_cpu_will_do(machine, tmp_path, monkeypatch, capsys):
    machine(sees="cpu")
    with pytest.raises(Begun):
        refuser(tmp_path, monkeypatch, capsys)("--labels", "100", "--engine", "xla")


@pytest.mark.parametrize("sees", ["cpu", "tpu"])
def test_only_a_gpu_is_a_gpu(machine, sees):
    machine(sees=sees)
    with pytest.raises(UserError, match="--require-gpu"):
        engines.require_gpu("xla")


def test_engine_c_has_no_gpu(machine):
    machine(sees="gpu")
    with pytest.raises(UserError, match=r"--require-gpu --engine c: .*--engine xla"):
        engines.require_gpu("c")


# What is said


def test_a_run_and_an_evaluation_say_once_where_they_run_and_evaluate_refuses_too(tmp_path, machine):
    train(tmp_path, "--labels", "20")
    machine(sees="cpu", driver=False)
    run, toy = tmp_path / "run", TheanoC(mode="FAST_COMPILE")
    status, _, told = called("cagem", "evaluate", run, engine=toy)
    assert status == 0, told
    assert told.count("running on the CPU") == 1
    status, _, told = called("cagem", "evaluate", run, "--no-progress", engine=toy)
    assert (status, told) == (0, "")
    status, printed, told = called("cagem", "evaluate", run, "--engine", "xla", "--require-gpu", engine=toy)
    assert (status, printed, told.count("\n")) == (2, "", 1)
    assert told.startswith("cagem: --require-gpu: no NVIDIA driver")


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        ({"name": "xla", "on_cpu": True, "device": "EPYC, 2 cores"}, "no GPU found: running on the CPU, EPYC, 2 cores"),
        ({"name": "xla", "on_cpu": False, "device": "NVIDIA H100"}, "running on NVIDIA H100"),
        ({"name": "c", "on_cpu": True, "device": "AMD EPYC, 1 core"}, "running on the CPU, AMD EPYC, 1 core"),
    ],
)  # fmt: skip
def test_the_line(engine, line):
    assert engines.where(types.SimpleNamespace(**engine)) == line


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda'"), AssertionError()], ids=repr)
def test_a_platform_that_is_not_there_is_one_line(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(platform, "_has_plugin", lambda: True)
    monkeypatch.setattr(platform, "_has_driver", lambda: False)
    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match=r"^JAX_PLATFORMS=cuda: no NVIDIA driver .*; unset it"):
        devices.found()
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(type(error)):  # that is no user's mistake
        devices.found()


# What JAX says

XLA_BRIDGE = logging.getLogger("jax._src.xla_bridge")
FAILED = "Jax plugin configuration error: Exception when calling %s.initialize()"


@pytest.fixture
def said(monkeypatch, caplog):
    """A function: what is logged while JAX looks for devices and two of its plugins fail."""

    def complain():
        XLA_BRIDGE.error(FAILED, "jax_plugins.xla_cuda12")
        XLA_BRIDGE.error(FAILED, "jax_plugins.other")
        return ["a device"]

    def look(driver, chosen):
        monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
        monkeypatch.setattr(platform, "_has_driver", lambda: driver)
        monkeypatch.setattr(platform.jax, "config", types.SimpleNamespace(jax_platforms=chosen))
        monkeypatch.setattr(jax, "devices", complain)
        caplog.clear()
        assert devices.found() == ["a device"]
        return [record.getMessage().split()[-1].removesuffix(".initialize()") for record in caplog.records]

    return look


@pytest.mark.parametrize("chosen", [None, "", "cpu"])
def test_without_a_driver_jax_says_nothing_of_cuda_and_keeps_all_else(said, chosen):
    assert said(driver=False, chosen=chosen) == ["jax_plugins.other"]
    assert not XLA_BRIDGE.filters  # afterwards, everybody is heard again


@pytest.mark.parametrize(("driver", "chosen"), [(True, None), (False, "cuda"), (False, "cuda,cpu"), (False, "gpu")])
def test_a_real_failure_of_cuda_stays_visible(said, driver, chosen):
    assert said(driver, chosen) == ["jax_plugins.xla_cuda12", "jax_plugins.other"]
