"""What the project runs and did not write: locked by hash; and what it never does with what it reads."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("parmesan_cagem", "tools", "benchmarks", "torture", "workflow")
    for path in (ROOT / folder).rglob("*.py")
) + sorted(ROOT.glob("run_*.py"))
PACKAGE = [path for path in SOURCES if "parmesan_cagem" in path.parts]
# Read as code, or able to name any code: modules, and calls by the name that they are called by.
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "xml", "telnetlib", "ftplib"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {"system", "popen", "unsafe_load", "full_load", "load_all", "mktemp"}
# The one exception: the data wheel's file, by digest, through an unpickler that knows NumPy's arrays and nothing else.
UNPICKLER = "parmesan_cagem/data/array_pickle.py"
ALLOWED = {
    (UNPICKLER, "pickle"),
    # These make what the loaders must refuse.
    ("torture/damage_pickles.py", "pickle"),
    ("torture/damage_npz.py", "allow_pickle=True"),
}


def name(path):
    return path.relative_to(ROOT).as_posix()


def offences(tree):
    """What a module does that could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", "")
            of = getattr(getattr(node.func, "value", None), "id", "")
            if getattr(node.func, "id", "") in BUILTINS:
                yield f"{node.func.id}()"
            if called in METHODS:
                yield f"{of}.{called}()"
            if (of, called) == ("yaml", "load"):
                yield "yaml.load()"
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) in (("shell", True), ("allow_pickle", True), ("verify", False)):
                    yield f"{keyword.arg}={value}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_that_is_read_can_run(path):
    found = {(name(path), what) for what in offences(ast.parse(path.read_text(encoding="utf-8")))}
    assert found - ALLOWED == set()


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from xml.etree import ElementTree", "xml.etree"),
        ("eval(x)", "eval()"),
        ("yaml.load(x, Loader=y)", "yaml.load()"),
        ("os.system(x)", "os.system()"),
        ("subprocess.run(x, shell=True)", "shell=True"),
        ("np.load(x, allow_pickle=True)", "allow_pickle=True"),
        ("requests.get(x, verify=False)", "verify=False"),
    ],
)
def test_the_search_finds_what_it_is_for(source, what):
    assert list(offences(ast.parse(source))) == [what]


def test_the_one_pickle_is_still_there_and_restricted():
    """Else the exception would outlive what it was made for."""
    text = (ROOT / UNPICKLER).read_text(encoding="utf-8")
    assert "def find_class(" in text
    used = set(re.findall(r"\bpickle\.(\w+)", text))
    assert {name for name in used if not name.isupper()} == {"_Unpickler"}  # in capitals: the codes of instructions


# Rules of ruff and their exceptions


def test_security_rules_are_on_and_every_exception_says_why():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not any(code.startswith("S") and code[1:].isdigit() for code in lint["ignore"])
    assert not any(files.startswith(("parmesan_cagem", "*")) for files in lint["per-file-ignores"])
    section = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("per-file-ignores]")[2].partition("\n[")[0]
    )
    for line in section.splitlines():
        assert not re.search(r'"S\d+"', line) or re.search(r"# \S+ \S+", line), line


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_every_exception_in_the_package_says_why(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.search(r"# noqa(.*)", line)
        if found and re.search(r"\bS\d+", found[1]):
            assert re.match(r": S\d+  \S+ \S+", found[1]), f"{name(path)}: {line.strip()}"
        elif found:
            assert re.match(r": [A-Z]+\d+", found[1]), f"{name(path)}: a noqa for everything: {line.strip()}"


# Installing


PIP = re.compile(r"PIP\)|pip install")


def steps():
    """Every call of pip to install, of what sets up an environment: (file, command)."""
    for path in (ROOT / "Makefile", ROOT / "Dockerfile", ROOT / ".ci" / "run", *(ROOT / "workflow").rglob("*")):
        if not path.is_file() or path.suffix in (".json", ".yaml"):
            continue
        for line in re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8")).splitlines():
            if not re.search(r"^\s*#|missing:|:= ", line):
                yield from ((name(path), one) for one in re.split(r"&&|;;|\|\|", line) if PIP.search(one))


def test_every_step_installs_by_hash_or_ourselves_without_dependencies():
    found = list(steps())
    assert {path for path, _ in found} == {"Makefile", "Dockerfile"}
    assert len(found) >= 14
    for path, line in found:
        ours = re.search(r"--no-deps --no-build-isolation (-e|--editable) \.", line)
        locks = re.findall(r"-r (\S+)", line)
        hashed = "--require-hashes" in line and locks and all(lock.endswith(".lock") for lock in locks)
        assert ours or hashed, (path, line)
        assert not re.search(r"index-url|find-links|trusted-host|git\+|https?:", line), (path, line)


def test_security_md_tells_what_is_trusted_and_when_it_was_audited():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for heading in ("## Reporting", "## What is trusted", "## What is not", "## Advisories", "## How to look again"):
        assert heading in text
    assert re.search(r"20\d\d-\d\d-\d\d", text)
    locked = {}
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        for package, version in re.findall(r"^([a-z0-9-]+)(?:\[\S+\])?==(\S+)", lock.read_text(), re.MULTILINE):
            locked.setdefault(package, set()).add(version)
    rows = re.findall(r"^\| ([a-z0-9-]+) (\S+) \| ", text, re.MULTILINE)
    assert rows
    # A row about a version that is no longer locked is out of date.
    assert [row for row in rows if row[1] not in locked.get(row[0], ())] == []
