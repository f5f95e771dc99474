"""A column of one table has one protocol: others are refused, or marked where that is asked for."""

import pytest
from fake_runs import record
from made_tables import build, cell, notes_of

from parmesan_cagem.errors import UserError

PROTOCOLS = [
    ({"pixel_scale": 255.0}, {}, "dataset.pixel_scale 255.0, not 256.0"),
    ({}, {"eval.binarisation": "anew each time"}, "eval.binarisation anew each time, not fixed, seed"),
    ({}, {"dataset.sha256": "f" * 64}, "dataset.sha256 " + "f" * 64),
    ({}, {"dataset.verified": False}, "dataset.verified False, not True"),
    ({"estimator": "sampled"}, {}, "eval.estimator sampled, not marginal"),
    ({"bn_eval": "collect"}, {}, "eval.bn_mode collect, not ema"),
]


@pytest.mark.parametrize("other", [{"labels": 50}, {"seed": 2}], ids=["another cell", "the same cell"])
@pytest.mark.parametrize(("changes", "put", "message"), PROTOCOLS, ids=[p[2].split()[0] for p in PROTOCOLS])
def test_a_column_of_two_protocols_is_refused_or_marked(changes, put, message, other):
    made = [record("a"), record("b", labels=0), record("odd", put=put, **{**other, **changes})]
    with pytest.raises(UserError) as error:
        build(*made)
    assert "\n" not in str(error.value)
    for text in (message, "Table 1", "record odd", "record b", "--mixed"):
        assert text in str(error.value)
    table = build(*made, mixed=True)["table1"]
    if "labels" in other:
        assert any(message in note for note in notes_of(table, "CaGeM-50"))
        assert notes_of(table, "CaGeM-100") == []
    else:  # two protocols are never averaged
        assert cell(table, "CaGeM-100", "seeds") == "1"
        assert notes_of(table, "CaGeM-100")[0] == "of equal standing and not shown: odd"


def test_errors_know_no_estimator():
    made = [record(f"t{s}", warmup_epochs=0, label_seed=s) for s in (1, 2)]
    odd = record("t3", warmup_epochs=0, label_seed=3, estimator="sampled")
    assert cell(build(*made, odd)["table2-runs"], "CaGeM, 100 labels", "label subsets") == "1, 2, 3"


@pytest.mark.parametrize(
    "changes",
    [{"eval_seed": 5}, {"iw_samples": 100}, {"eval_images": 500}],
    ids=str,
)
def test_seeds_and_sizes_of_evaluations_may_differ(changes):
    build(record("a"), record("b", labels=0, **changes))


def test_a_run_of_less_standing_may_have_another_protocol():
    table = build(record("a"), record("b", "short", pixel_scale=255.0))["table1"]
    assert notes_of(table, "CaGeM-100") == []
