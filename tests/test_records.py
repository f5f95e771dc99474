"""Run records say only what the schema knows, and files are written whole or not at all."""

import copy
import errno
import json
import os

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_example import WITHOUT_Y, example

from parmesan_cagem import files, records
from parmesan_cagem.errors import UserError


@pytest.fixture
def record():
    """A record as a run with 100 labels writes it."""
    return example()


def put(record, path, value):
    """Set (or, with ``DELETE``, remove) the dotted ``path``."""
    *parents, leaf = path.split(".")
    for parent in parents:
        record = record[parent]
    if value is DELETE:
        del record[leaf]
    else:
        record[leaf] = value


DELETE = object()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- schema


def test_the_schema_is_itself_valid():
    jsonschema.Draft202012Validator.check_schema(records.schema())


DESCRIBED = tuple(f"#/$defs/{name}" for name in ("bound", "versions", "git"))


OPTIONAL = {".bounds": {"F_1_marginal"}, ".confusion": {"p"}}  # of the sampled estimator; of a model without p(y|.)


def test_every_key_is_described_and_required():
    def walk(node, path):
        properties, patterns = node.get("properties", {}), node.get("patternProperties", {})
        if (properties or patterns) and "object" in node.get("type", ()):
            assert node["additionalProperties"] is False, path
            optional = set(properties) - set(node["required"])
            assert optional == OPTIONAL.get(path, set()), path
            for key, child in {**properties, **patterns}.items():
                assert "description" in child or child.get("$ref") in DESCRIBED, f"{path}.{key}"
                walk(child, f"{path}.{key}")

    walk(records.schema(), "")


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("bounds", "nats"),
        ("terms", "nats"),
        ("test", "nats"),
        ("error_q", "percent"),
        ("error_p", "percent"),
        ("train_seconds", "seconds"),
        ("peak_memory_bytes", "bytes"),
    ],
)
def test_descriptions_carry_the_unit(key, unit):
    assert unit in records.schema()["properties"][key]["description"]


def test_a_good_record_passes(record):
    before = copy.deepcopy(record)
    records.validate(record)
    assert record == before


@pytest.mark.parametrize(
    "changes",
    [
        {"bounds.F_20": {"mean": -1, "standard_error": 0, "by_seed": [-1, -1]}},
        {"eval.estimator": "sampled", "bounds.F_1_marginal": DELETE, "terms": None},
        {"bounds.F_10.standard_error": None},  # of a single image
        {
            "dataset.labelled": 0,
            "error_q": None,
            "error_p": None,
            "label_seed": None,
            "label_indices_sha256": None,
            "label_weight": {"q": None, "p": None, "given": "10", "given_p": "same"},
            "test": {"H_q": None, "H_p": None, "expected_log_p_y": None},
        },
        {"git": {"commit": None, "dirty": None}},
        {"dataset.pixel_scale": None},
        {"cluster_usage": [0.25] * 4},
        {"cluster_usage": []},
        {"terms.KL_z1": -0.5},  # a single draw can be negative
        {"started": "2026-11-23T04:31:00.123456Z"},
        {"error_q": np.float32(5.5), "steps": np.int64(3)},
        {"cluster_usage": tuple([0.1] * 10)},
        {"warnings": ["checkpoint.h5 was damaged"]},
        WITHOUT_Y,
        {
            **WITHOUT_Y,
            "terms": {"reconstruction": -72.25, "KL_z1": 18.0, "KL_z1_sampled": 17.5},
            "active_units": {"z1": 9},
        },
        {**WITHOUT_Y, "model": "lvae", "active_units": {f"z{level}": 2 for level in range(1, 6)}},
        {
            "model": "adgm",
            "terms": {"reconstruction": -72.0, "KL_a": 1.0, "KL_z1": 5.0, "KL_z1_sampled": 5.5, "KL_y": 1.75},
            "active_units": {"a": 3, "z1": 9},
            "error_p": None,
            "confusion": {"q": example()["confusion"]["q"]},
        },
    ],
    ids=lambda changes: ",".join(changes) if "model" not in changes else changes["model"],
)
def test_other_good_records_pass(record, changes):
    for path, value in changes.items():
        put(record, path, value)
    records.validate(record)


BAD = [
    ("schema_version", 1, "schema_version: 2 was expected"),
    ("name", "", "name: "),
    ("seed", DELETE, "top level: 'seed' is a required property"),
    ("seed", -1, "seed: -1 is less"),
    ("seed", 1.5, "seed: 1.5 is not of type 'integer'"),
    ("seed", True, "seed: True is not of type 'integer'"),
    ("surprise", 1, "top level: Additional properties are not allowed ('surprise' was unexpected)"),
    ("dataset.sha256", "abc", "dataset.sha256: 'abc' does not match"),
    ("eval.error_images", 0, "eval.error_images: 0 is less"),
    ("dataset.colour", "red", "dataset: Additional properties"),
    ("config", {}, "config: "),
    ("versions", {"python": 3}, "versions.python: 3 is not of type 'string'"),
    ("eval.estimator", "both", "eval.estimator: 'both' is not one of"),
    ("eval.bn_mode", "batch", "eval.bn_mode: "),
    ("eval.k", 0, "eval.k: 0 is less"),
    ("eval.k", 50, "bounds: F_50 is missing, although eval.k says 50"),
    ("bounds.F_1", DELETE, "bounds: 'F_1' is a required property"),
    ("bounds.F_0", {"mean": 1, "standard_error": 0}, "bounds: 'F_0' does not match"),
    ("bounds.F_10", {"mean": 1, "by_seed": [1]}, "bounds.F_10: 'standard_error' is a required property"),
    ("bounds.F_10", {"mean": 1, "standard_error": -1, "by_seed": [1]}, "bounds.F_10.standard_error: -1 is less"),
    ("bounds.F_1_marginal", DELETE, "bounds: 'F_1_marginal' is a required property"),
    ("eval.estimator", "sampled", "bounds: "),
    ("error_q", 101, "error_q: 101 is greater"),
    ("error_p", "5 %", "error_p: '5 %' is not of type"),
    ("dataset.labelled", 0, "error_p: 22.0 is not of type 'null'"),
    ("terms.KL_y", None, "terms.KL_y: None is not of type 'number'"),
    ("terms.KL_y", DELETE, "terms: 'KL_y' is a required property"),
    ("terms.KL_z2_sampled", DELETE, "terms: 'KL_z2_sampled' is a required property"),
    ("terms.KL_z1", DELETE, "terms: 'KL_z1' is a required property"),
    ("terms.KL_y_sampled", 1.5, "terms: 'KL_y_sampled' does not match"),
    ("terms.KL_z0", 1.5, "terms: 'KL_z0' does not match"),
    ("terms.F", 1.5, "terms: 'F' does not match"),
    ("active_units.z1", 3.5, "active_units.z1: 3.5"),
    ("active_units.z2", DELETE, "active_units: 'z2' is a required property"),
    ("active_units.y", 3, "active_units: 'y' does not match"),
    ("confusion.p", DELETE, "confusion: 'p' is a required property"),
    ("confusion.q", DELETE, "confusion: 'q' is a required property"),
    ("cluster_usage", [0.1] * 9, "cluster_usage: sums to 0.9"),
    ("cluster_usage", [1.5, -0.5], "cluster_usage[0]: 1.5 is greater"),
    ("started", "yesterday", "started: 'yesterday' does not match"),
    ("started", "2026-11-23T04:31:00", "started: "),  # which time zone?
    ("git.commit", "main", "git.commit: 'main' does not match"),
    ("warnings", [3], "warnings[0]: 3 is not of type 'string'"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=[f"{b[0]}-{n}" for n, b in enumerate(BAD)])
def test_a_bad_record_is_refused_by_key_in_one_line(tmp_path, record, path, value, message):
    put(record, path, value)
    with pytest.raises(UserError) as error:
        records.validate(record)
    assert f"run record: {message}" in one_line(error)
    with pytest.raises(UserError):
        records.write(tmp_path / "record.json", record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")])
@pytest.mark.parametrize(
    "path", ["bounds.F_10.mean", "terms.KL_z2", "error_q", "config.learning_rate", "train_seconds"]
)
def test_no_number_is_nan_or_infinite(tmp_path, record, path, value):
    put(record, path, value)
    with pytest.raises(UserError, match=rf"record.json: {path}: .*finite"):
        records.write(tmp_path / "record.json", record)
    assert list(tmp_path.iterdir()) == []


def test_a_long_message_is_cut(record):
    record["dataset"] = ["x" * 5000]
    with pytest.raises(UserError) as error:
        records.validate(record)
    assert len(one_line(error)) < 400


# ---- write and read


def test_round_trip(tmp_path, record):
    record["train_seconds"] = 0.1 + 0.2
    records.write(tmp_path / "record.json", record)
    assert records.read(tmp_path / "record.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_the_file_has_sorted_keys_and_two_blanks(tmp_path, record):
    records.write(tmp_path / "record.json", record)
    text = (tmp_path / "record.json").read_text()
    assert text == json.dumps(record, indent=2, sort_keys=True) + "\n"


def test_numpy_numbers_become_plain_ones(tmp_path, record):
    record["error_q"] = np.float32(0.1)
    records.write(tmp_path / "record.json", record)
    assert records.read(tmp_path / "record.json")["error_q"] == float(np.float32(0.1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read: No such file or directory"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"[]", "not an object"),
        (b"3", "not an object"),
        (b"{}", "is a required property"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=["missing", "empty", "torn", "bytes", "list", "number", "object", "deep"],
)
def test_reading_what_is_no_record_is_one_line(tmp_path, content, message):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        records.read(path)
    assert str(path) in one_line(error)
    assert message in one_line(error)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_reading_refuses_numbers_that_only_python_knows(tmp_path, record, number):
    text = json.dumps(record).replace("22.0", number)
    assert number in text
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=r"error_p: (nan|inf) is not a finite number"):
        records.read(tmp_path / "record.json")


# ---- files


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_round_trip_through_json(number):
    assert repr(json.loads(files.to_json(number))) == repr(number)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("operation", ["open", "write", "fsync", "replace"])
def test_a_failing_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, monkeypatch, operation, code):
    path = tmp_path / "record.json"
    path.write_bytes(b"old")

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(UserError) as error:
            files.write_atomically(path, b"new")
    assert one_line(error).startswith(f"{path}: cannot write: {os.strerror(code)}; ")
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    files.write_atomically(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_the_order_is_write_sync_rename_sync_folder(tmp_path, monkeypatch):
    calls = []
    for name in ("write", "fsync", "replace"):
        real = getattr(os, name)

        def noted(*arguments, name=name, real=real):
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noted)
    files.write_atomically(tmp_path / "file", b"data")
    assert calls == ["write", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_synced_are_forgiven(tmp_path, monkeypatch, code):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    files.sync_folder(tmp_path)


def test_what_is_not_jsonable_is_named():
    with pytest.raises(TypeError, match="set is not JSON-able"):
        files.to_json({"a": {1}})
