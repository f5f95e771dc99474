"""Checkpoints come back exactly, survive any crash, and no damage to them goes unnoticed."""

import contextlib
import errno
import fcntl
import io
import itertools
import json
import os
import random
import resource
import signal
import stat
import time

import h5py
import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from parmesan_cagem import checkpoint, files
from parmesan_cagem.checkpoint import NEWEST, PREVIOUS, CheckpointError
from parmesan_cagem.errors import UserError

DTYPES = ["?", "i1", "<i4", ">i8", "u1", ">u2", "<u8", "<f2", "<f4", ">f4", "<f8", ">f8", "<c8", "<c16"]
PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=6).filter(
    lambda part: part.isprintable() and part not in (".", "..")
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
ARRAYS = npst.arrays(
    dtype=st.sampled_from(DTYPES).map(np.dtype),
    shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
# What can fail or be cut short while a checkpoint is written. `open` and `close` cannot be left half done.
OPERATIONS = ["open", "write", "fsync", "link", "replace", "unlink"]


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


def failure_of(action):
    """The message of the CheckpointError that ``action`` raises, or None."""
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return None


def in_child(action):
    """Run ``action`` in a forked process, which ends without any cleaning up; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            action()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- round trip


def unclashing(arrays):
    """No name may be both an array and a group."""
    groups = {"/".join(name.split("/")[:n]) for name in arrays for n in range(1, name.count("/") + 1)}
    return "attributes_json" not in groups | set(arrays) and not groups & set(arrays)


@settings(max_examples=60, deadline=None)
@given(
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=4).filter(unclashing),
    attributes=st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
)
def test_round_trip_is_exact(tmp_path_factory, arrays, attributes):
    folder = tmp_path_factory.mktemp("run")
    path = checkpoint.save(folder, arrays, attributes)
    loaded = checkpoint.load(folder)
    assert_equal(loaded.arrays, arrays)
    assert repr(loaded.attributes) == repr(attributes)  # repr tells -0.0 from 0.0 and finds NaN equal to NaN
    assert (loaded.path, loaded.warnings) == (path, ())


def test_non_contiguous_arrays_are_saved_by_value(tmp_path):
    arrays = {"transposed": np.arange(6.0).reshape(2, 3).T, "strided": np.arange(9)[::2]}
    checkpoint.save(tmp_path, arrays, {})
    assert_equal(checkpoint.load(tmp_path).arrays, {k: np.ascontiguousarray(v) for k, v in arrays.items()})


def test_attributes_beyond_the_64_kib_of_hdf5_attributes(tmp_path):
    attributes = {"position": list(range(50_000)), "rng": {"state": 2**127 + 1}}
    checkpoint.save(tmp_path, {}, attributes)
    assert checkpoint.load(tmp_path).attributes == attributes


def test_file_is_plain_hdf5_with_a_sum_per_dataset(tmp_path):
    with h5py.File(save(tmp_path, 3)) as file:
        weights = file["weights/q_z1.dense1.W"]
        assert weights.attrs["sha256"] == checkpoint.digest(weights.name[1:], weights[()]).encode()
        assert np.array_equal(weights[()], state(3)["weights/q_z1.dense1.W"])
        assert file.attrs["format_version"] == checkpoint.FORMAT


def test_same_content_same_bytes(tmp_path):
    assert save(tmp_path / "a", 1).read_bytes() == save(tmp_path / "b", 1).read_bytes()


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("a//b", np.zeros(1), ValueError),
        ("/a", np.zeros(1), ValueError),
        ("a/../b", np.zeros(1), ValueError),
        ("", np.zeros(1), ValueError),
        ("a\0b", np.zeros(1), ValueError),
        ("attributes_json", np.zeros(1), ValueError),
        ("weights", np.zeros(1), ValueError),
        ("text", np.array(["a"]), TypeError),
        ("objects", np.array([None]), TypeError),
        ("longdouble", np.zeros(1, np.longdouble), TypeError),
        ("structured", np.zeros(1, [("a", "f4")]), TypeError),
    ],
)
def test_what_the_format_does_not_hold_is_refused_before_anything_is_written(tmp_path, name, array, error):
    with pytest.raises(error, match=r"not a name for an array, or taken|holds no arrays of dtype"):
        checkpoint.save(tmp_path, {"weights/W": np.zeros(2), name: array}, {})
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, {}, {"x": object()})
    assert names(tmp_path) == []


# ---- two files


def test_two_newest_are_kept(tmp_path):
    for number in range(4):
        save(tmp_path / "run", number)
    assert names(tmp_path / "run") == [NEWEST, PREVIOUS]
    assert step(tmp_path / "run") == 3
    (tmp_path / "run" / NEWEST).unlink()
    assert step(tmp_path / "run") == 2


def test_exists(tmp_path):
    assert not checkpoint.exists(tmp_path / "nowhere")
    assert not checkpoint.exists(tmp_path)
    save(tmp_path, 1)
    assert checkpoint.exists(tmp_path)
    os.rename(tmp_path / NEWEST, tmp_path / PREVIOUS)
    assert checkpoint.exists(tmp_path)


def damage(path, how):
    data = path.read_bytes()
    path.unlink()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(random.Random(1).randbytes(len(data)))
    elif how == "other HDF5":
        with h5py.File(path, "w") as file:
            file["weights"] = np.zeros(3)
    elif how == "cut short":
        path.write_bytes(data[:-1])
    elif how == "too long":
        path.write_bytes(data + b"\0")
    elif how == "bit flipped":
        path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif how == "newer format":
        path.write_bytes(data.replace(b"format 1\n", b"format 2\n", 1))
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "dangling link":
        path.symlink_to("nowhere")
    else:
        assert how == "missing"


DAMAGES = {
    "empty": "is not a checkpoint",
    "garbage": "is not a checkpoint",
    "other HDF5": "is not a checkpoint",
    "cut short": "bytes after its seal",
    "too long": "bytes after its seal",
    "bit flipped": "SHA-256",
    "newer format": "format version '2', this program reads version 1",
    "folder": "is not a file",
    "pipe": "is not a file",
    "dangling link": "is missing",
    "missing": "is missing",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_previous_is_used_and_the_damaged_one_named(tmp_path, how):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / NEWEST, how)
    loaded = checkpoint.load(tmp_path)
    assert loaded.attributes["step"] == 1
    assert loaded.path == tmp_path / PREVIOUS
    (warning,) = loaded.warnings
    assert f"{NEWEST} {DAMAGES[how]}" in warning or DAMAGES[how] in warning
    assert NEWEST in warning
    assert f"using {PREVIOUS}" in warning


@pytest.mark.parametrize("how", [how for how in DAMAGES if how not in ("folder", "missing")])
def test_a_damaged_file_never_replaces_the_sound_previous_one(tmp_path, how):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / NEWEST, how)
    save(tmp_path, 3)
    assert step(tmp_path) == 3
    (tmp_path / NEWEST).unlink()
    assert step(tmp_path) == 1


def test_both_damaged_is_one_line_with_both_names_reasons_and_the_fix(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / NEWEST, "bit flipped")
    damage(tmp_path / PREVIOUS, "cut short")
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(tmp_path)
    message = one_line(error)
    assert f"{NEWEST} is damaged: its SHA-256" in message
    assert f"{PREVIOUS} has " in message
    assert "train again under another --name" in message
    assert isinstance(error.value, UserError)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*omit --resume") as error:
        checkpoint.load(tmp_path)
    one_line(error)


# ---- damage


def test_every_truncation_is_detected(tmp_path):
    path = save(tmp_path, 1)
    data = path.read_bytes()
    for length in sorted({*range(0, 1200, 13), *range(0, len(data), 251), len(data) - 1}):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path)


def test_every_bit_flip_is_detected(tmp_path):
    path = save(tmp_path, 1)
    data = bytearray(path.read_bytes())
    rng = random.Random(0)
    for offset in [*range(0, 700), *range(700, len(data), 17)]:
        bit = 1 << rng.randrange(8)
        data[offset] ^= bit
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path)
        data[offset] ^= bit
    path.write_bytes(data)
    assert step(tmp_path) == 1


def sealed(folder, change, extra=()):
    """Write a checkpoint whose content ``change`` tampers with, under a seal that holds."""
    buffer = io.BytesIO(checkpoint._encode(state(1), {"step": 1}))
    with h5py.File(buffer, "r+") as file:
        change(file)
        if extra:
            del file["attributes_json"]
            text = json.dumps({"arrays": [*state(1), *extra], "attributes": {"step": 1}})
            checkpoint._put(file, "attributes_json", np.asarray(text.encode()))
    (folder / NEWEST).write_bytes(checkpoint._seal(buffer.getvalue()) + buffer.getvalue())


def tamper_value(file):
    file["weights/q_z1.dense1.W"][0, 0] += 1


def tamper_attributes(file):
    file["attributes_json"][()] = file["attributes_json"][()].replace(b'"step": 1', b'"step": 2')


def swap_arrays(file):
    file.move("weights/q_z1.dense1.W", "spare")
    file.move("adam/m/q_z1.dense1.W", "weights/q_z1.dense1.W")
    file.move("spare", "adam/m/q_z1.dense1.W")


def drop_array(file):
    del file["adam/t"]


def drop_sum(file):
    del file["adam/t"].attrs["sha256"]


def huge_sum(file):
    file["adam/t"].attrs["sha256"] = np.zeros(5000)


def external_link(file):
    file["evil"] = h5py.ExternalLink("other.h5", "/secret")


def external_group(file):
    del file["weights"]
    file["weights"] = h5py.ExternalLink("other.h5", "/weights")


def soft_link(file):
    file["evil"] = h5py.SoftLink("/adam/t")


def external_storage(file):
    file.create_dataset("evil", shape=(4,), dtype="u1", external=[("secret.bin", 0, 4)])


def virtual_dataset(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(3,))
    file.create_virtual_dataset("evil", layout)


def reference(file):
    file.create_dataset("evil", data=file["adam/t"].ref, dtype=h5py.ref_dtype)


def variable_length(file):
    file["evil"] = "text"


def other_dtype(file):
    file["evil"] = np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")])


def bomb(file):
    file.create_dataset("evil", shape=(1 << 34,), dtype="u1", chunks=(1 << 20,), compression="gzip")


def huge(file):
    file.create_dataset("evil", shape=(1 << 50,), dtype="f8")


def overflowing(file):
    file.create_dataset("evil", shape=(1 << 31, 1 << 29), dtype="f8")


def repeated(file):
    """Listed often enough, arrays that each fit in the file fill the memory together."""


def cycle(file):
    file["adam/adam"] = file["adam"]


TAMPERINGS = {
    tamper_value: ((), "'weights/q_z1.dense1.W': its SHA-256 is wrong"),
    tamper_attributes: ((), "'attributes_json': its SHA-256 is wrong"),
    swap_arrays: ((), "its SHA-256 is wrong"),
    drop_array: ((), "no data of its own for 'adam/t'"),
    drop_sum: ((), "is not in order inside"),
    huge_sum: ((), "its SHA-256 is wrong"),
    external_link: (("evil",), "no data of its own for 'evil' (absent, or a link)"),
    external_group: ((), "no data of its own for 'weights/q_z1.dense1.W'"),
    soft_link: (("evil",), "no data of its own for 'evil' (absent, or a link)"),
    external_storage: (("evil",), "'evil' in a form that is not read here"),
    virtual_dataset: (("evil",), "'evil' in a form that is not read here"),
    reference: (("evil",), "'evil' in a form that is not read here"),
    variable_length: (("evil",), "'evil' in a form that is not read here"),
    other_dtype: (("evil",), "'evil' in a form that is not read here"),
    bomb: (("evil",), "'evil' in a form that is not read here"),
    huge: (("evil",), "'evil' is larger than the file"),
    overflowing: (("evil",), "'evil' is larger than the file"),
    repeated: (["weights/q_z1.dense1.W"] * 300, "is larger than the file"),
    cycle: (("adam/adam/adam",), "is not in order inside"),
}


@pytest.mark.parametrize("change", TAMPERINGS, ids=lambda change: change.__name__)
def test_tampering_under_a_valid_seal_is_refused(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)  # where HDF5 would look for other.h5 and secret.bin
    (tmp_path / "secret.bin").write_bytes(b"abcd")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros(3)
        other["weights/q_z1.dense1.W"] = state(1)["weights/q_z1.dense1.W"]
    extra, reason = TAMPERINGS[change]
    sealed(tmp_path, lambda file: None)
    assert step(tmp_path) == 1  # the helper itself tampers with nothing
    sealed(tmp_path, change, extra)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(tmp_path)
    assert reason in one_line(error)


@pytest.mark.parametrize("name", ["../weights", ".", "", "adam//t", "/adam/t", 3, None])
def test_strange_names_in_the_list_are_refused(tmp_path, name):
    sealed(tmp_path, lambda file: None, [name])
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path)


# ---- crashes and failures


def count_operations(monkeypatch, at):
    """Call ``at(number, name, call)`` in place of each file operation, numbered from 0."""
    counter = itertools.count()
    for name in OPERATIONS:
        real = getattr(os, name)

        def counted(*arguments, name=name, real=real, **options):
            return at(next(counter), name, lambda *new: real(*(new or arguments), **options), arguments)

        monkeypatch.setattr(os, name, counted)


def test_the_new_file_is_durable_before_the_oldest_goes(tmp_path, monkeypatch):
    save(tmp_path, 0)
    save(tmp_path, 1)
    calls = []

    def noted(number, name, call, arguments):
        folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
        calls.append("fsync folder" if folder else name)
        return call()

    count_operations(monkeypatch, noted)
    save(tmp_path, 2)
    order = [call for call in calls if call not in ("open", "unlink")]
    assert order == ["write", "write", "fsync", "link", "replace", "fsync folder", "replace"]


def test_a_crash_between_any_two_file_operations_leaves_a_sound_checkpoint(tmp_path, monkeypatch):
    outcomes = set()
    for fatal in range(100):
        folder = tmp_path / str(fatal)
        save(folder, 0)
        save(folder, 1)

        def crash(number, name, call, arguments, fatal=fatal):
            if number == fatal:
                if name == "write":  # half of it reached the file
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(9)
            return call()

        def doomed(folder=folder, crash=crash):
            count_operations(monkeypatch, crash)
            save(folder, 2)

        status = in_child(doomed)
        newest = step(folder)
        outcomes.add(newest)
        assert checkpoint.load(folder).warnings == ()
        assert newest == 2 if status == 0 else newest in (1, 2)
        (folder / NEWEST).rename(folder / "kept")
        assert step(folder) in (0, 1)  # and so is the previous one
        (folder / "kept").rename(folder / NEWEST)
        save(folder, 3)
        assert step(folder) == 3
        assert names(folder) == [NEWEST, PREVIOUS]  # what the dead writer left is swept
        if status == 0:
            break
    assert status == 0
    assert fatal >= 8  # the operations were indeed counted
    assert outcomes == {1, 2}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("begun", ["fresh", "with two before"])
def test_a_failing_operation_leaves_the_old_state(tmp_path, monkeypatch, code, begun):
    failures = []
    for failing in range(100):
        folder = tmp_path / str(failing)
        folder.mkdir()
        if begun != "fresh":
            save(folder, 0)
            save(folder, 1)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        reached = []

        def fail(number, name, call, arguments, failing=failing, reached=reached):
            if number == failing:
                reached.append(name)
                raise OSError(code, os.strerror(code), "x")
            return call()

        with monkeypatch.context() as patch:
            count_operations(patch, fail)
            message = failure_of(lambda folder=folder: save(folder, 2))
        if not reached:
            break
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert not [name for name in after if name.endswith(".tmp")]
        if message is None:
            assert step(folder) == 2
            continue
        failures.append(reached[0])
        assert message.startswith(f"{folder / NEWEST}: cannot save the checkpoint: {os.strerror(code)}; ")
        assert "\n" not in message
        # A first save that fails after its rename may stay: there is no older state to put back.
        assert after == before or (begun == "fresh" and step(folder) == 2)
    assert set(failures) == {"open", "write", "fsync", "replace"}


def test_without_hard_links_the_old_file_is_copied(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in range(3):
        save(tmp_path, number)
    assert names(tmp_path) == [NEWEST, PREVIOUS]
    assert step(tmp_path) == 2
    (tmp_path / NEWEST).unlink()
    assert step(tmp_path) == 1


def test_file_size_limit_of_the_system(tmp_path):
    save(tmp_path, 1)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(CheckpointError, match="File too large"):
            save(tmp_path, 2)

    assert in_child(limited) == 0
    assert step(tmp_path) == 1
    assert names(tmp_path) == [NEWEST]


def test_parent_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Not a directory|File exists"):
        save(tmp_path / "file" / "run", 1)


def test_h5py_failing_while_encoding_changes_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def broken(*arguments, **options):
        raise OSError("Unable to synchronously create file")

    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", broken)
        with pytest.raises(CheckpointError, match="Unable to synchronously create file"):
            save(tmp_path, 2)
    assert step(tmp_path) == 1


def test_interrupt_while_writing_removes_the_temporary_file(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert names(tmp_path) == [NEWEST]
    assert step(tmp_path) == 1


def test_strays_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    dead = [tmp_path / f".{NEWEST}.0123.tmp", tmp_path / f".{PREVIOUS}.4567.tmp"]
    for stray in dead:
        stray.write_bytes(b"half a checkpo")
    other = tmp_path / ".other.tmp"
    other.write_bytes(b"not ours")
    with files.temporary(tmp_path / NEWEST) as (_, living):
        save(tmp_path, 1)
        assert set(tmp_path.iterdir()) == {tmp_path / NEWEST, living, other}


def test_a_writer_swept_before_it_locked_its_file_takes_another(tmp_path, monkeypatch):
    real, swept = fcntl.flock, []

    def late(descriptor, operation):
        if not swept:
            swept.extend(tmp_path.glob(".*.tmp"))
            swept[0].unlink()
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    save(tmp_path, 1)
    assert len(swept) == 1
    assert step(tmp_path) == 1


def test_kill_9_at_any_time(tmp_path):
    rng = random.Random(0)
    begin = 0
    for _ in range(10):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                for number in itertools.count(begin + 1):
                    checkpoint.save(tmp_path, state(number, size=5000), {"step": number})
                    os.write(writer, b".")
            os._exit(1)
        os.close(writer)
        os.read(reader, 1)  # at least one is there
        time.sleep(rng.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        acknowledged = begin + 1 + len(os.read(reader, 1 << 16))
        os.close(reader)
        loaded = checkpoint.load(tmp_path)
        assert loaded.warnings == ()
        assert_equal(loaded.arrays, state(loaded.attributes["step"], size=5000))
        assert loaded.attributes["step"] in (acknowledged, acknowledged + 1)
        begin = loaded.attributes["step"]
    save(tmp_path, begin + 1)
    assert names(tmp_path) == [NEWEST, PREVIOUS]


def test_new_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save(tmp_path, 1)
    finally:
        os.umask(before)
    assert (tmp_path / NEWEST).stat().st_mode & 0o777 == 0o640
