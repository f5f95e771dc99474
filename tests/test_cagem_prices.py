"""``cagem prices RUN`` on small runs: what it writes, interruptions, a one-layer model, refusals, the report."""

import json
import shutil

import pytest
from small_runs import called, digits, train
from test_cagem_evaluate import Counting
from test_prices import TopDown

from parmesan_cagem import checkpoint, models, prices_record, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.errors import UserError
from parmesan_cagem.partition import evaluated
from parmesan_cagem.prices import nested_bounds
from parmesan_cagem.report import inputs, run_pages
from parmesan_cagem.trained import load

LACKING = "{run}: no bounds.csv of its record, which `cagem evaluate {run}` writes: no standard errors of differences\n"
FLAGS = ["--outer", "2", "--inner", "3", "--no-progress"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    train(out, "--labels", "20")
    return out / "run"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A one-layer VAE, by the same schedule."""
    out = tmp_path_factory.mktemp("plain")
    train(out, "--model", "vae", "--labels", "0", "--layers", "1")
    return out / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def priced(run, *flags, told="", **machine):
    status, printed, said = called("cagem", "prices", run, *FLAGS, *flags, **machine)
    assert (status, said) == (0, told)
    return printed, prices_record.read(run / "prices.json")


def without_times(prices):
    return {k: v for k, v in prices.items() if k not in ("finished", "seconds", "peak_memory_bytes")}


def test_it_writes_prices_that_belong_to_the_record(run):
    printed, prices = priced(run)
    record = records.read(run / "record.json")
    assert prices_record.belongs_to(prices, record)
    assert (prices["first"], prices["later"], prices["outer"], prices["inner"]) == ("z1", ["y", "z2"], 2, 3)
    numbers = prices["numbers"]
    assert (numbers["F_1"], numbers["F_k"]) == (record["bounds"]["F_1"], record["bounds"]["F_10"])
    mean = {name: value["mean"] for name, value in numbers.items()}
    assert mean["F_1"] + mean["price_later"] == pytest.approx(mean["middle"], abs=1e-9)
    assert mean["middle"] + mean["price_first"] == pytest.approx(mean["F_k"], abs=1e-9)
    assert mean["price_later"] > 0
    same = prices["same_draws"]
    assert same["middle"]["mean"] - same["F_1"]["mean"] == pytest.approx(mean["price_later"])
    e = Experiment.from_dict(record["config"])
    indices = evaluated(digits(), e)
    images = binarize(digits().test_images, e.pixel_scale, 1)[indices]
    direct = nested_bounds(load(run).model, e, TheanoC(mode="FAST_COMPILE"), images, indices, 2, 3)
    assert same["middle"]["mean"] == pytest.approx(direct.middle.mean(), rel=1e-6)
    assert numbers["price_first"]["standard_error"] > 0
    assert printed.splitlines()[3].startswith("price of y and z2  ")
    assert prices["one_layer"] is None


def test_without_the_numbers_of_single_images_there_is_no_standard_error(run):
    _, before = priced(run)
    (run / "bounds.csv").unlink()
    _, after = priced(run, told=LACKING.format(run=run))
    for name in ("middle", "price_first"):
        assert before["numbers"][name]["standard_error"] is not None
        assert after["numbers"][name]["standard_error"] is None
        assert after["numbers"][name]["mean"] == before["numbers"][name]["mean"]


def test_numbers_of_single_images_that_cannot_be_read_now_are_not_done_without(run):
    (run / "bounds.csv").unlink()
    (run / "bounds.csv").mkdir()
    status, _, told = called("cagem", "prices", run, *FLAGS)
    assert (status, told.count("\n")) == (2, 1)
    assert f"{run / 'bounds.csv'}: cannot read: not a regular file; remove it" in told
    assert not (run / "prices.json").exists()


def test_bounds_of_other_numbers_are_not_the_records(run):
    record = records.read(run / "record.json")
    bound = record["bounds"]["F_1"]
    bound.update(mean=bound["mean"] + 1, by_seed=[bound["by_seed"][0] + 1])
    records.write(run / "record.json", record)
    prices = priced(run, told=LACKING.format(run=run))[1]
    assert prices["numbers"]["price_first"]["standard_error"] is None


@pytest.mark.parametrize("stop_at", [1, 5])
def test_stopped_it_goes_on_to_the_same_bits(run, stop_at):
    whole, rest, none = Counting(), Counting(), Counting()
    _, expected = priced(run, engine=whole)
    for name in ("prices.json", "prices.h5"):
        (run / name).unlink()
    status, _, told = called("cagem", "prices", run, *FLAGS, engine=Counting(stop_at))
    assert (status, told) == (143, "cagem: stopped by SIGTERM\n")
    assert not (run / "prices.json").exists()
    _, given = priced(run, engine=rest)
    assert without_times(given) == without_times(expected)
    assert rest.calls == whole.calls - (stop_at - 1)
    _, again = priced(run, engine=none)
    assert none.calls == 0
    assert without_times(again) == without_times(expected)


def test_several_seeds(run):
    assert called("cagem", "evaluate", run, "--eval-seeds", "2", "--no-progress")[0] == 0
    _, prices = priced(run)
    assert prices["protocol"]["seeds"] == [1, 2]
    assert all(len(number["by_seed"]) == 2 for number in prices["numbers"].values())
    one, two = prices["numbers"]["price_later"]["by_seed"]
    assert one != two


def test_a_one_layer_model_says_whether_the_second_layer_pays(run, plain):
    _, prices = priced(run, "--one-layer", plain)
    ours, its = (records.read(path / "record.json")["bounds"]["F_10"] for path in (run, plain))
    beside = prices["one_layer"]
    assert beside["gain"]["mean"] == pytest.approx(ours["mean"] - its["mean"], abs=1e-9)
    assert beside["F_k"] == its
    assert 0 < beside["gain"]["standard_error"] < ours["standard_error"] + its["standard_error"]


def changed(path, tmp_path, **changes):
    """A copy of a run whose record differs."""
    copy = shutil.copytree(path, tmp_path / "other")
    record = records.read(copy / "record.json")
    for key, value in changes.items():
        where, _, name = key.rpartition("__")
        (record[where] if where else record)[name] = value
    (copy / "record.json").write_text(json.dumps(record))
    return copy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 7}, ["epochs is 7, of the run 1"]),
        ({"config__learning_rate": 0.5}, ["learning_rate is 0.5, of the run 0.001"]),
        ({"eval__indices_sha256": "0" * 64}, ["eval.indices_sha256 is 000"]),
        ({"config__layers": 2}, ["is vae, 2 layers", "--layers 1"]),
        ({"model": "lvae"}, ["is lvae"]),
    ],
)
def test_another_one_layer_model_is_refused_before_the_work(run, plain, tmp_path, changes, words):
    other, machine = changed(plain, tmp_path, **changes), Counting()
    status, _, told = called("cagem", "prices", run, *FLAGS, "--one-layer", other, engine=machine)
    assert (status, told.count("\n"), machine.calls) == (2, 1, 0)
    assert told.startswith(f"cagem: --one-layer {other}: ")
    assert all(word in told for word in words), told


def no_record(run):
    (run / "record.json").unlink()


def no_folder(run):
    shutil.rmtree(run)


def other_weights(run):
    saved = checkpoint.load(run)
    checkpoint.save(run, saved.arrays, {**saved.attributes, "epoch": 2})


def other_images(run):
    record = records.read(run / "record.json")
    record["eval"]["indices_sha256"] = "0" * 64
    records.write(run / "record.json", record)


@pytest.mark.parametrize(
    ("spoil", "flags", "words"),
    [
        (no_record, [], ["no record", "cagem evaluate"]),
        (no_folder, [], ["no run (no config.json)"]),
        (other_weights, [], ["is of other weights (steps)", "cagem evaluate"]),
        (other_images, [], ["is of other test images"]),
        (None, ["--outer", "0"], ["--outer 0", "at least 1"]),
        (None, ["--inner", "1"], ["--inner 1", "at least 2"]),
        (None, ["--one-layer", "/nowhere"], ["/nowhere", "no run"]),
    ],
)
def test_refusals_are_one_line(run, spoil, flags, words):
    if spoil:
        spoil(run)
    status, printed, told = called("cagem", "prices", run, *FLAGS, *flags)
    assert (status, printed, told.count("\n")) == (2, "", 1)
    assert all(word in told for word in words), told
    assert not (run / "prices.json").exists()


def test_a_model_that_draws_z1_last_is_refused(run, monkeypatch):
    monkeypatch.setattr(models, "build", TopDown)
    monkeypatch.setattr("parmesan_cagem.trained.restore", lambda *_: None)
    status, _, told = called("cagem", "prices", run, *FLAGS)
    assert (status, told.count("\n")) == (2, 1)
    assert "draws z1 given z2" in told


# The report


def pages(run, tmp_path):
    found, _ = inputs.collect(run.parent, tmp_path / "figures")
    return run_pages.section(found)


def test_the_report_shows_them(run, plain, tmp_path):
    assert "Prices of the posteriors" not in pages(run, tmp_path)
    _, prices = priced(run, "--one-layer", plain)
    html = pages(run, tmp_path)
    price, error = (prices["numbers"]["price_later"][key] for key in ("mean", "standard_error"))
    assert f"<td>y, z2: {price:.2f} ± {error:.2f}</td>" in html
    assert "price of the posterior of z1, nats" in html
    assert "gain over one layer, nats" in html


def test_the_report_says_that_prices_are_of_another_record(run, tmp_path):
    priced(run)
    assert called("cagem", "evaluate", run, "--iw-samples", "20", "--no-progress")[0] == 0
    html = pages(run, tmp_path)
    assert "prices.json is of another record" in html
    assert "Table of prices" not in html


def test_damaged_prices_hide_nothing_else(run, tmp_path):
    priced(run)
    (run / "prices.json").write_text('{"schema_version": 1}')
    with pytest.raises(UserError, match=r"prices\.schema\.json"):
        prices_record.read(run / "prices.json")
    html = pages(run, tmp_path)
    assert "prices.schema.json" in html
    assert "Provenance" in html
    assert str(run) not in html
