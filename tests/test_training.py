"""The epoch loop: exact resume, signals, NaN guard, batches, schedules, log and Adam."""

import copy
import dataclasses
import json
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from runs import arrays_of, assert_same_arrays, lines_of, log_of

from parmesan_cagem import checkpoint, packing, pipeline, provenance, training, training_step
from parmesan_cagem.config import experiment
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.errors import UserError
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.partition import partition
from parmesan_cagem.randomness import NamedStreams
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals, Stopped
from parmesan_cagem.training import NumericalError, Position, Trainer

ROOT = Path(__file__).resolve().parent.parent
IMAGES, STEPS = 133, 26  # 26 steps of 5, three images left out each epoch; blocks of 10, 10 and 6 steps
TINY = experiment(
    "smoke",
    labels=20,
    wide=8,
    narrow=6,
    z1_dim=3,
    z2_dim=2,
    batch_size=5,
    labelled_batch_size=7,
    epochs=3,
    warmup_epochs=2,
    train_images=IMAGES,
)


# One tiny model, compiled once


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", None)


@pytest.fixture(scope="module")
def compiled(c_engine, mnist, tmp_path_factory):
    """A trainer on 133 of 180 images that stands at step 0 of epoch 0, and its state there."""
    some = np.random.default_rng(0).permutation(60000)[:180]
    small = Dataset(
        "mnist",
        10,
        mnist.train_images[some],
        mnist.train_labels[some],
        mnist.test_images[:10],
        mnist.test_labels[:10],
        source="test",
        sha256="0" * 64,
    )
    folder = RunFolder.create(tmp_path_factory.mktemp("compiled") / "run", TINY.to_dict())
    trainer = Trainer(TINY, small, partition(small, TINY), CaGeM(TINY, 784), TheanoC(), folder, Signals(), quiet=True)
    return trainer, {name: variable.get_value() for name, variable in trainer.step.state.items()}


@pytest.fixture(scope="module", autouse=True)
def blocks_of_ten():
    """Quick as these steps are, their blocks do not grow: tests count them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BLOCK_SECONDS", 0.0)
        yield


def test_quick_blocks_grow_and_lose_no_step(new_trainer, whole, monkeypatch):
    monkeypatch.setattr(training, "BLOCK_SECONDS", 100.0)
    trainer = new_trainer(epochs=3)
    blocks = record_blocks(trainer)
    trainer.run()
    assert [len(inputs[0]) for inputs, _ in blocks] == [10, 16, 20, 6, 26]  # of 26 steps an epoch
    assert_same_arrays(arrays_of(trainer.folder.path), arrays_of(whole[0]))


@pytest.fixture
def new_trainer(compiled, tmp_path):
    """Make trainers as a new process would: the same functions, every variable spoilt or at its initial value."""
    opened = []
    with Signals() as signals:

        def make(name="run", resume=False, warnings=(), **changes):
            original, initial = compiled
            trainer = copy.copy(original)
            trainer.e = dataclasses.replace(TINY, **changes)
            trainer.position, trainer.signals = Position(), signals
            signals.received = None
            for variable, value in zip(trainer.step.state.values(), initial.values(), strict=True):
                # A resumed process has other values everywhere until it has read the checkpoint.
                variable.set_value(value + 1 if resume else value)
            path = tmp_path / name
            open_run = RunFolder.open if resume else RunFolder.create
            extra = [frozenset(("epochs", "checkpoint_every"))] if resume else []
            trainer.folder = open_run(path, trainer.e.to_dict(), *extra)
            opened.append(trainer.folder)
            if resume:
                try:
                    assert trainer.restore() == warnings
                except BaseException:
                    trainer.folder.close()
                    raise
            return trainer

        yield make
        for folder in opened:
            folder.close()


def stop(trainer):
    trainer.folder.close()
    return trainer


def on_block(trainer, action):
    """Call ``action(number of the block, its inputs, its outputs)`` after every block of steps."""
    run_block, count = trainer._run_block, iter(range(10**6))

    def run(*inputs):
        values = run_block(*inputs)
        return action(next(count), inputs, values) or values

    run.prepare, run.pull = run_block.prepare, run_block.pull
    trainer._run_block = run
    return trainer


def record_blocks(trainer):
    blocks = []
    on_block(trainer, lambda number, inputs, values: blocks.append((inputs, values)))
    return blocks


@pytest.fixture(scope="module")
def whole(compiled, tmp_path_factory):
    """Three epochs without a break: (folder, the blocks, checkpoint, log)."""
    original, initial = compiled
    trainer = copy.copy(original)
    for variable, value in zip(trainer.step.state.values(), initial.values(), strict=True):
        variable.set_value(value)
    trainer.position = Position()
    trainer.folder = RunFolder.create(tmp_path_factory.mktemp("whole") / "run", TINY.to_dict())
    blocks = record_blocks(trainer)
    with Signals() as signals:
        trainer.signals = signals
        trainer.run()
    trainer.folder.close()
    folder = trainer.folder.path
    return folder, blocks, checkpoint.load(folder), log_of(folder)


def column(blocks, index):
    """Input ``index`` of every step of all epochs."""
    return np.concatenate([inputs[index] for inputs, _ in blocks])


# Batches


def test_every_epoch_is_a_permutation_and_another_one(whole):
    epochs = column(whole[1], 0).reshape(3, STEPS, TINY.batch_size)
    orders = epochs.reshape(3, -1)
    for order in orders:
        assert len(set(order)) == STEPS * TINY.batch_size
        assert order.min() >= 0
        assert order.max() < IMAGES
    assert all((orders[i] != orders[j]).mean() > 0.9 for i, j in [(0, 1), (0, 2), (1, 2)])
    left_out = [frozenset(range(IMAGES)) - set(order) for order in orders]
    assert [len(rest) for rest in left_out] == [3, 3, 3]
    assert len(set(left_out)) == 3  # no image is left out for good


def test_labelled_batches_are_drawn_without_replacement(whole):
    batches = column(whole[1], 1)
    assert batches.shape == (3 * STEPS, TINY.labelled_batch_size)
    assert all(len(set(batch)) == len(batch) for batch in batches)
    counts = np.bincount(batches.ravel(), minlength=20)
    # 78 draws of 7 of 20: 27.3 of each on average, standard deviation 4.2.
    assert len(counts) == 20
    assert counts.min() > 10
    assert counts.max() < 45
    assert len({tuple(sorted(batch)) for batch in batches}) > 70


def test_batches_follow_from_the_seed_alone(compiled):
    def schedule(**changes):
        trainer = copy.copy(compiled[0])
        trainer.e, trainer.position = dataclasses.replace(TINY, **changes), Position(epoch=1)
        return [np.concatenate(sequences) for sequences in zip(*trainer._blocks(), strict=True)]

    first, again, other = schedule(), schedule(epochs=9), schedule(seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_fewer_labels_than_the_labelled_batch_are_all_used_in_every_step(compiled):
    trainer = copy.copy(compiled[0])
    trainer.e, trainer.position = dataclasses.replace(TINY, labelled_batch_size=100), Position()
    batches = np.concatenate([block[1] for block in trainer._blocks()])
    assert batches.shape == (STEPS, 20)
    assert (np.sort(batches, axis=1) == np.arange(20)).all()


def binary_batches(pixels, pixel_scale, calls):
    """Draws of the graph that binarises a batch: (calls, 20, 784), images of one grey value each."""
    e = experiment("smoke") if pixel_scale is None else experiment("smoke", pixel_scale=pixel_scale)
    images = np.repeat(np.array(pixels, dtype=np.uint8)[:, None], 784, axis=1)
    import theano.tensor as T

    batch, streams = T.ivector("batch"), NamedStreams(1)
    rows = np.arange(20, dtype=np.int32) % len(images)
    x = training_step._binary_batch(images, batch, e, streams, "binarise", 20)
    draw = TheanoC().steps([batch], [x], streams.updates(), "binarise")
    return draw(np.repeat(rows[None], calls, axis=0))[0].reshape(calls, -1, len(images), 784)


@pytest.mark.parametrize(("pixel_scale", "meant"), [(None, 256), (255.0, 255)])
def test_batches_are_binary_new_every_time_and_of_the_right_mean(c_engine, pixel_scale, meant):
    pixels = np.array([0, 1, 64, 128, 255])
    draws = binary_batches(pixels, pixel_scale, calls=30)
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert np.mean(draws[0, :, 3] != draws[1, :, 3]) == pytest.approx(0.5, abs=0.05)
    n, p = draws[:, :, 0].size, pixels / meant  # 94,080 draws of each grey value
    assert draws.mean(axis=(0, 1, 3)) == pytest.approx(p, abs=1e-12 + 5 * np.sqrt(0.25 / n))
    # Black is never ink; white always is at 255, and is not one time in 256 at 256.
    assert not draws[:, :, 0].any()
    expected = n * (1 - p[4])
    assert (1 - draws[:, :, 4]).sum() == pytest.approx(expected, abs=1e-12 + 5 * np.sqrt(expected))


# Schedules and log


def test_every_step_receives_its_temperature_and_learning_rate(whole):
    expected = np.minimum(1, np.arange(3 * STEPS) / (2 * STEPS)).astype(np.float32)
    assert np.array_equal(column(whole[1], 2), expected)
    rates = np.repeat([1e-3, 0.75e-3, 0.75**2 * 1e-3], STEPS).astype(np.float32)
    assert np.array_equal(column(whole[1], 3), rates)


def test_a_log_entry_has_every_field(whole):
    folder, _, _, log = whole
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert [entry["steps"] for entry in log] == [STEPS, 2 * STEPS, 3 * STEPS]
    for entry in log:
        assert set(entry) == {
            *("epoch", "steps", "temperature", "learning_rate", "objective", "F", "reconstruction", "KL_z1"),
            *("KL_z2", "KL_z2_sampled", "KL_y", "usage", "H_q", "H_p", "gradient_norm_y", "gradient_norm_rest"),
            "labelled",
        }
        assert set(entry["labelled"]) == {"F", "H_q", "H_p", "expected_log_p_y", "KL_y"}
        assert sum(entry["usage"]) == pytest.approx(1, abs=1e-5)
        assert len(entry["usage"]) == 10
        parts = entry["reconstruction"] - entry["KL_z1"] - entry["KL_z2_sampled"] - entry["KL_y"]
        assert entry["F"] == pytest.approx(parts, rel=1e-5)
        assert entry["H_q"] > 0
        assert entry["gradient_norm_rest"] > 0
    assert [entry["temperature"] for entry in log] == pytest.approx([25 / 52, 51 / 52, 1])
    assert [entry["learning_rate"] for entry in log] == pytest.approx([1e-3, 0.75e-3, 0.5625e-3])
    assert log[0]["objective"] > log[0]["F"]  # the KL-like terms count less than fully
    assert log[2]["objective"] == pytest.approx(log[2]["F"], rel=1e-6)
    assert all(entry["seconds"] > 0 for entry in lines_of(folder) if "epoch" in entry)


def test_the_log_holds_the_means_over_the_steps_of_its_epoch(whole, compiled):
    _, blocks, _, log = whole
    for i, name in enumerate(compiled[0].step.outputs):
        steps = np.concatenate([np.asarray(values[i], np.float64) for _, values in blocks])
        means = steps.reshape(3, STEPS, -1).mean(axis=1).squeeze()
        assert np.allclose([entry[name] for entry in log], means, rtol=1e-12, atol=0), name


def test_the_log_tells_the_versions_and_again_when_they_change(new_trainer, tmp_path, monkeypatch):
    versions, path = provenance.versions(), tmp_path / "run"
    stop(new_trainer(epochs=1)).run()
    stop(new_trainer(epochs=2, resume=True)).run()
    newer = {**versions, "numpy": "9.9"}
    monkeypatch.setattr(provenance, "versions", lambda: newer)
    stop(new_trainer(resume=True)).run()
    kinds = [line.get("epoch", line.get("versions")) for line in lines_of(path)]
    assert kinds == [versions, 1, 2, newer, 3]


# Adam


def test_the_adam_state_is_named_and_complete(whole, compiled):
    trainer, saved = compiled[0], whole[2].arrays
    names = {p.name for p in trainer.model.params(trainable=True)}
    assert names
    assert len(names) == len(trainer.model.params(trainable=True))
    for moment in ("m", "v"):
        assert {name.removeprefix(f"adam/{moment}/") for name in saved if name.startswith(f"adam/{moment}/")} == names
    assert {n.removeprefix("weights/") for n in saved if n.startswith("weights/")} == {
        p.name for p in trainer.model.params()
    }
    assert saved["adam/t"] == 3 * STEPS
    # What a step changes, a checkpoint holds: nothing else can matter for an exact resume.
    assert {id(variable) for variable in trainer.step.updates} <= {id(v) for v in trainer.step.state.values()}
    random = {name for name in saved if name.startswith("random/")}
    assert random == {
        *("random/binarise", "random/eps_z1", "random/eps_z2"),
        *("random/binarise_labelled", "random/eps_z1_labelled", "random/eps_z2_labelled"),
    }


def test_adam_is_the_papers(compiled, new_trainer):
    # The gradient of a step follows from m; then v, and the step itself, must be those of Kingma & Ba (2014).
    trainer = new_trainer()
    state = trainer.step.state
    inputs = [sequence[:3] for sequence in next(iter(trainer._blocks()))]
    inputs[3] = np.array([1e-3, 1e-3, 0.5e-3], np.float32)
    before = {name: variable.get_value().astype(np.float64) for name, variable in state.items()}
    moved = 0
    for t in (1, 2, 3):
        trainer._run_block(*[sequence[t - 1 : t] for sequence in inputs])
        after = {name: variable.get_value().astype(np.float64) for name, variable in state.items()}
        assert after["adam/t"] == t
        rate = float(inputs[3][t - 1]) * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for parameter in trainer.model.params(trainable=True):
            w, m, v = (f"{kind}/{parameter.name}" for kind in ("weights", "adam/m", "adam/v"))
            gradient = (after[m] - 0.9 * before[m]) / (1 - 0.9)
            scale = np.abs(gradient).max()
            expected_v = 0.999 * before[v] + 0.001 * gradient**2
            assert np.allclose(after[v], expected_v, rtol=2e-4, atol=1e-3 * 1e-4 * scale**2), v
            expected = before[w] - rate * after[m] / (np.sqrt(after[v]) + 1e-8)
            assert np.allclose(after[w], expected, rtol=1e-6, atol=2e-7), w
            moved += int((after[w] != before[w]).any())
        before = after
    assert moved > 2 * len(trainer.model.params(trainable=True))  # nearly every parameter moved in every step


# Exact resume and signals, in one process


@pytest.mark.parametrize("first", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(first, whole, new_trainer, tmp_path):
    stop(new_trainer(epochs=first)).run()
    assert log_of(tmp_path / "run") == whole[3][:first]
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]


def repack(folder, finished):
    """What a pack makes of the run in ``folder``, put in its place."""
    if finished:
        epochs = json.loads((folder / "config.json").read_text())["epochs"]
        (folder / "record.json").write_text(json.dumps({"epochs": epochs}))
    parts = packing.pack([folder], folder.parent / "pack").parts
    shutil.rmtree(folder)
    packing.unpack(parts, folder.parent)


def test_a_run_that_went_through_a_pack_is_a_rounding_away_and_keeps_saying_so(whole, new_trainer, tmp_path):
    stop(new_trainer(epochs=1)).run()
    repack(tmp_path / "run", finished=False)
    (note,) = checkpoint.load(tmp_path / "run").attributes["notes"]
    trainer = new_trainer(resume=True, warnings=(note,))
    stop(trainer).run()
    saved = checkpoint.load(tmp_path / "run")
    assert saved.attributes["notes"] == [note]  # the next process will say it too
    assert {"note": note} in lines_of(tmp_path / "run")
    assert [entry["F"] for entry in log_of(tmp_path / "run")] == pytest.approx([e["F"] for e in whole[3]], rel=1e-2)
    assert np.array_equal(saved.arrays["random/eps_z1"], whole[2].arrays["random/eps_z1"])


def test_a_finished_run_from_a_pack_can_be_restored_and_not_trained_further(new_trainer, tmp_path):
    trainer = stop(new_trainer(epochs=1))
    trainer.run()
    weights = {name: value for name, value in arrays_of(tmp_path / "run").items() if name.startswith("weights/")}
    repack(tmp_path / "run", finished=True)
    again = stop(new_trainer(resume=True, epochs=1))
    assert all(np.array_equal(again.step.state[name].get_value(), value) for name, value in weights.items())
    with pytest.raises(UserError, match=r"without Adam's moments.*give --epochs 1"):
        new_trainer(resume=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("block", "epoch", "step"),
    [
        pytest.param(0, 0, 10, id="first block"),
        pytest.param(1, 0, 20, id="before the first checkpoint"),
        pytest.param(4, 1, 20, id="mid-epoch"),
        pytest.param(5, 1, 26, id="last block of an epoch"),
        pytest.param(8, 2, 26, id="last block of all"),
    ],
)
def test_a_signal_saves_stops_and_loses_nothing(number, block, epoch, step, whole, new_trainer, tmp_path):
    def interrupt(count, *_):
        if count == block:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped) as stopped:
        on_block(stop(new_trainer()), interrupt).run()
    assert stopped.value.exit_status == 128 + number
    saved = checkpoint.load(tmp_path / "run")
    assert (saved.attributes["epoch"], saved.attributes["step"]) == (epoch, step)
    assert len(log_of(tmp_path / "run")) == epoch
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]


def test_a_run_that_died_between_checkpoints_repeats_what_it_lost(whole, new_trainer, tmp_path):
    class Died(Exception):
        pass

    def die(count, *_):
        if count == 7:  # in the third epoch; the last checkpoint is that of the first
            raise Died

    trainer = stop(new_trainer(checkpoint_every=2, epochs=3))
    trainer.e = dataclasses.replace(trainer.e, checkpoint_every=4)
    trainer.save()
    with pytest.raises(Died):
        on_block(trainer, die).run()
    assert len(log_of(tmp_path / "run")) == 2
    stop(new_trainer(resume=True)).run()
    assert_same_arrays(arrays_of(tmp_path / "run"), whole[2].arrays)
    assert log_of(tmp_path / "run") == whole[3]  # no line twice


def test_a_run_without_a_checkpoint_starts_anew(whole, new_trainer, tmp_path, compiled):
    stop(new_trainer())
    (tmp_path / "run" / "log.jsonl").write_text('{"epoch": 1}\n')
    trainer = stop(new_trainer(resume=True))
    for variable, value in zip(trainer.step.state.values(), compiled[1].values(), strict=True):
        variable.set_value(value)
    trainer.run()
    assert log_of(tmp_path / "run") == whole[3]


def test_the_seconds_of_an_epoch_include_those_before_the_signal(new_trainer, tmp_path):
    def interrupt(count, *_):
        if count == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        on_block(stop(new_trainer(epochs=1)), interrupt).run()
    path = tmp_path / "run"
    before = checkpoint.load(path).attributes["seconds"]
    stop(new_trainer(epochs=1, resume=True)).run()
    entry = lines_of(path)[-1]
    total = checkpoint.load(path).attributes["seconds"]
    assert total > before > 0
    assert entry["seconds"] == pytest.approx(total)


# Checkpoints that do not belong to the run


def saved_otherwise(folder, lacking="nothing", **facts):
    """Save the run's newest checkpoint again, with other facts and without those arrays and facts."""
    saved = checkpoint.load(folder)
    arrays = {name: array for name, array in saved.arrays.items() if not name.startswith(lacking)}
    values = {name: value for name, value in {**saved.attributes, **facts}.items() if name != lacking}
    assert lacking == "nothing" or (len(arrays), len(values)) != (len(saved.arrays), len(saved.attributes))
    checkpoint.save(folder, arrays, values)


def refusal(new_trainer):
    with pytest.raises(UserError) as error:
        new_trainer(resume=True)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("key", ["training_hash", "data_sha256", "labelled_sha256"])
def test_the_checkpoint_of_another_run_is_refused(key, new_trainer, tmp_path):
    stop(new_trainer(epochs=1)).run()
    saved_otherwise(tmp_path / "run", **{key: "1" * 64})
    line = refusal(new_trainer)
    assert f"{checkpoint.NEWEST} was made with another {key}; use another --name" in line


@pytest.mark.parametrize("kind", ["weights/", "adam/m/q_y.", "adam/t", "random/", "log/sums", "seconds", "step"])
def test_a_checkpoint_that_lacks_something_is_refused(kind, new_trainer, tmp_path):
    # Sealed and sound, but of a version of this program that had other variables.
    stop(new_trainer(epochs=1)).run()
    saved_otherwise(tmp_path / "run", lacking=kind)
    assert f"{checkpoint.NEWEST} is of another version" in refusal(new_trainer)


@pytest.mark.parametrize("name", ["weights/q_z1.mu.b", "adam/v/p_x.logits.W", "random/eps_z1", "log/sums"])
def test_an_array_of_another_shape_is_refused(name, new_trainer, tmp_path):
    stop(new_trainer(epochs=1)).run()
    saved = checkpoint.load(tmp_path / "run")
    arrays = {key: array[:-1] if key == name else array for key, array in saved.arrays.items()}
    checkpoint.save(tmp_path / "run", arrays, saved.attributes)
    assert f"{checkpoint.NEWEST} is of another version" in refusal(new_trainer)


def test_fewer_epochs_than_are_done_are_refused(new_trainer, tmp_path):
    # Otherwise a record would tell one number of epochs in its config and another beside it.
    stop(new_trainer(epochs=2)).run()
    with pytest.raises(UserError, match=r"^--epochs 1: .* 2 epochs"):
        new_trainer(epochs=1, resume=True)
    stop(new_trainer(epochs=2, resume=True)).run()  # as many are well: nothing is left to do


# NaN guard


@pytest.mark.parametrize(
    ("parameter", "value"), [("q_z1.mu.W", np.nan), ("p_x.logits.b", np.inf), ("q_y.bn1.gamma", np.nan)]
)
def test_nan_stops_the_run_and_spares_the_checkpoint(parameter, value, new_trainer, tmp_path, whole):
    path = tmp_path / "run"
    stop(new_trainer(epochs=1)).run()
    before, log = (path / checkpoint.NEWEST).read_bytes(), (path / "log.jsonl").read_bytes()

    trainer = stop(new_trainer(resume=True))
    variable = trainer.step.state[f"weights/{parameter}"]
    spoilt = variable.get_value()
    spoilt.flat[0] = value

    blocks = record_blocks(trainer)
    on_block(trainer, lambda count, *_: variable.set_value(spoilt) if count == 0 else None)
    with pytest.raises(NumericalError) as error:
        trainer.run()

    line, failure = str(error.value), path / "failure.json"
    assert "\n" not in line
    assert all(words in line for words in ("epoch 2, step 10", "not finite: ", "objective", str(failure), "intact"))
    told = json.loads(failure.read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert (told["epoch"], told["step"]) == (2, 10)
    indices = blocks[1][0][0][0]  # second block, unlabelled batch, first step
    assert told["batch"] == trainer.partition.unlabelled[indices].tolist()
    assert told["labelled_batch"] == trainer.partition.labelled[blocks[1][0][1][0]].tolist()
    assert set(told["outputs"]) == set(trainer.step.outputs)
    assert {"F", "KL_z1", "H_q", "gradient_norm_y", "gradient_norm_rest"} <= set(told["outputs"])
    assert not math.isfinite(float(told["outputs"]["objective"]))
    assert (path / checkpoint.NEWEST).read_bytes() == before
    assert (path / "log.jsonl").read_bytes() == log

    stop(new_trainer(resume=True)).run()  # and the run can go on from there
    assert_same_arrays(arrays_of(path), whole[2].arrays)


def test_a_gradient_alone_that_is_not_finite_stops_the_run(new_trainer, tmp_path):
    trainer = stop(new_trainer())
    index = list(trainer.step.outputs).index("gradient_norm_rest")

    def spoil(count, inputs, values):
        if count == 1:
            values[index][3] = np.inf
        return values

    with pytest.raises(NumericalError, match="epoch 1, step 13: not finite: gradient_norm_rest; "):
        on_block(trainer, spoil).run()
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["outputs"]["gradient_norm_rest"] == "inf"


def test_usage_that_is_not_finite_stops_the_run(new_trainer):
    trainer = stop(new_trainer())
    index = list(trainer.step.outputs).index("usage")

    def spoil(count, inputs, values):
        values[index][0, 9] = np.nan
        return values

    with pytest.raises(NumericalError, match="epoch 1, step 0: not finite: usage; "):
        on_block(trainer, spoil).run()


def test_nan_on_the_watched_images_stops_the_run(new_trainer, tmp_path):
    trainer = stop(new_trainer())
    watch = trainer._monitor

    def spoilt(images, labels, epoch):
        values = watch(images, labels, epoch)
        return {**values, "H_p": np.inf} if epoch == 1 else values

    trainer._monitor = spoilt
    with pytest.raises(NumericalError, match="epoch 2, labelled: not finite: H_p; "):
        trainer.run()
    told = json.loads((tmp_path / "run" / "failure.json").read_text(), parse_constant=pytest.fail)
    assert (told["epoch"], told["images"], told["outputs"]["H_p"]) == (2, "labelled", "inf")
    assert checkpoint.load(tmp_path / "run").attributes["epoch"] == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NumericalError("epoch 1, step 2: not finite: F"), 3),
        (FloatingPointError("evaluation: image 7"), 3),
        (Stopped(signal.SIGTERM), 143),
        (Stopped(signal.SIGINT), 130),
    ],
)
def test_exit_status(error, status, monkeypatch, capsys):
    def run(*_):
        raise error

    monkeypatch.setattr(pipeline, "run", run)
    assert pipeline.main("mnist", ["--preset", "smoke"], "run_mnist.py") == status
    assert capsys.readouterr().err == f"run_mnist.py: {error}\n"
