"""``cagem units RUN...`` on small runs: one row a group, numbers of every run in a file, refusals."""

import json

import pytest
from small_runs import called, train

from parmesan_cagem import records
from parmesan_cagem.commands import units


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A CaGeM-20 and a VAE."""
    found = {}
    for name, flags in {"cagem": ("--labels", "20"), "vae": ("--model", "vae")}.items():
        out = tmp_path_factory.mktemp(name)
        train(out, *flags)
        found[name] = (out / "run").rename(out / name)
    return found


def cells(line):
    return [cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")]


def test_a_row_for_every_group_and_the_numbers_of_every_run(runs, tmp_path):
    few = ("--images", "12", "--draws", "4", "--no-progress")
    status, printed, told = called("cagem", "units", *runs.values(), *few, "--json", tmp_path / "units.json")
    assert status == 0, told
    head, _, cagem, vae, _, floor = (cells(line) for line in printed.splitlines())
    assert floor[0].startswith("12 images, 4 draws: ")
    assert (cagem[:2], vae[:2]) == (["CaGeM-20", "1"], ["VAE, L=2", "1"])
    assert "±" not in "".join(cagem)
    assert vae[head.index("KL y")] == ""  # it has none
    entries = json.loads((tmp_path / "units.json").read_text())["runs"]
    assert float(cagem[head.index("KL top given z1, y")]) == round(entries[0]["conditional"], 1)
    for entry, run in zip(entries, runs.values(), strict=True):
        record = records.read(run / "record.json")
        assert entry["active_units"] == record["active_units"]
        assert entry["kl"] == {name: value for name, value in record["terms"].items() if name != "reconstruction"}
        assert entry["bound"] == record["bounds"]["F_10"]["mean"]


def test_the_spread_is_the_sample_standard_deviation():
    entry = {
        "group": "VAE",
        "recipe": {"epochs": 1},
        "top": "z2",
        "bound": -90.0,
        "k": 5,
        "lower": 1.0,
        "upper": 2.0,
        "conditional": 3.0,
    }
    both = [{**entry, "kl": {"KL_z1": kl}, "active_units": {"z1": 4, "z2": n}} for kl, n in ((10.0, 3), (14.0, 6))]
    row = cells(units.table(both)[2])
    assert row == [
        "VAE",
        "2",
        "-90.00 ± 0.00 (k=5)",
        "12.0 ± 2.8",
        "3.0 ± 0.0",
        "1.0 ± 0.0 to 2.0 ± 0.0",
        "",
        "4.0 ± 0.0",
        "4.5 ± 2.1",
    ]


def test_recipes_that_differ_in_more_than_seeds_are_rows_of_their_own():
    entry = {"group": "VAE", "top": "z2", "bound": -90.0, "k": 5, "lower": 1.0, "upper": 2.0, "conditional": 3.0}
    entry |= {"kl": {}, "active_units": {"z1": 4, "z2": 3}}
    rows = units.table([{**entry, "recipe": {"wide": wide, "epochs": 2}} for wide in (1024, 256, 256)])[2:]
    assert [cells(row)[:2] for row in rows] == [["VAE, wide 1024", "1"], ["VAE, wide 256", "2"]]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(("--draws", "1"), "give at least 2 draws"), (("--images", "0"), "give at least 2 draws and 1 image")],
)
def test_bad_numbers_are_one_line(runs, flags, reason):
    status, _, told = called("cagem", "units", runs["vae"], *flags)
    assert status == 2
    assert reason in told
    assert len(told.splitlines()) == 1


def test_a_record_of_another_epoch_is_refused(runs):
    path = runs["cagem"] / "record.json"
    before = path.read_bytes()
    path.write_text(json.dumps({**json.loads(before), "epochs": 7}))
    status, _, told = called("cagem", "units", runs["cagem"], "--no-progress")
    path.write_bytes(before)
    assert status == 2
    assert "the record is of epoch 7, the checkpoint of epoch 1" in told


def test_no_run_is_one_line(tmp_path):
    status, _, told = called("cagem", "units", tmp_path / "none")
    assert status == 2
    assert "no run (no config.json)" in told
    assert len(told.splitlines()) == 1
