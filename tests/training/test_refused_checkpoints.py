"""Checkpoints that do not belong to the run are refused in one line."""

import pytest
from trainers import stop

from parmesan_cagem import checkpoint
from parmesan_cagem.errors import UserError


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
