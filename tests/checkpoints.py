"""Checkpoints to test with: numbered states, saved and looked at."""

import numpy as np

from parmesan_cagem import checkpoint


def state(number, size=40):
    rng = np.random.default_rng(number)
    return {
        "weights/q_z1.dense1.W": rng.standard_normal((size, 3)).astype("f4"),
        "adam/m/q_z1.dense1.W": rng.standard_normal((size, 3)).astype("f4"),
        "adam/t": np.array(number, "i8"),
    }


def save(folder, number):
    return checkpoint.save(folder, state(number), {"step": number})


def step(folder):
    """The number that was saved, after a look at the arrays that came with it."""
    loaded = checkpoint.load(folder)
    number = loaded.attributes["step"]
    assert_equal(loaded.arrays, state(number))
    return number


def assert_equal(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
        assert array.tobytes() == expected[name].tobytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)
