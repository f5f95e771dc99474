"""Run a module's tests against one mutant after another, in forks of a process that has imported everything once."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "parmesan_cagem"


@dataclass(frozen=True)
class Outcome:
    """How the tests took a mutant.

    Attributes
    ----------
    result : str
        ``killed``, ``timeout`` (ran or waited far longer than the tests do: killed too) or ``survived``.
    by : str
        The first test that failed, or what else ended the process.
    cpu : float
        Seconds.
    """

    result: str
    by: str
    cpu: float


class Trial:
    """Tests of one module, warm. Belongs into a process of its own, which it fills with modules of ``root``.

    Parameters
    ----------
    root : Path
        A copy of the checkout, whose file of the module is rewritten.
    module : str
        Path below the package, without ``.py``: ``data/labels``.
    tests : list of str
        Paths below ``root``, those that kill most and cost least first.
    """

    def __init__(self, root: Path, module: str, tests: list[str]) -> None:
        self.root, self.tests = root, tests
        self.file = root / PACKAGE / f"{module}.py"
        self.original = self.file.read_text(encoding="utf-8")
        self.name = f"{PACKAGE}.{module.replace('/', '.')}"
        os.chdir(root)
        sys.path.insert(0, str(root))
        sys.dont_write_bytecode = True  # a mutant of the same size and second must not meet another's bytecode
        os.environ.update(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
        _quick_hypothesis()
        _pytest(["--collect-only", *tests])
        self.stale = _stale(root, self.name)
        self.killers: list[str] = []  # the last one first: what killed a neighbour kills most
        self.limit, self.patience = 600.0, 1800.0  # seconds of CPU, of waiting
        self.baseline = self.run(self.original)
        if self.baseline.result != "survived":
            raise SystemExit(f"{module}: its tests fail without any mutant: {self.baseline.by}")
        self.limit, self.patience = 10 + 4 * self.baseline.cpu, 40 + 15 * self.baseline.cpu  # for a busy machine

    def run(self, source: str) -> Outcome:
        """The outcome of the module with ``source``; the file is as it was afterwards."""
        self.file.write_text(source, encoding="utf-8")
        receiver, sender = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(receiver)
            self._child(sender)  # never returns
        os.close(sender)
        ended = _wait(pid, self.patience)
        _, status, usage = os.wait4(pid, 0)
        _kill_group(pid)  # what a test started and left
        with os.fdopen(receiver) as pipe:
            told = pipe.read()
        self.file.write_text(self.original, encoding="utf-8")
        code, cpu = os.waitstatus_to_exitcode(status), round(usage.ru_utime + usage.ru_stime, 2)
        if not ended or code == -signal.SIGXCPU:
            return Outcome("timeout", "waited" if not ended else "ran", cpu)
        if code == 0:
            return Outcome("survived", "", cpu)
        by = json.loads(told) if told else f"exit status {code}"
        self.killers = [by, *(one for one in self.killers if one != by)]
        return Outcome("killed", by, cpu)

    def _child(self, sender: int) -> None:
        code = 99
        try:
            os.setsid()
            seconds = math.ceil(self.limit)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for name in self.stale:
                parent, _, leaf = name.rpartition(".")
                vars(sys.modules.get(parent, sys)).pop(leaf, None) if parent else None
                sys.modules.pop(name, None)
            first = _First(self.killers)
            code = int(_pytest(["-x", *self.tests], first))
            if first.failed:
                os.write(sender, json.dumps(first.failed[:200]).encode())
        except BaseException as error:
            os.write(sender, json.dumps(f"{type(error).__name__}: {error}"[:200]).encode())
        finally:
            os._exit(code)


class _First:
    """A pytest plugin: runs the likely killers first, and knows what failed first."""

    def __init__(self, killers: list[str]) -> None:
        self.rank = {killer: place for place, killer in enumerate(killers)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.rank.get(item.nodeid, len(self.rank)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        self.pytest_runtest_logreport(report)


def _pytest(arguments: list[str], *plugins: Any) -> int:
    import pytest

    nowhere = os.open(os.devnull, os.O_RDWR)
    kept = [os.dup(stream) for stream in (1, 2)]
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        options = ["-o", "addopts=", "--doctest-modules", "-m", "not slow and not gpu and not browser and not workflow"]
        return pytest.main([*options, "-q", "-p", "no:cacheprovider", "--timeout=0", *arguments], plugins=list(plugins))
    finally:
        for stream, old in zip((1, 2), kept, strict=True):
            os.dup2(old, stream)
            os.close(old)
        os.close(nowhere)


def _quick_hypothesis() -> None:
    """The same examples for every mutant, and no search for the smallest that fails."""
    from hypothesis import Phase, settings

    settings.register_profile("mutation", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None)
    settings.load_profile("mutation")


def _stale(root: Path, target: str) -> list[str]:
    """The modules to import anew: the target, what imports it however indirectly, and the tests.

    What the package's own ``__init__`` imports stays as it is, the target excepted: it was run when the package was.
    """
    ours = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if (file := _file(module)) and Path(file).is_relative_to(root)
    }
    imports = {name: _imports(path) for name, path in ours.items() if name.split(".")[0] == PACKAGE}
    started = {PACKAGE}
    while more := {used for name in started for used in imports[name] & set(imports)} - started:
        started |= more
    stale = {target}
    while more := {name for name, used in imports.items() if used & stale} - stale - started:
        stale |= more
    return sorted(stale & set(imports)) + sorted(set(ours) - set(imports))


def _file(module: ModuleType | None) -> str | None:
    return getattr(module, "__file__", None)


def _imports(path: Path) -> set[str]:
    """Names that may be modules of the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | ({node.module} - {PACKAGE})
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _wait(pid: int, seconds: float) -> bool:
    """Whether the process ended within its time; else it is killed."""
    descriptor = os.pidfd_open(pid)
    try:
        if select.select([descriptor], [], [], seconds)[0]:
            return True
        _kill_group(pid)
        with_time = time.monotonic() + 10
        while time.monotonic() < with_time and not select.select([descriptor], [], [], 1)[0]:
            os.kill(pid, signal.SIGKILL)
        return False
    finally:
        os.close(descriptor)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
