"""What a bare machine is told before an environment is built: one line on standard error, which names the fix."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"


class Machine:
    """A bare machine: a Python and a g++ on its PATH, nothing else; parts can be taken away.

    The Python is this one, which says that it is of another version.
    """

    def __init__(self, folder: Path, tool: str, version: str):
        self.tool = tool
        self.path, self.modules, self.include = folder / "bin", folder / "modules", folder / "include"
        for place in (self.path, self.modules, self.include):
            place.mkdir()
        self.program("g++", "exit 0")
        self.program(f"python{version}", f'exec "{sys.executable}" "$@"')
        # Modules on PYTHONPATH stand before the standard library's.
        (self.include / "Python.h").touch()
        (self.modules / "ensurepip.py").touch()
        (self.modules / "sitecustomize.py").write_text(
            f"import sys, sysconfig\nsysconfig.get_path = lambda name: {str(self.include)!r}\n"
            f"sys.version_info = ({version.replace('.', ', ')}, 0)\n"
        )

    def program(self, name: str, body: str) -> None:
        program = self.path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    def check(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {"PATH": str(self.path), "PYTHONPATH": str(self.modules)}
        command = [str(TOOLS / self.tool), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def complaint(self, *arguments: str) -> str:
        """The one line a failing check prints, and nothing but it."""
        result = self.check(*arguments)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"missing: .+\n", result.stderr)
        return result.stderr


# The archive environment


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path, "check-prerequisites", "3.11")


@pytest.mark.parametrize("name", ["python3.11", "python3", "python"])
def test_a_complete_machine_is_told_its_interpreter(machine, name):
    (machine.path / "python3.11").rename(machine.path / name)
    result = machine.check()
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{name}\n", "")


def test_no_python_3_11(machine):
    machine.program("python3.11", "exit 127")  # a shim of pyenv, say, that leads nowhere
    complaint = machine.complaint()
    assert "Python 3.11" in complaint
    assert "apt-get install python3.11 " in complaint


def test_a_given_python_that_is_none(machine):
    assert "'nowhere/python3'" in machine.complaint("nowhere/python3")


def test_no_headers(machine):
    (machine.include / "Python.h").unlink()
    assert "apt-get install python3.11-dev" in machine.complaint()


def test_no_venv(machine):
    (machine.modules / "ensurepip.py").write_text("raise ImportError")
    assert "apt-get install python3.11-venv" in machine.complaint()


def test_no_compiler(machine):
    (machine.path / "g++").unlink()
    assert "apt-get install g++" in machine.complaint()


# The modern environment: no compiler, no headers, several versions


@pytest.fixture
def modern_machine(tmp_path):
    def make(version="3.13"):
        made = Machine(tmp_path, "check-modern", version)
        (made.path / "g++").unlink()
        (made.include / "Python.h").unlink()
        return made

    return make


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_python_3_11_to_3_13_build_the_modern_environment(modern_machine, version):
    result = modern_machine(version).check()
    assert (result.returncode, result.stdout, result.stderr) == (0, f"python{version}\n", "")


def test_the_newest_python_is_taken(modern_machine):
    machine = modern_machine("3.12")
    for name in ("python3.11", "python3"):
        shutil.copy(machine.path / "python3.12", machine.path / name)
    machine.program("python3.13", "exit 127")  # a shim that leads nowhere
    assert machine.check().stdout == "python3.12\n"
    assert machine.check("python3.11").stdout == "python3.11\n"


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_another_python_builds_no_modern_environment(modern_machine, version):
    machine = modern_machine(version)
    assert f"'python{version}'" in machine.complaint(f"python{version}")
    (machine.path / f"python{version}").rename(machine.path / "python3")
    complaint = machine.complaint()
    assert "Python 3.11 to 3.13" in complaint
    assert "PYTHON_MODERN=" in complaint


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_a_python_without_venv_builds_no_modern_environment(modern_machine, module):
    machine = modern_machine("3.12")
    (machine.modules / f"{module}.py").write_text("raise ImportError")
    assert "apt-get install python3.12-venv" in machine.complaint()


# What builds Theano-PyMC on Python 3.12 and later


def test_the_version_script_of_theano_finds_its_parser(tmp_path):
    """As versioneer reads setup.cfg; configparser is left alone where it still has the name."""
    (tmp_path / "setup.cfg").write_text("[versioneer]\nstyle = pep440\n")
    program = """
import configparser, sys
had = sys.version_info < (3, 12)
assert (configparser.SafeConfigParser.__module__ == "configparser") == had, configparser.SafeConfigParser
parser = configparser.SafeConfigParser()
with open("setup.cfg") as f:
    parser.readfp(f)
print(parser.get("versioneer", "style"))
"""
    environment = {**os.environ, "PYTHONPATH": str(TOOLS / "modern-build")}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "pep440\n", "")
