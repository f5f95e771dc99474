"""Which settings belong to which model: refusals, defaults, names, widths, and hashes that older records keep."""

import json
from pathlib import Path

import pytest
from setting_values import FIELDS, other_value

from parmesan_cagem import arguments
from parmesan_cagem.config import LATER, MAY_CHANGE, Experiment, experiment, usual
from parmesan_cagem.errors import UserError
from parmesan_cagem.models.networks import hidden_widths
from parmesan_cagem.presets import LAYERED, MODELS, WITH_Y

RECORDS = sorted(Path(__file__).parents[1].glob("results/runs/*/record.json"))


def parse(*flags, dataset="mnist"):
    return arguments.parse(flags, dataset, "run")[0]


# What a model has not


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model vae --labels 100", "--labels 100: --model vae has no classes; use --labels 0"),
        ("--model iwae --labels 20", "--labels 20: --model iwae has no classes"),
        ("--model vae --clusters 20", "--clusters 20: --model vae has no such setting (cagem, adgm, sdgm, m2 have)"),
        ("--model lvae --routing full", "--routing full: --model lvae has no such setting (cagem have)"),
        ("--model m2 --routing full", "--routing full: --model m2 "),
        ("--model vae --no-skip", "--skip False: --model vae "),
        ("--model avae --label-weight 3", "--label-weight 3: --model avae "),
        ("--model adgm --label-weight-p 3", "--label-weight-p 3: --model adgm "),
        ("--model lvae --class-bn q", "--class-bn q: --model lvae "),
        ("--model vae --labelled-bn own", "--labelled-bn own: --model vae "),
        ("--model vae --y-edge-scale 2", "--y-edge-scale 2.0: --model vae "),
        ("--model iwae --estimator sampled", "--estimator sampled: --model iwae "),
        ("--model vae --a-dim 8", "--a-dim 8: --model vae has no such setting (adgm, sdgm, avae have)"),
        ("--layers 3", "--layers 3: --model cagem has no such setting (vae, iwae, lvae, avae have)"),
        ("--labelled-bound 2", "--labelled-bound 2.0: --model cagem "),
        ("--model iwae --train-iw 1", "--model iwae --train-iw 1 --iw-objective weighted: that is no importance-"),
        ("--model iwae --iw-objective averaged", "--model iwae --train-iw 50 --iw-objective averaged: that is no"),
        ("--model gan", "--model gan: unknown; choose one of cagem, vae, "),
    ],
)
def test_a_setting_that_a_model_lacks_is_refused_in_one_line(flags, words):
    with pytest.raises(UserError) as error:
        parse(*flags.split())
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_with_another_data_set_its_own_number_of_clusters_stands_and_no_other():
    assert parse("--model", "vae", dataset="omniglot").clusters == 50
    with pytest.raises(UserError, match=r"^--clusters 10: --model vae has no such setting"):
        parse("--model", "vae", "--clusters", "10", dataset="omniglot")


# The importance-weighted VAE has one name


def test_a_vae_with_a_weighted_objective_is_an_iwae():
    e = parse("--model", "vae", "--train-iw", "50")
    assert e == parse("--model", "iwae")
    assert (e.model, e.train_iw) == ("iwae", 50)
    assert e.training_hash() == parse("--model", "iwae").training_hash()
    assert parse("--model", "vae", "--train-iw", "5") == parse("--model", "iwae", "--train-iw", "5")
    assert Experiment.from_dict(e.to_dict()) == e


def test_a_vae_with_averaged_bounds_stays_a_vae():
    e = parse("--model", "vae", "--train-iw", "50", "--iw-objective", "averaged")
    assert (e.model, e.train_iw) == ("vae", 50)
    assert len({one.training_hash() for one in (e, parse("--model", "iwae"), parse("--model", "vae"))}) == 3


# Defaults


@pytest.mark.parametrize("dataset", ["mnist", "omniglot"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_its_defaults_with_every_preset(model, dataset):
    classes, labels = (10, 100) if dataset == "mnist" else (50, 500)
    for preset in ("paper", "short", "demo", "smoke"):
        e = experiment(preset, model=model, dataset=dataset)
        assert e.model == model
        assert e.labels == (labels if model in WITH_Y else 0)
        assert e.clusters == classes
        assert e.train_iw == (50 if model == "iwae" else 1)
        assert e.label_weight == ("adgm:0.1" if model in ("adgm", "sdgm", "m2") else "10")
        assert {**usual(preset, dataset, model), "dataset": dataset} == e.to_dict()
    assert {*WITH_Y, *LAYERED} == set(MODELS) == set(FIELDS["model"].metadata["choices"])


# Names


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("--model vae", "mnist-vae-paper-s1"),
        ("--model vae --preset smoke --seed 3 --epochs 9", "mnist-vae-smoke-s3"),
        ("--model iwae", "mnist-iwae-paper-s1"),
        ("--model vae --train-iw 50", "mnist-iwae-paper-s1"),
        ("--model adgm --labels 20", "mnist-adgm-20-paper-s1"),
        ("--model cagem --labels 0", "mnist-cagem-0-paper-s1"),
    ],
)
def test_a_model_without_classes_has_no_labels_in_its_name(flags, name):
    assert arguments.parse(flags.split(), "mnist", "run")[1].folder.name == name


def test_later_settings_off_their_default_have_a_name_of_their_own():
    flags = ([], ["--layers", "1"], ["--layers", "3"], ["--train-iw", "2", "--iw-objective", "averaged"])
    names = {arguments.parse(["--model", "vae", *more], "mnist", "run")[1].folder.name for more in flags}
    assert len(names) == 4
    assert all(name == "mnist-vae-paper-s1" or name.startswith("mnist-vae-paper-s1-") for name in names)


# Widths and dimensions


@pytest.mark.parametrize(
    ("settings", "units"),
    [
        ({}, (64, 32)),
        ({"layers": 1}, (64,)),
        ({"layers": 5}, (64, 32, 16, 8, 4)),
        ({"layers": 8}, (64, 32, 16, 8, 4, 2, 1, 1)),
        ({"layers": 3, "z1_dim": 10, "z2_dim": 5}, (10, 5, 2)),
    ],
)
def test_every_layer_above_the_second_has_half_the_dimensions(settings, units):
    assert experiment("paper", model="vae", **settings).latent_units == units


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ("nodes", [(1024, 1024), (512, 512), (512, 512), (512, 512)]),
        ("tapered", [(1024, 512)] * 4),
        ("doubled", [(1024, 1024), (512, 512), (256, 256), (128, 128)]),
        ("ladder", [(512, 512), (256, 256), (128, 128), (64, 64)]),
    ],
)
def test_hidden_widths_by_level(widths, expected):
    e = experiment("paper", model="vae", widths=widths)
    assert [hidden_widths(e, level) for level in range(1, 5)] == expected


def test_a_hidden_layer_never_vanishes():
    e = experiment("paper", model="vae", widths="ladder", wide=6)
    assert [hidden_widths(e, level)[0] for level in range(1, 6)] == [3, 1, 1, 1, 1]


# Hashes of older records


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_every_committed_record_keeps_its_hash(path):
    record = json.loads(path.read_text())
    assert Experiment.from_dict(record["config"]).training_hash() == record["config_hash"]


def test_there_are_records_without_the_later_settings():
    assert any(not set(LATER) & set(json.loads(path.read_text())["config"]) for path in RECORDS)


@pytest.mark.parametrize("name", sorted(set(LATER) - MAY_CHANGE))
def test_a_later_setting_counts_where_it_is_off_its_default(name):
    model = (FIELDS[name].metadata["models"] or ("cagem",))[0]
    more = {"train_iw": 2} if name == "iw_objective" else {}  # of one sample there is one objective
    plain = experiment("paper", model=model, **more)
    assert experiment("paper", model=model, **more, **{name: LATER[name]}).training_hash() == plain.training_hash()
    other = experiment("paper", model=model, **more, **{name: other_value(FIELDS[name])})
    assert other.training_hash() != plain.training_hash()
