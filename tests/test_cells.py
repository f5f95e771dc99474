"""Which records fill a cell, and what number they give."""

import statistics

import pytest
from fake_runs import record, runs
from hypothesis import given, settings
from hypothesis import strategies as st

from parmesan_cagem.config import experiment
from parmesan_cagem.report import cells

BOUND = {"dataset": "mnist", "model": "cagem", "labels": 100, "clusters": 10, "temperature": True}
ERROR = {**BOUND, "temperature": False, "subsets": 3}


def choose(*made, cell=BOUND, quantity="bound"):
    """Names of the runs shown and the entry."""
    from pathlib import Path

    choice = cells.choose(runs(Path("x"), *made), cell, quantity)
    return ([], None) if choice is None else ([run.name for run in choice.entry.runs], choice.entry)


# ---- which runs fit


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 7, "label_seed": 9},
        {"epochs": 3},
        {"warmup_epochs": 5},
        {"decay_epochs": 5},
        {"label_weight": "60"},
        {"y_edge_scale": 5},
        {"class_bn": "q"},
        {"labelled_bn": "own"},
        {"widths": "tapered"},
        {"batch_size": 200},
        {"learning_rate_floor": 3e-5},
        {"clip_norm": 5},
        {"pixel_scale": 255},  # a protocol, refused by the column
        {"estimator": "sampled", "iw_samples": 10, "eval_images": 50, "eval_seed": 3},
        {"engine": "c"},
    ],
    ids=str,
)
@pytest.mark.parametrize("preset", ["paper", "short", "demo"])
def test_what_the_paper_leaves_open_may_vary(preset, changes):
    assert cells.fits(BOUND, experiment(preset, **changes).to_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": 50},
        {"labels": 0},
        {"warmup_epochs": 0},
        {"z2_dim": 2},
        {"z1_dim": 8},
        {"wide": 512},
        {"narrow": 256},
        {"skip": False},
        {"routing": "full"},
        {"train_iw": 5},
        {"learning_rate": 3e-4},
        {"learning_rate_decay": 0.9},
        {"adam_beta1": 0.5},
        {"holdout": 1000},
        {"train_images": 1000},
    ],
    ids=str,
)
def test_another_model_or_less_data_fits_not(changes):
    assert not cells.fits(BOUND, experiment("paper", **changes).to_dict())


def test_smoke_never_fits():
    assert not cells.fits(BOUND, {**experiment("paper").to_dict(), "preset": "smoke"})


@pytest.mark.parametrize("changes", [{"clusters": 20}, {"clusters": 9}])
def test_without_labels_the_clusters_count(changes):
    cell = {**BOUND, "labels": 0}
    assert cells.fits(cell, experiment("paper", labels=0).to_dict())
    assert not cells.fits(cell, experiment("paper", labels=0, **changes).to_dict())


@pytest.mark.parametrize(("label_seed", "warmup", "fits"), [(1, 0, True), (3, 0, True), (4, 0, False), (1, 9, False)])
def test_table_2_takes_three_subsets_without_temperature(label_seed, warmup, fits):
    config = experiment("paper", label_seed=label_seed, warmup_epochs=warmup).to_dict()
    assert cells.fits(ERROR, config) == fits


BASELINES = {
    "IWAE": {"dataset": "mnist", "model": "iwae", "labels": 0, "layers": 2, "train_iw": 50},
    "LVAE": {"dataset": "mnist", "model": "lvae", "labels": 0, "layers": 5, "widths": ["doubled", "ladder"]},
    "VAE": {"dataset": "mnist", "model": "vae", "labels": 0, "train_iw": 50, "iw_objective": "averaged"},
    "reduced": {"dataset": "mnist", "model": "iwae", "labels": 0, "train_iw": range(2, 50)},
}


@pytest.mark.parametrize(
    ("cell", "settings", "fits"),
    [
        ("IWAE", {"model": "iwae"}, True),
        ("IWAE", {"model": "vae", "train_iw": 50}, True),  # one setting, one name
        ("IWAE", {"model": "iwae", "train_iw": 5}, False),
        ("IWAE", {"model": "iwae", "layers": 1}, False),
        ("IWAE", {"model": "vae"}, False),
        ("IWAE", {"model": "vae", "train_iw": 50, "iw_objective": "averaged"}, False),
        ("IWAE", {"model": "iwae", "z1_dim": 100, "z2_dim": 50}, False),
        ("IWAE", {"model": "iwae", "warmup_epochs": 0}, True),  # Burda had none: the cell does not ask for it
        ("LVAE", {"model": "lvae", "layers": 5, "widths": "doubled"}, True),
        ("LVAE", {"model": "lvae", "layers": 5, "widths": "ladder"}, True),
        ("LVAE", {"model": "lvae", "layers": 5}, False),
        ("LVAE", {"model": "lvae", "widths": "ladder"}, False),
        ("LVAE", {"model": "lvae", "layers": 5, "widths": "ladder", "train_iw": 10}, False),
        ("VAE", {"model": "vae", "train_iw": 50, "iw_objective": "averaged"}, True),
        ("VAE", {"model": "vae"}, False),
        ("reduced", {"model": "iwae", "train_iw": 2}, True),
        ("reduced", {"model": "iwae", "train_iw": 49}, True),
        ("reduced", {"model": "iwae"}, False),
    ],
    ids=str,
)
def test_layers_samples_and_widths_count_where_the_row_states_them(cell, settings, fits):
    assert cells.fits(BASELINES[cell], experiment("paper", **settings).to_dict()) == fits


@pytest.mark.parametrize(("widths", "fits"), [("nodes", True), ("tapered", True), ("doubled", True), ("ladder", False)])
def test_half_the_papers_widths_are_another_model(widths, fits):
    assert cells.fits(BOUND, experiment("paper", widths=widths).to_dict()) == fits


def test_a_record_from_before_layers_existed_has_two():
    config = experiment("paper").to_dict()
    del config["layers"], config["iw_objective"]
    assert cells.fits(BOUND, config)
    assert not cells.fits({**BOUND, "layers": 5}, config)


def test_a_setting_that_came_later_counts_as_its_default():
    config = experiment("paper").to_dict()
    del config["routing"]
    assert cells.fits(BOUND, config)
    assert not cells.fits({**BOUND, "unheard_of": 3}, config)


# ---- which of several


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"epochs": 1}, {"preset": "short"}),
        ({"preset": "short"}, {"preset": "demo"}),
        ({"preset": "short", "epochs": 61}, {"preset": "short", "iw_samples": 9000}),
        ({"iw_samples": 5000}, {"iw_samples": 4000}),
        ({"iw_samples": 5000, "eval_images": 3000}, {"iw_samples": 1000}),
        ({}, {"class_bn": "q"}),
        ({"bound": -99.0}, {"bound": -1.0, "class_bn": "q"}),  # the result decides nothing
    ],
    ids=str,
)
def test_the_preferred_of_two(better, worse):
    both = [record("b", **better), record("a", **worse)]
    assert choose(*both)[0] == choose(*reversed(both))[0] == ["b"]


def test_more_runs_come_before_fewer_departures():
    made = [record("a"), record("b", class_bn="q", seed=1), record("c", class_bn="q", seed=2)]
    assert choose(*made)[0] == ["b", "c"]


def test_the_last_resort_is_the_name():
    assert choose(record("b", class_bn="q"), record("a", labelled_bn="own"))[0] == ["a"]


# ---- mean and spread


def test_a_bound_is_the_mean_over_runs():
    names, entry = choose(record("a", bound=-80), record("b", bound=-82, seed=2), record("c", bound=-87, label_seed=2))
    assert names == ["a", "b", "c"]
    assert entry.value == pytest.approx(-83)
    assert entry.spread == pytest.approx(statistics.stdev([-80, -82, -87]))
    assert (entry.spread_of, entry.subsets) == ("3 runs", (1, 2))


def test_of_one_run_the_spread_is_over_images():
    _, entry = choose(record("a", bound=-80))
    assert (entry.value, entry.spread, entry.spread_of) == (-80, 0.5, "images")


def test_a_copy_of_a_run_is_not_another_run():
    names, entry = choose(record("a", bound=-80), record("b", bound=-80))
    assert names == ["a"]
    assert entry.spread_of == "images"


@pytest.mark.parametrize("change", [{"engine": "c"}, {"checkpoint_every": 5}, {"engine": "xla", "devices": 2}], ids=str)
def test_the_machine_splits_no_group(change):
    assert choose(record("a", engine="xla"), record("b", seed=2, **change))[0] == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [{"epochs": 999}, {"iw_samples": 100}, {"eval_images": 500}, {"estimator": "sampled"}, {"label_weight": "3"}],
    ids=str,
)
def test_other_recipes_and_evaluations_are_never_averaged(change):
    assert choose(record("a"), record("b", seed=2, **change))[0] == ["a"]


def test_data_are_told_apart_by_their_hash_not_by_words():
    words = record("b", seed=2, put={"dataset.source": "a file"})
    other = record("c", seed=3, put={"dataset.sha256": "f" * 64})
    assert choose(record("a"), words, other)[0] == ["a", "b"]


def test_a_single_subset_with_two_seeds_has_their_spread():
    made = [record(f"s{s}", warmup_epochs=0, seed=s, error=(0, e)) for s, e in ((1, 4), (2, 6))]
    _, entry = choose(*made, cell=ERROR, quantity="error_p")
    assert (entry.value, entry.spread, entry.spread_of) == (5, statistics.stdev([4, 6]), "2 runs")


errors = st.dictionaries(
    st.tuples(st.integers(1, 3), st.integers(1, 4)), st.floats(0, 100).map(lambda e: round(e, 2)), min_size=1
)


@settings(max_examples=40, deadline=None)
@given(errors, st.randoms())
def test_an_error_is_the_mean_over_subsets_of_means_over_seeds(errors, random):
    made = [
        record(f"{subset}-{seed}", warmup_epochs=0, label_seed=subset, seed=seed, error=(error / 2, error))
        for (subset, seed), error in errors.items()
    ]
    random.shuffle(made)
    _, entry = choose(*made, cell=ERROR, quantity="error_p")
    by_subset = {}
    for (subset, _), error in errors.items():
        by_subset.setdefault(subset, []).append(error)
    means = [sum(some) / len(some) for some in by_subset.values()]
    assert entry.value == pytest.approx(sum(means) / len(means))
    assert entry.subsets == tuple(sorted(by_subset))
    if len(means) > 1:
        middle = sum(means) / len(means)
        spread = (sum((mean - middle) ** 2 for mean in means) / (len(means) - 1)) ** 0.5
        assert entry.spread == pytest.approx(spread)
        assert entry.spread_of == f"{len(means)} subsets"


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("bound", (-80.0, 0.5)),
        ("F_1", (-92.25, 0.5)),
        ("KL_z2", (13.5, None)),
        ("error_q", (10.0, 0.3)),
        ("error_p", (20.0, 0.4)),
        ("accuracy_p", (80.0, 0.4)),
    ],
)
def test_each_quantity_is_read_from_its_place(quantity, expected):
    assert cells.measure(record(error=(10.0, 20.0)), quantity) == pytest.approx(expected)


def test_what_was_not_measured_fills_nothing():
    assert cells.measure(record(estimator="sampled"), "KL_z2") is None
    assert cells.measure(record(labels=0), "error_p") is None
    assert choose(record(estimator="sampled"), quantity="KL_z2") == ([], None)
    assert cells.measure(record(model="vae", labels=0, layers=1), "KL_z2") is None
    assert cells.measure(record(model="adgm", error=(3.0, 9.0)), "error_p") is None
    assert cells.measure(record(model="adgm", error=(10.0, 20.0)), "error_q") == pytest.approx((10.0, 0.3))


# ---- departures


@pytest.mark.parametrize(
    ("preset", "changes", "expected"),
    [
        ("paper", {}, ()),
        ("short", {}, ()),
        ("demo", {"seed": 2, "labels": 0, "clusters": 20, "engine": "c", "iw_samples": 7}, ()),
        ("paper", {"warmup_epochs": 0}, ()),  # Table 2's own
        ("short", {"warmup_epochs": 20}, ("warmup_epochs 20 (not 10)",)),
        (
            "paper",
            {"label_weight": "60", "precision": "bf16"},
            ("label_weight 60 (not 10)", "precision bf16 (not float32)"),
        ),
        ("short", {"decay_epochs": 50}, ("decay_epochs 50 (not 5)",)),
        ("paper", {"pixel_scale": 255.0}, ()),  # said by the protocol
        ("short", {"model": "adgm", "labels": 100}, ()),  # its own weight of the labels
        (
            "short",
            {"model": "adgm", "label_weight": "10"},
            ("label_weight 10 (not adgm:0.1)",),
        ),
        ("paper", {"model": "iwae"}, ()),
        ("paper", {"model": "lvae", "layers": 5, "widths": "doubled"}, ("widths doubled (not nodes)",)),
    ],
)
def test_departures_are_what_no_column_says(preset, changes, expected):
    changes = {"engine": "xla", **changes}
    assert cells.departures(experiment(preset, **changes).to_dict()) == expected


def test_no_temperature_is_said_where_the_cell_says_nothing_of_it():
    config = experiment("short", model="iwae", warmup_epochs=0, engine="xla").to_dict()
    assert cells.departures(config) == ()
    assert cells.departures(config, temperature_said=False) == ("warmup_epochs 0 (not 10)",)
