"""Provenance tells what ran, never where, and never fails."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from parmesan_cagem import provenance, versions

FLAGS = "floatX=float32,blas__ldflags=-lm,gcc__cxxflags= -Dsgemm_=scipy_sgemm_ -O3,base_compiledir=/home/me/.theano"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout that holds a copy of this package's provenance.py, one commit old."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    folder = tmp_path / "checkout" / "parmesan_cagem"
    folder.mkdir(parents=True)
    (folder / "provenance.py").write_text("source")
    (tmp_path / "checkout" / "results").mkdir()
    (tmp_path / "checkout" / "results" / "record.json").write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path / "checkout", "init", "-q")
    git(tmp_path / "checkout", "add", ".")
    git(tmp_path / "checkout", "commit", "-q", "-m", "one")
    return tmp_path / "checkout"


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, "-c", "core.hooksPath=none", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# ---- versions


def test_versions_are_the_installed_ones():
    told = provenance.versions()
    assert told["python"].endswith(" " + ".".join(map(str, sys.version_info[:3])))
    assert told["numpy"] == np.__version__
    assert told["h5py"] == h5py.__version__
    assert told["hdf5"] == h5py.version.hdf5_version
    assert told["theano-pymc"] == "1.1.2"
    assert told["lasagne"] == "0.1"
    for name in ("g++", "blas", "platform", "cpu", "scipy", "scipy-openblas32", "parmesan-cagem", "requests", "tqdm"):
        assert told[name], name
    assert all(isinstance(version, str) and "\n" not in version for version in told.values())


def test_a_missing_package_is_absent(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-distribution-9",))
    assert provenance.versions()["no-such-distribution-9"] == "absent"


def test_without_a_compiler_versions_still_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.versions()["g++"] == "absent"


def test_theano_is_not_imported():
    code = (
        "import sys; from parmesan_cagem import provenance as p; p.versions(), p.git_state(), p.device_name();"
        "print([m for m in ('theano', 'lasagne', 'scipy') if m in sys.modules])"
    )
    root = Path(provenance.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_no_paths_and_no_host_name(monkeypatch):
    monkeypatch.setenv("THEANO_FLAGS", FLAGS)
    text = repr((provenance.versions(), provenance.git_state(), provenance.device_name()))
    assert not re.search(r"(?<![\w.])/\w", text)
    assert str(Path.home()) not in text
    host = socket.gethostname()
    assert len(host) < 4 or not re.search(rf"\b{re.escape(host)}\b", text)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (FLAGS, "floatX=float32,blas__ldflags=-lm,gcc__cxxflags= -O3"),
        ("blas__ldflags=-L/opt/my/lib -lopenblas", "blas__ldflags=-Llib -lopenblas"),
        ("cxx=/usr/local/bin/g++-12", "cxx=g++-12"),
        ("compiledir=~/x", "absent"),
        ("", "absent"),
        (" optimizer=None , mode=FAST_RUN", "optimizer=None,mode=FAST_RUN"),
    ],
)
def test_theano_flags_without_folders(monkeypatch, flags, told):
    monkeypatch.setenv("THEANO_FLAGS", flags)
    assert provenance.versions()["theano flags"] == told


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "one a core"),
        ({"OPENBLAS_NUM_THREADS": "2", "XLA_FLAGS": ""}, "OPENBLAS_NUM_THREADS=2"),
        (
            {"OMP_NUM_THREADS": "4", "XLA_FLAGS": " --xla_dump_to=/home/me/d --xla_x=2"},
            "OMP_NUM_THREADS=4 XLA_FLAGS= --xla_dump_to=d --xla_x=2",
        ),
    ],
)
def test_threads_that_the_environment_sets_are_told(monkeypatch, environment, told):
    for name in provenance.THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert provenance.versions()["threads"] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("g++ (Debian 12.2.0-14) 12.2.0", "g++ (Debian 12.2.0-14) 12.2.0"),
        ("/usr/bin/g++", "g++"),
        ("~/bin/g++", "g++"),
        ("-I/a/b -L/c/d/ x", "-Ib -L x"),
        ("a/b and 1/2", "a/b and 1/2"),
    ],
)
def test_paths_lose_their_folders(text, told):
    assert provenance._without_paths(text) == told


def test_versions_module_prints_two_aligned_columns():
    root = Path(provenance.__file__).parents[1]
    command = [sys.executable, "-m", "parmesan_cagem.versions"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    names = list(provenance.versions())
    assert len(lines) == len(names)
    width = max(map(len, names)) + 2
    for line, name in zip(lines, names, strict=True):
        assert line[:width].rstrip() == name
        assert line[width : width + 1].strip()
    assert done.stdout.split("\n")[0] == versions.table().split("\n")[0]


# ---- git


def test_git_state_of_a_clean_checkout(checkout):
    assert provenance.git_state() == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_git_state_is_dirty_when_a_tracked_file_differs(checkout):
    (checkout / "parmesan_cagem" / "provenance.py").write_text("changed")
    assert provenance.git_state()["dirty"] is True
    git(checkout, "add", ".")
    assert provenance.git_state()["dirty"] is True


def test_results_and_untracked_files_are_not_dirt(checkout):
    (checkout / "results" / "record.json").write_text("2")
    (checkout / "notes.txt").write_text("")
    assert provenance.git_state()["dirty"] is False


def test_git_state_follows_the_package_not_the_working_folder_or_a_hook(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.chdir(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert provenance.git_state()["commit"] is not None


def test_a_copy_installed_inside_a_foreign_checkout_has_no_commit(checkout, monkeypatch):
    installed = checkout / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "provenance.py").write_text("source")
    monkeypatch.setattr(provenance, "__file__", str(installed / "provenance.py"))
    assert provenance.git_state() == {"commit": None, "dirty": None}


def unborn(folder, monkeypatch):
    git(folder, "update-ref", "-d", "HEAD")


def no_git(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))


def no_checkout(folder, monkeypatch):
    (folder / ".git").rename(folder / "moved")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder))


def damaged(folder, monkeypatch):
    (folder / ".git" / "HEAD").write_text("garbage")


def hanging(folder, monkeypatch):
    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hang)


@pytest.mark.parametrize("trouble", [unborn, no_git, no_checkout, damaged, hanging], ids=lambda f: f.__name__)
def test_git_state_never_fails(checkout, monkeypatch, trouble):
    assert provenance.git_state()["commit"] is not None
    trouble(checkout, monkeypatch)
    assert provenance.git_state() == {"commit": None, "dirty": None}


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize("dirty", [False, True, None])
@pytest.mark.parametrize("trouble", [no_git, no_checkout], ids=lambda f: f.__name__)
def test_a_copy_without_git_says_what_was_written_when_it_was_made(checkout, monkeypatch, trouble, dirty):
    written = {"commit": COMMIT, "dirty": dirty}
    provenance.source_file().write_text(json.dumps(written))
    trouble(checkout, monkeypatch)
    assert provenance.git_state() == written


def test_a_checkout_says_its_own_commit_whatever_was_written(checkout):
    provenance.source_file().write_text(json.dumps({"commit": COMMIT, "dirty": True}))
    assert provenance.git_state() == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[]",
        "{}",
        f'{{"commit": "{COMMIT}"}}',
        f'{{"commit": "{COMMIT[1:]}", "dirty": false}}',
        f'{{"commit": "{COMMIT}x", "dirty": false}}',
        f'{{"commit": "{COMMIT}", "dirty": "no"}}',
        '{"commit": null, "dirty": null}',
        '{"commit": 7, "dirty": false}',
        "\xff",
    ],
)
def test_a_written_state_that_is_none_is_none(checkout, monkeypatch, written):
    provenance.source_file().write_bytes(written.encode("latin-1"))
    no_checkout(checkout, monkeypatch)
    assert provenance.git_state() == {"commit": None, "dirty": None}


def write_source(checkout):
    """Run the tool in a checkout that has it and the whole package; returns what it wrote and what it printed."""
    script = checkout / "tools" / "write_source.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return json.loads((checkout / "parmesan_cagem" / "source.json").read_text()), done.stdout, done.stderr


def test_the_tool_writes_what_git_says_and_warns_where_it_says_nothing(checkout):
    root = Path(provenance.__file__).parents[1]
    source = Path(__file__).resolve().parent.parent
    (root / ".gitignore").write_text("source.json\n__pycache__\n")
    shutil.copytree(source / "parmesan_cagem", root / "parmesan_cagem", dirs_exist_ok=True)
    (root / "parmesan_cagem" / "source.json").write_text(json.dumps({"commit": COMMIT, "dirty": False}))
    (root / "tools").mkdir()
    shutil.copy(source / "tools" / "write_source.py", root / "tools")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "two")
    commit = git(root, "rev-parse", "HEAD")
    assert write_source(checkout) == ({"commit": commit, "dirty": False}, f"commit {commit}\n", "")
    (root / "tools" / "write_source.py").open("a").write("\n")
    assert write_source(checkout) == ({"commit": commit, "dirty": True}, f"commit {commit}, with changes\n", "")
    (root / ".git").rename(root / "moved")
    written, printed, warned = write_source(checkout)
    assert (written, printed) == ({"commit": None, "dirty": None}, "")
    assert warned.startswith("warning: no commit")
    assert warned.count("\n") == 1


# ---- machine


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
def test_peak_memory_is_the_kernels_high_water_mark_in_bytes():
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert provenance.peak_memory_bytes() == pytest.approx(1024 * int(kib.group(1)), rel=0.1)


def test_device_name_counts_the_cores_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3}, raising=False)
    assert provenance.device_name().endswith(", 2 cores")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert provenance.device_name().endswith(", 1 core")


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor : 0\nmodel\t\t: 17\nmodel name\t: AMD  EPYC\nx : y\nmodel name\t: other\n", "AMD EPYC"),
        ("processor : 0\nBogoMIPS : 50\n", None),
        (None, None),
    ],
)
def test_cpu_model(monkeypatch, cpuinfo, model):
    def read_text(path, **options):
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    told = provenance._cpu_model()
    assert told == model if model else told
