"""No damage to a checkpoint goes unnoticed, and the previous one stands in for it."""

import io
import json
import os
import random

import h5py
import numpy as np
import pytest
from checkpoints import one_line, save, state, step

from parmesan_cagem import checkpoint, sealed
from parmesan_cagem.checkpoint import NEWEST, PREVIOUS, CheckpointError
from parmesan_cagem.errors import UserError

# ---- two files


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
    left = (tmp_path / PREVIOUS).stat().st_size - 512
    assert message == (
        f"{tmp_path}: no usable checkpoint: checkpoint.h5 is damaged: its SHA-256 is not the one it was sealed with; "
        f"checkpoint.previous.h5 has {left} bytes after its seal, which says '{left + 1}'; "
        f"restore one of them from a copy, or train again under another --name"
    )
    assert isinstance(error.value, UserError)


@pytest.fixture
def failing_disk(monkeypatch):
    """Names put here cannot be read, whatever they hold."""
    bad, whole = set(), sealed.read

    def read(path):
        if path.name in bad:
            raise sealed.Unreadable("cannot be read: Input/output error")
        return whole(path)

    monkeypatch.setattr(sealed, "read", read)
    return bad


def test_a_newest_one_that_cannot_be_read_now_is_not_passed_over(tmp_path, failing_disk):
    """It may be whole: an evaluation would be of older weights, and a run that goes on would write over it."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    failing_disk.add(NEWEST)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(tmp_path)
    assert one_line(error) == (
        f"{tmp_path / NEWEST} cannot be read: Input/output error; make it readable, or move it away to use "
        f"checkpoint.previous.h5, the save before"
    )
    failing_disk.clear()
    assert step(tmp_path) == 2
    (tmp_path / NEWEST).unlink()
    failing_disk.add(PREVIOUS)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint: .* is missing; .* cannot be read"):
        checkpoint.load(tmp_path)


def test_a_run_saves_itself_also_where_the_last_save_cannot_be_read(tmp_path, failing_disk):
    save(tmp_path, 1)
    save(tmp_path, 2)
    failing_disk.add(NEWEST)
    save(tmp_path, 3)
    failing_disk.clear()
    assert step(tmp_path) == 3
    (tmp_path / NEWEST).unlink()
    assert step(tmp_path) == 1


# ---- any damage


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


# ---- tampering under a valid seal


def tampered(folder, change, extra=()):
    """Write a checkpoint whose content ``change`` tampers with, under a seal that holds."""
    buffer = io.BytesIO(sealed.encode(state(1), {"step": 1}))
    with h5py.File(buffer, "r+") as file:
        change(file)
        if extra:
            del file["attributes_json"]
            text = json.dumps({"arrays": [*state(1), *extra], "attributes": {"step": 1}})
            sealed._put(file, "attributes_json", np.asarray(text.encode()))
    (folder / NEWEST).write_bytes(sealed.seal(buffer.getvalue()) + buffer.getvalue())


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
    tampered(tmp_path, lambda file: None)
    assert step(tmp_path) == 1  # the helper itself tampers with nothing
    tampered(tmp_path, change, extra)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(tmp_path)
    assert reason in one_line(error)


@pytest.mark.parametrize("name", ["../weights", ".", "", "adam//t", "/adam/t", 3, None])
def test_strange_names_in_the_list_are_refused(tmp_path, name):
    tampered(tmp_path, lambda file: None, [name])
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path)
