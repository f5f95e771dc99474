"""What a screen's runs are said to show: pairs of seeds, spreads, verdicts; and that the screen is what it says."""

import dataclasses
import json
import statistics

import pytest
from record_example import example

from benchmarks import recipe, recipe_effects
from parmesan_cagem import grid
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError


def run(arm, seed, f_k, **more):
    told = {"arms": [["g", arm]], "seed": seed, "F_k": f_k, "F_1": f_k - 4.0, "F by epoch": [f_k - 2, f_k]}
    return {
        **told,
        "KL_z2": 13.0,
        "error_q": None,
        "error_p": None,
        "nmi": 0.25,
        "cluster_usage": [0.5, 0.49, 0.01],
        **more,
    }


RUNS = [
    *(run("reference", seed, value) for seed, value in ((1, -90.0), (2, -91.0), (3, -92.0))),
    *(run("up", seed, value) for seed, value in ((1, -88.0), (2, -89.5), (3, -90.0))),
    *(run("same", seed, value) for seed, value in ((1, -90.5), (2, -91.5), (3, -92.4))),
    *(run("down", seed, value) for seed, value in ((2, -99.0), (3, -99.5), (4, -99.25))),
    run("alone", 1, -80.0),
]
ARMS = dict(recipe_effects.groups(RUNS))["g"]


@pytest.mark.parametrize(
    ("arm", "difference", "spread", "seeds", "verdict"),
    [
        ("up", 91.0 - (88.0 + 89.5 + 90.0) / 3, (13 / 12) ** 0.5, 3, "better"),
        ("same", 91.0 - (90.5 + 91.5 + 92.4) / 3, 1.0, 3, "none"),
        (
            "down",
            91.5 - 99.25,
            (1 + statistics.stdev([-90.5, -91.5, -92.4])) / 2,
            2,
            "worse",
        ),  # the seeds that both have; the usual spread is larger than its own
    ],
)
def test_an_effect_is_a_difference_of_the_same_seeds_against_their_spread(arm, difference, spread, seeds, verdict):
    found = recipe_effects.effect(ARMS[arm], ARMS["reference"], recipe_effects.usual_spread(ARMS))
    assert found == pytest.approx((difference, spread, seeds))
    (row,) = [line for line in recipe.table(RUNS).splitlines() if line.startswith(f"| {arm} |")]
    assert f"| {difference:+.2f} | {spread:.2f} | {verdict} |" in row


def test_arms_that_lie_close_together_by_chance_are_judged_by_what_is_usual():
    close = {seed: run("close", seed, -90.9) for seed in (1, 2, 3)}
    middle = statistics.stdev([-90.5, -91.5, -92.4])  # of 0, 0.25, this one, 1 and 1.04
    assert recipe_effects.usual_spread({**ARMS, "close": close}) == pytest.approx(middle)
    assert recipe_effects.effect(close, close) == pytest.approx((0.0, 0.0, 3))
    assert recipe_effects.effect(close, close, 0.3) == pytest.approx((0.0, 0.3, 3))
    assert recipe_effects.usual_spread({"alone": ARMS["alone"]}) == 0.0


def test_one_seed_says_nothing():
    assert recipe_effects.effect(ARMS["alone"], ARMS["reference"]) is None
    (row,) = [line for line in recipe.table(RUNS).splitlines() if line.startswith("| alone |")]
    assert row == "| alone | 1 | -80.00 |  |  |  | 4.00 | 13.00 |  |  | 0.25 | 2.0 |"


def test_the_reference_comes_first_also_where_the_grid_has_it_later():
    assert next(iter(dict(recipe_effects.groups(RUNS[3:] + RUNS[:3]))["g"])) == "reference"


def test_the_page_holds_the_table_and_the_figure_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "DOCS", tmp_path)
    page, mark = tmp_path / "recipe.md", recipe.begin("screen")
    other = f"{recipe.begin('confirm')}\nits own\n{recipe.END}\n"
    page.write_text(f"before\n{mark}\nold\n{recipe.END}\nafter\n{other}")
    recipe.write("screen", RUNS)
    assert page.read_text() == f"before\n{mark}\n{recipe.table(RUNS)}\n{recipe.END}\nafter\n{other}"
    assert (tmp_path / "screen.png").stat().st_size > 10_000
    page.write_text("no marks")
    with pytest.raises(UserError, match="lacks"):
        recipe.write("screen", RUNS)


def test_every_arm_of_the_screen_differs_from_its_reference_in_what_it_is_for(tmp_path):
    runs = grid.read(grid.CHECKOUT / "screen.yaml", "short", tmp_path).runs
    references = {}
    for found in runs:
        for fills in found.fills:
            group, arm = fills.split(": ")
            if arm == recipe_effects.REFERENCE:
                references[group, found.experiment.seed] = found.experiment
    assert {group for group, _ in references} == {
        "CaGeM-100",
        "CaGeM-0",
        "labels",
        "VAE",
        "LVAE",
        "ADGM-100",
        "OMNIGLOT",
    }
    for found in runs:
        e = found.experiment
        assert (e.eval_split, e.wide, e.narrow) == ("heldout", 256, 128)
        assert e.holdout == (2_000 if e.dataset == "omniglot" else 10_000)
        for fills in found.fills:
            group, arm = fills.split(": ")
            reference = references[group, e.seed]
            differing = [
                field.name
                for field in dataclasses.fields(Experiment)
                if getattr(e, field.name) != getattr(reference, field.name)
            ]
            factors = 0 if arm == recipe_effects.REFERENCE else 1 + arm.count(" and ")
            assert len(differing) == factors or (arm.startswith("w_q = 10") and differing == ["label_weight_p"]), arm


def test_a_run_is_told_from_its_record_and_log(tmp_path):
    text = 'settings: {seed: [1]}\nruns: [{for: "CaGeM: reference", labels: 100}]'
    (tmp_path / "grid.yaml").write_text(text)
    (found,) = grid.read(tmp_path / "grid.yaml", "short", tmp_path).runs
    assert recipe.collect(tmp_path / "grid.yaml", "short", tmp_path) == []
    folder = found.entry.folder
    folder.mkdir()
    record = example()
    (folder / "record.json").write_text(json.dumps(record))
    collected = {**record, "eval": {**record["eval"], "bn_mode": "collect"}}
    (folder / "record.former-1.json").write_text(json.dumps(collected))
    (folder / "log.jsonl").write_text('{"engine": "xla"}\n{"epoch": 1, "F": -150.12345}\n')
    plain, again = recipe.collect(tmp_path / "grid.yaml", "short", tmp_path)
    assert plain["arms"] == [["CaGeM", "reference"]]
    assert again["arms"] == [["CaGeM", "bn_eval collect"]]
    assert plain["F by epoch"] == [-150.123]
    assert plain["F_k"] == record["bounds"][f"F_{record['eval']['k']}"]["mean"]
    assert plain["evaluation"]["split"] == "test"
    (folder / "record.former-1.json").unlink()
    before = [{**plain, "F_k": 0.0}, again, {**plain, "command": "of another grid"}]
    assert recipe.collect(tmp_path / "grid.yaml", "short", tmp_path, before) == [plain, again]
    (folder / "record.json").unlink()
    assert recipe.collect(tmp_path / "grid.yaml", "short", tmp_path, before) == before[:2]


def test_an_arm_without_a_group_is_refused(tmp_path):
    (tmp_path / "grid.yaml").write_text("runs: [{for: alone, labels: 100}]")
    with pytest.raises(UserError, match='say "group: arm"'):
        recipe.collect(tmp_path / "grid.yaml", "short", tmp_path)
