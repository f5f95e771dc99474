"""The experiment's settings: JSON and back, presets, label weights, hashes and names."""

import copy
import dataclasses
import json

import pytest
from setting_values import FIELDS, flag, other_value

from parmesan_cagem import arguments
from parmesan_cagem.config import MAY_CHANGE, Experiment, experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.presets import PRESETS

# JSON


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_return_from_json_as_they_were(preset):
    before = experiment(preset, labels=0, clusters=20, learning_rate=0.1 + 0.2, skip=False)
    text = json.dumps(before.to_dict(), allow_nan=False)
    after = Experiment.from_dict(json.loads(text))
    assert after == before
    assert after.to_dict() == before.to_dict()
    assert after.training_hash() == before.training_hash()
    assert set(after.to_dict()) == set(FIELDS)


def test_a_whole_number_may_stand_for_a_float():
    e = Experiment.from_dict({"pixel_scale": 255})
    assert isinstance(e.pixel_scale, float)
    assert e == experiment("paper", pixel_scale=255.0)
    assert e.training_hash() == experiment("paper", pixel_scale=255.0).training_hash()


@pytest.mark.parametrize("make", [Experiment.from_dict, lambda values: experiment("smoke", **values)])
def test_unknown_settings_are_refused_by_name(make):
    with pytest.raises(UserError, match=r"unknown setting dropout, lables\b"):
        make({"lables": 10, "dropout": 0.5, "seed": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", "100"),
        ("labels", 100.0),
        ("labels", True),
        ("labels", None),
        ("skip", 1),
        ("learning_rate", "0.001"),
        ("label_weight", 10),
        ("widths", None),
    ],
)
def test_values_of_another_type_are_refused(name, value):
    with pytest.raises(UserError, match=f"^{flag(name)} .*{value}") as error:
        Experiment.from_dict({name: value})
    assert "\n" not in str(error.value)


def test_an_experiment_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment("smoke").seed = 2


# Presets


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_differences_from_the_paper(preset):
    e, paper = experiment(preset).to_dict(), Experiment().to_dict()
    changed = {name: value for name, value in e.items() if name != "preset" and value != paper[name]}
    assert changed == PRESETS[preset]  # also: no preset repeats a default
    assert e["preset"] == preset


def test_other_settings_win_over_the_preset():
    assert experiment("short").epochs == 60
    assert experiment("short", epochs=7).epochs == 7


def test_the_paper_preset_is_the_papers_recipe():
    e = experiment("paper")
    assert (e.z1_dim, e.z2_dim, e.wide, e.narrow, e.clusters, e.skip) == (64, 32, 1024, 512, 10, True)
    assert (e.learning_rate, e.learning_rate_decay, e.decay_epochs, e.warmup_epochs) == (1e-3, 0.75, 50, 100)
    assert (e.adam_beta1, e.adam_beta2, e.adam_epsilon, e.train_iw, e.iw_samples) == (0.9, 0.999, 1e-8, 1, 5000)
    assert (e.pixel_scale, e.clip_norm, e.eval_images, e.train_images, e.labelled_bn) == (256, 0, 0, 0, "unlabelled")


def test_the_short_preset_compresses_every_schedule_ten_times():
    paper, short = experiment("paper"), experiment("short")
    assert short.warmup_epochs * 10 == paper.warmup_epochs
    assert short.decay_epochs * 10 == paper.decay_epochs
    assert (short.wide, short.narrow, short.z1_dim) == (paper.wide, paper.narrow, paper.z1_dim)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"^--preset nope: .*paper, short, demo, smoke"):
        experiment("nope")


def test_a_whole_number_beyond_floats_is_refused_as_a_float_would_be():
    with pytest.raises(UserError, match="--pixel-scale inf: must be a finite number"):
        Experiment(pixel_scale=10**400)


# Label weights


@pytest.mark.parametrize(
    ("text", "unlabelled", "labelled", "expected"),
    [
        ("10", 60000, 100, 10.0),
        ("0", 60000, 100, 0.0),
        ("2.5e-1", 60000, 100, 0.25),
        ("0.123456789", 60000, 100, 0.123456789),  # to the last digit
        ("1234567.5", 60000, 100, 1234567.5),
        ("adgm:0.123456789", 60000, 100, 74.0740734),
        ("paper:0.1", 60000, 100, 0.1 * 60100 / 60000),
        ("paper:2", 500, 500, 4.0),
        ("adgm:0.1", 60000, 20, 300.0),
        ("adgm:0.1", 60000, 50, 120.0),
        ("adgm:0.1", 60000, 100, 60.0),
        ("adgm:0.1", 24345, 500, 4.869),
    ],
)
def test_label_weights(text, unlabelled, labelled, expected):
    e = experiment("paper", label_weight=text)
    assert e.label_weights(unlabelled, labelled) == pytest.approx((expected, expected), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "text_p", "expected"),
    [
        ("adgm:0.1", "same", (60.0, 60.0)),
        ("adgm:0.1", "1", (60.0, 1.0)),
        ("7", "paper:1", (7.0, 60100 / 60000)),
        ("7", "0", (7.0, 0.0)),
    ],
)
def test_the_weight_of_h_p_may_differ(text, text_p, expected):
    e = experiment("paper", label_weight=text, label_weight_p=text_p)
    assert e.label_weights(60000, 100) == pytest.approx(expected, rel=1e-12)  # (w_q, w_p)


@pytest.mark.parametrize("name", ["label_weight", "label_weight_p"])
@pytest.mark.parametrize(
    "text",
    ["", "abc", "nan", "inf", "-1", "1e999", "paper:", "paper:x", "paper:nan", "adgm:-1", "beta:1", "a:b:1", ":1"],
)
def test_bad_label_weights_are_refused(name, text):
    with pytest.raises(UserError, match=r"paper:BETA or adgm:BETA") as error:
        experiment("paper", **{name: text})
    assert str(error.value).startswith(f"{flag(name)} {text}:")


@pytest.mark.parametrize("name", ["label_weight", "label_weight_p"])
@pytest.mark.parametrize(("one", "other"), [("10", "10.0"), ("10", "1e1"), ("adgm:0.1", "adgm:.10")])
def test_a_weight_may_be_spelt_in_several_ways(name, one, other):
    assert experiment("smoke", **{name: one}).training_hash() == experiment("smoke", **{name: other}).training_hash()


# Hashes and names


@pytest.mark.parametrize("name", FIELDS)
def test_the_training_hash_ignores_exactly_what_a_resumed_run_may_change(name):
    before = experiment("paper")
    after = copy.copy(before)
    object.__setattr__(after, name, other_value(FIELDS[name]))  # past the checks: some fields have one choice only
    assert after != before
    assert (after.training_hash() == before.training_hash()) == (name in MAY_CHANGE)


def test_a_resumed_run_may_change_its_length_and_its_evaluation():
    length = {"epochs", "checkpoint_every"}
    assert (
        length
        | {"bn_eval", "iw_samples", "eval_images", "eval_split", "eval_seed", "eval_seeds", "estimator", "class_draws"}
        == MAY_CHANGE
    )


def default_folder(*flags):
    return arguments.parse(flags, "mnist", "run")[1].folder.name


def test_default_names():
    assert default_folder("--preset", "short") == "mnist-cagem-100-short-s1"
    assert default_folder("--preset", "smoke", "--labels", "20", "--seed", "3") == "mnist-cagem-20-smoke-s3"
    # More epochs find the same run; other weights another one.
    assert default_folder("--preset", "smoke", "--epochs", "9", "--iw-samples", "20") == "mnist-cagem-100-smoke-s1"
    names = {default_folder("--preset", "smoke", *more) for more in [(), ("--label-seed", "2"), ("--wide", "33")]}
    assert len(names) == 3
    assert all(name.startswith("mnist-cagem-100-smoke-s1") for name in names)
