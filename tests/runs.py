"""What a run left in its folder, for comparisons to the bit."""

import json

from parmesan_cagem import checkpoint


def arrays_of(folder):
    return checkpoint.load(folder).arrays


def assert_same_arrays(given, expected):
    assert list(given) == list(expected)
    for name in expected:
        assert (given[name].dtype, given[name].shape) == (expected[name].dtype, expected[name].shape)
        assert given[name].tobytes() == expected[name].tobytes(), name


def lines_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def log_of(folder):
    """The epochs in the log, without their times."""
    entries = [line for line in lines_of(folder) if "epoch" in line]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
