"""``tools.mutation``: what it changes, how it judges, and that what it excuses is still there."""

import json

import pytest
from python_process import run_python

pytest.importorskip("mutmut", reason="no mutmut in this environment")

from tools.mutation import __main__ as program
from tools.mutation.mutants import mutants

SOURCE = '''"""A docstring is no code."""
import functools

LIMIT = 2


@functools.cache
def clipped(x: int, most: int = LIMIT) -> int:
    """Nor is this one."""
    if x > most:
        return most
    return x + (
        1
    )
'''

TESTS = """
from parmesan_cagem import made

def test_clipped():
    while made.LIMIT == 3:
        pass
    assert (made.clipped(0), made.clipped(9)) == (1, 2)
"""

TRIAL = """
from pathlib import Path
from tools.mutation.trial import Trial

trial = Trial(Path({root!r}), "made", ["tests/test_made.py"])
trial.limit = 2
source = trial.original
for old, new in (("x + (", "x - ("), ("x > most", "x >= most"), ("LIMIT = 2", "LIMIT = 3"), ("LIMIT = 2", "LIMIT = (")):
    outcome = trial.run(source.replace(old, new))
    print(outcome.result, outcome.by)
assert trial.file.read_text() == source
"""


def test_constants_and_decorated_functions_are_changed_and_docstrings_are_not():
    found = [(mutant.line, mutant.was, mutant.now) for mutant in mutants(SOURCE)]
    assert found == [
        (4, "LIMIT = 2", "LIMIT = None"),
        (4, "LIMIT = 2", "LIMIT = 3"),
        (10, "if x > most:", "if x >= most:"),
        (12, "return x + (", "return x - ("),
        (13, "1", "2"),
    ]


def test_every_mutant_is_the_source_with_one_change():
    lines = SOURCE.splitlines()
    for mutant in mutants(SOURCE):
        pairs = list(zip(lines, mutant.source.splitlines(), strict=True))
        assert [now.strip() for was, now in pairs if now != was] == [mutant.now]


def test_mutants_are_killed_survive_or_never_end(tmp_path):
    for name, text in {
        "parmesan_cagem/__init__.py": "",
        "parmesan_cagem/made.py": SOURCE,
        "tests/test_made.py": TESTS,
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow", "gpu", "browser", "workflow"]\n',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    printed = run_python(TRIAL.format(root=str(tmp_path)), PYTHONPATH=f"{tmp_path}:{program.ROOT}")
    assert printed.splitlines() == [
        "killed tests/test_made.py::test_clipped",
        "survived ",
        "timeout ran",
        "killed tests/test_made.py",  # which cannot even import it
    ]


def entry(number, result, now="b", module="files"):
    mutant = {"module": module, "number": number, "line": 3, "was": "a", "now": now}
    return {**mutant, "result": result, "by": "", "cpu": 1.0}


def test_survivors_need_an_explanation_and_explanations_a_survivor():
    done = [entry(0, "killed"), entry(1, "timeout"), entry(2, "survived", "b"), entry(3, "survived", "c")]
    explained = [
        {"module": "files", "was": "a", "now": "b", "why": "the same"},
        {"module": "files", "was": "a", "now": "gone", "why": "the same"},
        {"module": "sealed", "was": "a", "now": "b", "why": "the same"},
    ]
    figures, faults = program.summary(["files"], done, explained)
    assert figures["modules"]["files"] == figures["total"]
    assert figures["total"] == {
        "mutants": 4,
        "killed": 1,
        "timeouts": 1,
        "survived and explained": 1,
        "survived unexplained": 1,
        "cpu seconds": 4,
    }
    assert faults == [
        "files line 3 survived: a -> c",
        "files: tests/mutants.toml explains what does not survive: a -> gone",
    ]


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    progress = tmp_path / "progress"
    of, tests = program._of("label_weights"), program._tests(program.ROOT)
    entries = [
        {**entry(0, "survived", module="label_weights"), "of": of, "tests": tests},
        {**entry(1, "killed", module="label_weights"), "of": of, "tests": "older"},
        {**entry(2, "survived", module="label_weights"), "of": of, "tests": "older"},
        {**entry(3, "killed", module="label_weights"), "of": "another source", "tests": tests},
    ]
    progress.write_text("".join(json.dumps(one) + "\n" for one in entries) + '{"module": "labe')  # torn
    todo = [mutant.number for mutant in program._todo("label_weights", progress, keep=False)]
    assert todo[:4] == [1, 2, 3, 4]
    assert [mutant.number for mutant in program._todo("label_weights", progress, keep=True)] == [2, *todo[2:]]


def test_every_explanation_is_of_a_line_that_is_there():
    for one in program.explanations():
        source = (program.ROOT / program.PACKAGE / f"{one['module']}.py").read_text()
        assert one["was"] in " ".join(line.strip() for line in source.splitlines()), one
        assert one["was"] != one["now"]
        assert len(one["why"]) > 10


def test_a_module_that_the_start_of_the_package_needs_can_be_tried_too():
    code = """
from pathlib import Path
from tools.mutation import trial
import parmesan_cagem.report.style, parmesan_cagem.compat
stale = trial._stale(Path.cwd(), "parmesan_cagem.files")
print("parmesan_cagem.files" in stale, "parmesan_cagem.report.style" in stale)
print([name for name in stale if name in ("parmesan_cagem", "parmesan_cagem.compat", "parmesan_cagem.compile_cache")])
"""
    assert run_python(code).splitlines() == ["True True", "[]"]
