"""A flag with a help text for every setting, which sets that one and no other."""

import math
import re

import pytest
from setting_values import FIELDS, flag, other_value

from parmesan_cagem import arguments
from parmesan_cagem.config import experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.pipeline import main
from parmesan_cagem.presets import CLASSES, DATASETS, PRESETS


@pytest.fixture(scope="module")
def help_text():
    """``--help``, line breaks undone: {flag: all that stands behind it}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "10000")  # or lines would break inside words with hyphens
        options = arguments._parser("mnist", "run_mnist.py").format_help().partition("options:")[2]
    entries = [" ".join(entry.split()) for entry in re.split(r"\n  (?=-)", options)]
    return {entry.split()[0].rstrip(","): entry for entry in entries if entry}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_tells_its_meaning_and_its_provenance(name):
    facts = FIELDS[name].metadata
    assert facts["help"].strip()
    assert facts["source"].strip()
    assert facts["role"] in ("training", "length", "evaluation")
    default = FIELDS[name].default
    assert not isinstance(default, float) or math.isfinite(default)


@pytest.mark.parametrize("name", FIELDS)
def test_help_tells_every_setting_with_default_and_provenance(name, help_text):
    if name == "dataset":
        assert flag(name) not in help_text  # each data set has a script of its own
        return
    facts, line = FIELDS[name].metadata, help_text[flag(name)]
    presets = [f"; {preset}: {values[name]}" for preset, values in PRESETS.items() if name in values]
    assert f"(default {FIELDS[name].default}{''.join(presets)})" in line
    assert facts["help"] in line
    assert f"[{facts['source']}]" in line
    assert all(choice in line for choice in facts["choices"] or ())


@pytest.mark.parametrize(
    "name",
    [
        "--data-dir",
        "--out",
        "--name",
        "--resume",
        "--resume-if-begun",
        "--train-only",
        "--require-gpu",
        "--no-progress",
    ],
)
def test_help_tells_the_flags_of_the_job(name, help_text):
    words = help_text[name].removeprefix("  " + name).split()
    assert len(words) > 2


def test_help_is_printed_and_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        main("mnist", ["--help"], "run_mnist.py")
    assert stop.value.code == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: run_mnist.py")
    assert shown.err == ""


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"dataset", "model", "engine", "devices", "preset"}))
def test_every_flag_sets_its_field_and_no_other(name):
    value = other_value(FIELDS[name])
    base = {} if name != "clusters" else {"labels": 0}  # with labels, K is the number of classes
    having = FIELDS[name].metadata["models"]
    if having and "cagem" not in having:
        base["model"] = having[0]
    if isinstance(value, bool):
        given = [flag(name) if value else flag(name).replace("--", "--no-")]
    else:
        given = [flag(name), str(value)]
    for more, setting in base.items():
        given += [flag(more), str(setting)]
    e, _ = arguments.parse(given, "mnist", "run")
    assert e == experiment("paper", **base, **{name: value})
    assert getattr(e, name) != FIELDS[name].default


def test_flags_are_not_abbreviated():
    with pytest.raises(UserError, match="--epoch"):
        arguments.parse(["--epoch", "3"], "mnist", "run")


def test_a_job_changes_no_number(tmp_path):
    plain, _ = arguments.parse(["--preset", "smoke"], "mnist", "run")
    given = ["--preset", "smoke", "--out", str(tmp_path), "--name", "n", "--data-dir", "d", "--resume", "--no-progress"]
    e, job = arguments.parse(given, "mnist", "run")
    assert e == plain
    assert (job.folder, str(job.data_dir), job.resume, job.quiet) == (tmp_path / "n", "d", True, True)


def test_every_data_set_has_a_number_of_classes():
    assert set(FIELDS["dataset"].metadata["choices"]) == set(CLASSES)
    assert set(DATASETS) == set(CLASSES)
