"""The ledger of an evaluation: what was finished before a kill is not computed again, and counts to the bit."""

import numpy as np
import pytest
from toy_evaluation import engine, toy, toy_images

from parmesan_cagem import ledger as ledgers
from parmesan_cagem import sealed
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.classification import classify
from parmesan_cagem.collect import collect_statistics
from parmesan_cagem.ledger import Ledger

PLACES = np.array([4, 0, 17, 9, 100, 33, 2])


class Counting:
    """An engine that counts calls and, after ``limit`` of them, dies."""

    name, device, rows_per_call = "c", "a toy", 24  # three clusters, four draws: two images a call

    def __init__(self, limit=10**9):
        self.calls, self.limit = 0, limit

    def function(self, inputs, outputs, name):
        call = engine().function(inputs, outputs, name)

        def counted(*values):
            if self.calls == self.limit:
                raise KeyboardInterrupt
            self.calls += 1
            return call(*values)

        return counted


def bounds(e, model, machine, ledger):
    found = importance_bounds(model, e, machine, toy_images(7), PLACES, ledger=ledger)
    return np.stack([*found.bounds.values(), *found.terms.values()])


def classes(e, model, machine, ledger):
    found = classify(model, e, machine, toy_images(7), PLACES, ledger=ledger)
    return np.column_stack([*found.classifiers.values(), found.expected_log_p_y, *found.mu.values()])


def statistics(e, model, machine, ledger):
    collect_statistics(model, e, machine, toy_images(7) * 255, PLACES, ledger=ledger)
    return np.concatenate([layer.running_variance.get_value() for layer in model.batch_norms])


@pytest.mark.parametrize("compute", [bounds, classes, statistics])
@pytest.mark.parametrize("alive", [1, 3])
def test_a_killed_evaluation_goes_on_to_the_same_bits(tmp_path, compute, alive):
    e, model = toy(iw_samples=4)
    whole, path = Counting(), tmp_path / "evaluation.h5"
    expected = compute(*toy(iw_samples=4), whole, Ledger())
    with pytest.raises(KeyboardInterrupt), Ledger(path, {"weights": "a"}) as ledger:
        compute(e, model, Counting(alive), ledger)
    rest = Counting()
    with Ledger(path, {"weights": "a"}) as ledger:
        found = compute(e, model, rest, ledger)
    assert np.array_equal(found, expected)
    assert rest.calls == whole.calls - alive
    # And a third time nothing is left to compute.
    idle = Counting()
    assert np.array_equal(compute(e, model, idle, Ledger(path, {"weights": "a"})), expected)
    assert idle.calls == 0


@pytest.mark.parametrize(
    ("identity", "changes"),
    [({"weights": "b"}, {}), ({"weights": "a"}, {"eval_seed": 8}), ({"weights": "a"}, {"iw_samples": 6})],
    ids=["weights", "seed", "k"],
)
def test_other_weights_or_another_protocol_begin_anew(tmp_path, identity, changes):
    path = tmp_path / "evaluation.h5"
    with Ledger(path, {"weights": "a"}) as ledger:
        bounds(*toy(iw_samples=4), Counting(), ledger)
    again, fresh = Counting(), Counting()
    found = bounds(*toy(**{"iw_samples": 4, **changes}), again, Ledger(path, identity))
    assert np.array_equal(found, bounds(*toy(**{"iw_samples": 4, **changes}), fresh, Ledger()))
    assert again.calls == fresh.calls


def test_a_larger_set_keeps_the_images_of_a_smaller_one(tmp_path):
    path = tmp_path / "evaluation.h5"
    with Ledger(path) as ledger:
        ledger.table("bounds", 3, 2).put(np.array([2]), [[5.0, 6.0]], 0.5)
    with Ledger(path) as ledger:
        table = ledger.table("bounds", 10, 2)
        assert table.values[2].tolist() == [5.0, 6.0]
        assert np.flatnonzero(table.done).tolist() == [2]
        assert table.seconds.sum() == 0.5
        table.put(np.array([7, 8]), [[1.0, 1.0]], 1.0)
    with Ledger(path) as ledger:  # asked for fewer, none is forgotten
        assert np.flatnonzero(ledger.table("bounds", 4, 2).done).tolist() == [2, 7, 8]


def test_it_saves_now_and_then(tmp_path, monkeypatch):
    path, now = tmp_path / "evaluation.h5", [100.0]
    monkeypatch.setattr(ledgers.time, "monotonic", lambda: now[0])
    table = Ledger(path).table("bounds", 3, 1)
    table.put(np.array([0]), [[1.0]], 0.1)
    assert not path.exists()
    now[0] += ledgers.SAVE_SECONDS + 1
    table.put(np.array([1]), [[1.0]], 0.1)
    assert np.flatnonzero(Ledger(path).table("bounds", 3, 1).done).tolist() == [0, 1]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:600] + b"x" + data[601:], lambda data: b""]
)
def test_a_damaged_file_is_told_and_replaced(tmp_path, damage):
    path = tmp_path / "evaluation.h5"
    with Ledger(path) as ledger:
        ledger.table("bounds", 3, 1).put(np.array([0]), [[1.0]], 0.1)
    path.write_bytes(damage(path.read_bytes()))
    with Ledger(path) as ledger:
        assert "evaluation.h5" in ledger.warning
        assert "anew" in ledger.warning
        assert not ledger.table("bounds", 3, 1).done.any()
    assert Ledger(path).warning is None


def test_the_devices_of_all_its_numbers_are_known(tmp_path):
    path = tmp_path / "evaluation.h5"
    for device in ("one", "other", "one"):
        with Ledger(path, {"weights": "a"}, device) as ledger:
            pass
    assert ledger.devices == ["other", "one"]
    with Ledger(path, {"weights": "b"}, "third") as ledger:
        assert ledger.devices == ["third"]


def test_the_largest_process_counts(tmp_path, monkeypatch):
    path = tmp_path / "evaluation.h5"
    for peak in (300, 900, 200):
        monkeypatch.setattr(ledgers.provenance, "peak_memory_bytes", lambda peak=peak: peak)
        with Ledger(path) as ledger:
            pass
    assert ledger.peak_memory_bytes() == 900


def test_a_file_of_before_its_memory_was_kept_counts(tmp_path):
    path = tmp_path / "evaluation.h5"
    with Ledger(path, {"weights": "a"}, "a toy") as first:
        first.keep("layer", np.ones(2))
    arrays, facts = sealed.decode(sealed.read(path))
    del facts["peak_memory_bytes"]
    body = sealed.encode(arrays, facts)
    path.write_bytes(sealed.seal(body) + body)
    with Ledger(path, {"weights": "a"}, "a toy") as again:
        assert again.kept("layer").tolist() == [1, 1]
        assert again.peak_memory_bytes() > 0


def test_a_table_grows_where_it_is_asked_for_again():
    ledger = Ledger()
    table = ledger.table("bounds", 2, 1)
    table.put(np.array([1]), [[5.0]], 0.5)
    assert ledger.table("bounds", 4, 1) is table
    assert (table.values[:, 0].tolist(), table.done.tolist()) == ([0, 5, 0, 0], [False, True, False, False])
    assert ledger.table("bounds", 1, 1).seconds.tolist() == [0, 0.5, 0, 0]


def test_a_ledger_takes_over_what_another_has_filled(tmp_path, monkeypatch):
    paths = [tmp_path / "one.h5", tmp_path / "other.h5"]
    for path, row, peak in zip(paths, (1, 4), (900, 300), strict=True):
        monkeypatch.setattr(ledgers.provenance, "peak_memory_bytes", lambda peak=peak: peak)
        with Ledger(path, {"weights": "a"}, path.stem) as ledger:
            ledger.table("bounds", row + 1, 2).put(np.array([row]), [[row, 6.0]], 0.5)
            ledger.keep(f"layer {row}", np.full(2, row))
    monkeypatch.setattr(ledgers.provenance, "peak_memory_bytes", lambda: 10**6)
    union = Ledger(tmp_path / "union.h5", {"weights": "a"}, None)
    union.table("bounds", 3, 2).put(np.array([1, 2]), [[7.0, 7.0], [8.0, 8.0]], 4.0)
    for path in reversed(paths):
        union.absorb(Ledger.read(path))
    union.save()
    for found in (union, Ledger.read(tmp_path / "union.h5")):  # in memory, and from its file
        table = found.table("bounds", 0, 2)
        assert table.values.tolist() == [[0, 0], [1, 6], [8, 8], [0, 0], [4, 6]]
        assert np.flatnonzero(table.done).tolist() == [1, 2, 4]
        assert table.seconds.tolist() == [0, 0.5, 2, 0, 0.5]
        assert (found.kept("layer 1").tolist(), found.kept("layer 4").tolist()) == ([1, 1], [4, 4])
        assert (found.devices, found.peak_memory_bytes()) == (["other", "one"], 900)


def test_what_is_no_ledger_is_damaged(tmp_path):
    body = sealed.encode({}, {"config": {}})  # as a checkpoint
    (tmp_path / "evaluation.h5").write_bytes(sealed.seal(body) + body)
    with pytest.raises(sealed.Damaged, match="holds no evaluation"):
        Ledger.read(tmp_path / "evaluation.h5")
