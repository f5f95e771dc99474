"""The flags of run_omniglot.py: defaults and names of its own, and what it refuses."""

import dataclasses

import pytest

from parmesan_cagem import arguments
from parmesan_cagem.config import Experiment, experiment
from parmesan_cagem.errors import UserError


def test_omniglot_has_defaults_of_its_own():
    e, job = arguments.parse(["--preset", "short"], "omniglot", "run")
    assert (e.dataset, e.labels, e.clusters, e.pixel_scale) == ("omniglot", 500, 50, 1.0)
    assert (e.epochs, e.wide) == (60, 1024)  # the presets are shared
    assert job.folder.name == "omniglot-cagem-500-short-s1"
    assert Experiment.from_dict(e.to_dict()) == e
    others = dataclasses.replace(e, dataset="mnist", labels=100, clusters=10, pixel_scale=256.0)
    assert others == experiment("short")


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--labels", "0"], "omniglot-cagem-0-paper-s1"),
        (["--labels", "0", "--clusters", "50"], "omniglot-cagem-0-paper-s1"),
        (["--labels", "250", "--seed", "3"], "omniglot-cagem-250-paper-s3"),
        (["--pixel-scale", "1"], "omniglot-cagem-500-paper-s1"),
    ],
)
def test_default_names_of_omniglot(flags, name):
    assert arguments.parse(flags, "omniglot", "run")[1].folder.name == name


@pytest.mark.parametrize("scale", [256.0, 255.0, 0.5])
def test_a_pixel_scale_for_probabilities_is_refused(scale):
    with pytest.raises(UserError, match=f"^--pixel-scale {scale}: OMNIGLOT's pixels are probabilities; leave it out"):
        arguments.parse(["--pixel-scale", str(scale)], "omniglot", "run")


def test_with_labels_omniglot_has_50_clusters():
    with pytest.raises(UserError, match=r"^--clusters 20 --labels 500: .* K must equal the 50 classes; use --clusters"):
        arguments.parse(["--clusters", "20"], "omniglot", "run")
    assert arguments.parse(["--clusters", "20", "--labels", "0"], "omniglot", "run")[0].clusters == 20


def test_unverified_data_is_a_flag_of_omniglot_and_no_setting():
    plain, job = arguments.parse([], "omniglot", "run")
    e, unverified = arguments.parse(["--unverified-data"], "omniglot", "run")
    assert (job.unverified, unverified.unverified) == (False, True)
    assert (e, unverified.folder) == (plain, job.folder)
    with pytest.raises(UserError, match="unrecognized arguments: --unverified-data"):
        arguments.parse(["--unverified-data"], "mnist", "run")


def test_the_help_of_omniglot_shows_its_defaults(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")
    shown = arguments._parser("omniglot", "run_omniglot.py").format_help()
    for flag, default in (("--labels", "500"), ("--clusters", "50"), ("--pixel-scale", "1.0"), ("--wide", "1024")):
        line = next(line for line in shown.splitlines() if line.startswith(f"  {flag} "))
        assert f"(default {default}" in line
    assert "--unverified-data" in shown
