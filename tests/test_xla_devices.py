"""Several devices: the same run to rounding, on simulated CPU devices and in two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parmesan_cagem import config
from parmesan_cagem.engines.xla.devices import Devices
from parmesan_cagem.errors import UserError

SCRIPT = Path(__file__).with_name("device_steps.py")


def begin(count, output, simulated, **variables):
    flag = f"--xla_force_host_platform_device_count={simulated}"
    environment = {**os.environ, "XLA_FLAGS": flag, "PYTHONPATH": f"{SCRIPT.parent}:{SCRIPT.parents[1]}", **variables}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(count), str(output)], env=environment, text=True, stdout=subprocess.PIPE
    )


def finish(process):
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    output = tmp_path_factory.mktemp("one") / "run.npz"
    finish(begin(1, output, simulated=1))
    return np.load(output)


def assert_same_run(found, expected):
    assert set(found.files) == set(expected.files)
    for name in expected.files:
        a, b = found[name].astype("float64"), expected[name].astype("float64")
        if name.startswith("random/") or name == "adam/t":
            np.testing.assert_array_equal(a, b, err_msg=name)
        elif name.startswith("outputs/"):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)
        elif name.startswith("weights/"):
            # Adam's steps are 1e-3 whatever the gradient: rounding can turn those of a gradient that is nearly zero.
            assert np.linalg.norm(a - b) <= 1e-3 * max(np.linalg.norm(b), 1), name


@pytest.mark.parametrize("count", [2, 4, 8])
def test_simulated_devices_give_the_same_run(count, one, tmp_path):
    out = finish(begin(count, tmp_path / "run.npz", simulated=8))
    assert f"{count} x " in out
    assert_same_run(np.load(tmp_path / "run.npz"), one)


def test_two_processes_give_the_same_run(one, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    processes = []
    for i in range(2):
        variables = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(i)}
        processes.append(begin(2, tmp_path / f"run{i}.npz", simulated=1, **variables))
    for i, process in enumerate(processes):
        assert "2 x " in finish(process)  # JAX may say more
        assert_same_run(np.load(tmp_path / f"run{i}.npz"), one)


def test_a_process_among_several_still_hears_sigterm():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    program = (
        "import os, signal, sys\n"
        "import parmesan_cagem\n"
        "from parmesan_cagem.engines.xla import devices\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('heard', flush=True), os._exit(0)))\n"
        "devices.found()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "signal.sigtimedwait([], 20)\n"
        "os._exit(1)\n"
    )
    variables = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **variables}, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match=r"--devices 99: JAX sees \d+ of kind \w+; use at most that many"):
        Devices(99)


@pytest.mark.parametrize(
    ("flag", "changes", "nearest"),
    [
        ("batch-size", {"batch_size": 50, "labelled_batch_size": 40}, "48 or 52"),
        ("batch-size", {"batch_size": 2, "labels": 0}, "4"),
        ("labelled-batch-size", {"batch_size": 60, "labelled_batch_size": 30}, "28 or 32"),
        ("labelled-batch-size", {"batch_size": 60, "labels": 50}, "48 or 52"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_sizes(flag, changes, nearest):
    with pytest.raises(UserError, match=f"--{flag} .* --devices 4: .*equal parts; use --{flag} {nearest}"):
        config.experiment("smoke", engine="xla", devices=4, **changes)
