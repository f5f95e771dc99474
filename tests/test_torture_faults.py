"""Short versions of ``torture.faults``: what fails beneath Python, and on a real full disk."""

import json
import os
import subprocess
import sys

import pytest

from torture import failing

EVERYTHING = """
import os, shutil, sys
from pathlib import Path
import h5py, numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torture.failing import Fault, Library
library, folder = Library(), Path(sys.argv[1])
library.arm(folder, Fault())
(folder / "plain").write_text("x")
shutil.copyfile(folder / "plain", folder / "copy")
os.replace(folder / "copy", folder / "renamed")
os.link(folder / "plain", folder / "link")
os.truncate(folder / "plain", 0)
os.unlink(folder / "link")
with open(folder / "flushed", "w") as file:
    file.write("x")
    file.flush()
    os.fsync(file.fileno())
h5py.File(folder / "hdf5", "w").create_dataset("x", data=1)
Image.new("L", (3, 3)).save(folder / "picture.png")
Figure().savefig(folder / "figure.png")
np.savez(folder / "arrays.npz", x=1)
os.chdir(folder)
os.mkdir("relative")
for kind, path in sorted(set(library.disarm())):
    print(kind, path.relative_to(folder))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return failing.build(tmp_path_factory.mktemp("library"))


def python(library, *words, **variables):
    environment = {**os.environ, "LD_PRELOAD": str(library), **variables}
    return subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True)


def test_nothing_escapes_it(library, tmp_path):
    done = python(library, "-c", EVERYTHING, tmp_path)
    assert done.returncode == 0, done.stderr
    counted = set(done.stdout.splitlines())
    written = {"plain", "flushed", "hdf5", "picture.png", "figure.png", "arrays.npz"}
    assert counted >= {f"{kind} {name}" for kind in ("create", "write", "close") for name in written}
    assert counted >= {"copy copy", "rename renamed", "link link", "unlink link", "truncate plain", "fsync flushed"}
    assert "mkdir relative" in counted


def test_a_process_can_be_told_by_its_environment(library, tmp_path):
    variables = {"FAILING_FOLDER": str(tmp_path), "FAILING_AT": "2", "FAILING_MODE": "1", "FAILING_ERRNO": "28"}
    done = python(library, "-c", "import sys; open(sys.argv[1], 'wb', 0).write(b'xy')", tmp_path / "x", **variables)
    assert "No space left on device" in done.stderr
    assert (tmp_path / "x").read_bytes() == b""


def test_what_a_run_writes_survives_every_fault(tmp_path):
    figures = tmp_path / "figures.json"
    words = ["--sparse", "--only", "checkpoint", "log", "record", "disk", "--json", str(figures)]
    done = subprocess.run([sys.executable, "-m", "torture.faults", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["lost"] == 0
    assert found["injected"] >= 150
    tried = found["details"]["full disk"]
    if tried[-1].startswith("left out"):
        pytest.skip(tried[-1])
    assert len(tried) == 7
