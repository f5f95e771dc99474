"""``cagem tables``: the files that it writes, the same bytes each time, and what it refuses."""

import json
import os
import re
import shutil

import pytest
from fake_runs import record, write
from made_tables import MADE, build

from parmesan_cagem import cli
from parmesan_cagem.report import paper
from parmesan_cagem.report import runs as report_runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder whose results/runs hold MADE."""
    write(tmp_path / "results" / "runs", *MADE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_it_writes_every_table_in_every_format(folder, capsys):
    assert cli.main(["tables"]) == 0
    names = {f"{name}.{kind}" for name in build() for kind in ("csv", "tex")}
    assert outputs(folder / "results").keys() == {*names, "TABLES.md"}
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 10 records fill no cell: z2"


def test_the_same_records_give_the_same_bytes_wherever_and_in_whatever_order(folder):
    assert cli.main(["tables", "--out", "one"]) == 0
    moved = folder / "elsewhere"
    for number, path in enumerate(sorted((folder / "results" / "runs").iterdir(), reverse=True)):
        shutil.move(path, moved / str(number) / path.name)
    os.rename(folder / "results", folder / "gone")
    assert cli.main(["tables", "--out", "two", "--records", "elsewhere"]) == 0
    files = [str(path) for path in moved.glob("**/record.json")][::-1]
    assert cli.main(["tables", "--out", "three", "--records", *files]) == 0
    one = outputs(folder / "one")
    assert len(one) == 11
    assert one == outputs(folder / "two") == outputs(folder / "three")
    assert not any(str(folder).encode() in content for content in one.values())


def test_no_time_of_day_stands_in_the_output(folder):
    assert cli.main(["tables"]) == 0
    text = b"".join(outputs(folder / "results").values()).decode()
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("git.commit", None, "git.commit: null"),
        ("eval.git.commit", None, "eval.git.commit: null"),
        ("seed", -1, "seed: -1 is less"),
        ("versions", {}, "versions: "),
        ("device", "", "device: "),
        ("label_seed", "one", "label_seed: "),
        ("schema_version", 1, "schema_version: 2 was expected"),
        ("model", "vae", "model: vae, but config.model is cagem"),
        ("dataset.labelled", 20, "dataset.labelled: 20, but config.labels is 100"),
        ("dataset.pixel_scale", 255.0, "dataset.pixel_scale: 255.0, but config.pixel_scale is 256.0"),
        ("config.warmup_epochs", "ten", "config.warmup_epochs: 'ten' is no int"),
        ("config.skip", 1, "config.skip: 1 is no bool"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--check"], ["--mixed"]], ids=["write", "check", "mixed"])
def test_a_bad_record_is_refused_by_file_and_key(folder, capsys, key, value, message, mode):
    path = folder / "results" / "runs" / "z2" / "record.json"
    content = json.loads(path.read_text())
    *parents, leaf = key.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    inner[leaf] = value
    path.write_text(json.dumps(content))
    assert cli.main(["tables", *mode]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "results/runs/z2/record.json: " + message in said
    assert not (folder / "results" / "TABLES.md").exists()


def test_mixed_protocols_end_with_2_and_pass_with_the_flag(folder, capsys):
    write(folder / "results" / "runs", record("odd", labels=0, clusters=20, pixel_scale=255.0))
    assert cli.main(["tables"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "record odd has dataset.pixel_scale 255.0, not 256.0 as record" in said
    assert cli.main(["tables", "--mixed"]) == 0
    assert "dataset.pixel\\_scale 255.0, not 256.0" in (folder / "results" / "TABLES.md").read_text()


def test_records_that_are_not_there(folder, capsys):
    assert cli.main(["tables", "--records", "nowhere"]) == 2
    assert "--records nowhere: does not exist" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert cli.main(["tables", "--records", "empty"]) == 0


def test_an_output_folder_that_is_a_file(folder, capsys):
    (folder / "file").write_text("")
    assert cli.main(["tables", "--out", "file"]) == 2
    assert "--out file: File exists" in capsys.readouterr().err


def test_a_copied_run_is_reported(folder, capsys):
    shutil.copytree(folder / "results" / "runs" / "m0", folder / "results" / "runs" / "copy")
    assert cli.main(["tables"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 11 records fill no cell: m0, z2"


def test_neither_theano_nor_jax_is_imported(folder):
    import subprocess
    import sys

    code = (
        "import sys; from parmesan_cagem import cli; assert cli.main(['tables']) == 0; "
        "print(sorted({'theano', 'lasagne', 'jax', 'scipy', 'h5py'} & sys.modules.keys()))"
    )
    path = os.pathsep.join([str(paper.CHECKOUT.parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_runs_are_read_in_an_order_of_their_own(tmp_path):
    write(tmp_path / "b", record("a", seed=2))
    write(tmp_path / "a", record("b"))
    write(tmp_path / "c", record("a", seed=1))
    found = report_runs.read([tmp_path])
    assert [(run.name, run.record["seed"]) for run in found] == [("a", 1), ("a", 2), ("b", 1)]
    assert found[0].folder == tmp_path / "c" / "a"
