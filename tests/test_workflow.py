"""The workflow: every run of a grid, on this machine and on a Slurm cluster, killed in the middle of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from parmesan_cagem import files, runfolder, sealed, trained

ROOT = Path(__file__).parent.parent
SNAKEMAKE = ROOT / ".venv-workflow" / "bin" / "snakemake"

# Tiny networks and few images; CaGeM-100 for so many epochs that there is time to kill it.
GRID = """
shards: 2
runs:
  - for: a killed training
    model: cagem
    labels: 100
    epochs: 60
    checkpoint_every: 1
  - for: a model without classes
    model: vae
"""


def test_a_job_has_its_own_caches_its_cores_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a run.train.log"
    log.parent.mkdir()
    show = 'import os, sys; print(*(os.environ[n] for n in sys.argv[1:]), sep="\\n"); sys.exit(5)'
    names = ["THEANO_FLAGS", "JAX_COMPILATION_CACHE_DIR", "OPENBLAS_NUM_THREADS", "NPROC"]
    done = subprocess.run(
        [ROOT / "workflow" / "job", log, "3", sys.executable, "-c", show, *names],
        env={**os.environ, "THEANO_FLAGS": "optimizer=fast_compile"},
    )
    assert done.returncode == 5
    cache = tmp_path / "cache" / "a run.train"
    expected = [f"base_compiledir={cache}/theano,optimizer=fast_compile", f"{cache}/xla", "3", "3"]
    assert log.read_text().splitlines()[1:] == expected


@pytest.mark.skipif(not SNAKEMAKE.exists(), reason="no Snakemake; make workflow")
@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ((), 0, {"train": 42, "shard": 42 * 8, "merge": 42, "data": 2, "tables": 1, "figures": 1, "report": 1}),
        (("shards=3",), 0, {"shard": 42 * 3}),
        (("gpu=true",), 0, {"train": 42}),
        (("gpu=yes",), 1, "gpu=yes: give true or false"),
        (("shard=3",), 1, "shard: no setting of workflow/config.yaml"),
        (("device=h200",), 1, "device=h200: no times are known"),
        (("grid=workflow/none.yaml",), 2, "workflow/none.yaml: cannot read the grid"),
    ],
)
def test_the_jobs_of_the_paper(tmp_path: Path, change: tuple[str, ...], status: int, told: Any) -> None:
    """A dry run: what would be done, or the mistake in one line."""
    command = snakemake(tmp_path, ROOT / "workflow" / "paper.yaml", "local", "--dry-run", "--printshellcmds")
    done = subprocess.run([*command, *change], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    if status:
        assert told in done.stderr
        return
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert {name: int(jobs[name]) for name in told} == told
    asked = re.findall(r"rule train:.*?resources: ([^\n]*)", done.stdout + done.stderr, re.DOTALL)
    assert len(asked) == 42
    assert all(f"gpu={int('gpu=true' in change)}" in resources for resources in asked)
    assert ("--require-gpu" in done.stdout + done.stderr) == ("gpu=true" in change)


def snakemake(results: Path, grid: Path, profile: str = "local", *arguments: str) -> list[str]:
    config = {
        "results": results,
        "grid": grid,
        "preset": "smoke",
        "python": sys.executable,
        "threads": 1,
        "mem_mb": 1500,
    }
    settings = [f"{name}={value}" for name, value in config.items()]
    command = [SNAKEMAKE, "--snakefile", "workflow/Snakefile", "--profile", f"workflow/profiles/{profile}"]
    return [str(word) for word in [*command, *arguments, "--config", *settings]]


def run(results: Path, grid: Path, profile: str = "local", *arguments: str) -> subprocess.CompletedProcess[str]:
    command = snakemake(results, grid, profile, *arguments)
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)


def wait_for_epochs(folder: Path, epochs: int, process: subprocess.Popen[bytes]) -> None:
    """Until the training in ``folder`` has so many epochs and a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if (folder / "checkpoint.h5").exists() and epochs_of(folder) >= epochs:
            return
        assert process.poll() is None, "the workflow ended before"
        time.sleep(0.1)
    pytest.fail(f"{folder}: no {epochs} epochs in five minutes")


def epochs_of(folder: Path) -> int:
    return sum("epoch" in line for line in runfolder.read_log(folder))


def first_lines(folder: Path) -> list[bytes]:
    """Of the log, as long as the killed run had saved them: their seconds tell them from those of a new training."""
    return (folder / "log.jsonl").read_bytes().splitlines()[:4]


def numbers(folder: Path) -> dict[str, object]:
    """Of a finished run, all that may not depend on how often it was killed."""
    record = files.read_json(folder / "record.json", "")
    kept = {name: record[name] for name in ("bounds", "terms", "error_q", "error_p", "epochs", "steps", "confusion")}
    return {**kept, "weights": trained.identify(folder), "epochs logged": epochs_of(folder)}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def names(grid: Path) -> list[str]:
    command = [sys.executable, "-m", "parmesan_cagem", "plan", grid, "--preset", "smoke", "--json"]
    plan = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return [entry["name"] for entry in json.loads(plan.stdout)["runs"]]


@pytest.fixture(scope="module")
def undisturbed(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the grid, run locally from beginning to end."""
    if not SNAKEMAKE.exists():
        pytest.skip("no Snakemake; make workflow")
    results = tmp_path_factory.mktemp("undisturbed")
    done = run(results, grid)
    assert done.returncode == 0, done.stdout
    return results


@pytest.mark.workflow
def test_makes_everything_once(undisturbed: Path, grid: Path, names: list[str]) -> None:
    assert all((undisturbed / "runs" / name / "record.json").exists() for name in names)
    for made in ("TABLES.md", "figures/captions.json", "report.html"):
        assert (undisturbed / made).stat().st_size > 0
    again = run(undisturbed, grid)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout


@pytest.mark.workflow
def test_a_failed_run_keeps_nobody_back(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(undisturbed, results)
    shutil.rmtree(results / "figures")
    (results / "report.html").unlink()
    broken = results / "runs" / names[1]
    shutil.rmtree(broken)
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model": "another"}))
    failed = run(results, grid)
    assert failed.returncode == 1
    assert "began with other settings" in failed.stdout  # the log of the run that failed
    assert (results / "report.html").exists()
    shutil.rmtree(broken)
    mended = run(results, grid)
    assert mended.returncode == 0, mended.stdout
    assert numbers(broken) == numbers(undisturbed / "runs" / names[1])


@pytest.mark.workflow
def test_goes_on_after_a_kill(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / names[0]
    process = subprocess.Popen(snakemake(tmp_path, grid), cwd=ROOT, start_new_session=True)
    wait_for_epochs(folder, 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 5 <= epochs_of(folder) < 60
    before = first_lines(folder)
    finished = run(tmp_path, grid)
    assert finished.returncode == 0, finished.stdout
    assert first_lines(folder) == before
    assert numbers(folder) == numbers(undisturbed / "runs" / names[0])


@pytest.mark.workflow
def test_a_record_is_not_the_end(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path) -> None:
    """Neither fewer epochs nor another evaluation passes for the run; what fits of it is not computed again."""
    folder = tmp_path / "runs" / names[1]
    by_hand = [sys.executable, "run_mnist.py", "--model", "vae", "--preset", "smoke", "--out", tmp_path / "runs"]
    subprocess.run([*by_hand, "--epochs", "1"], cwd=ROOT, check=True)
    assert (folder / "record.json").exists()
    small = grid.with_name("small.yaml")
    small.write_text(GRID[: GRID.index("  - for")] + GRID[GRID.index("  - for: a model without") :])
    assert run(tmp_path, small).returncode == 0
    assert numbers(folder) == numbers(undisturbed / "runs" / names[1])
    evaluate = [sys.executable, "-m", "parmesan_cagem", "evaluate", folder, "--iw-samples", "5"]
    subprocess.run(evaluate, cwd=ROOT, check=True)
    assert run(tmp_path, small).returncode == 0
    seconds = files.read_json(folder / "record.json", "")["eval"]["seconds"]
    assert numbers(folder) == numbers(undisturbed / "runs" / names[1])
    three = [*snakemake(tmp_path, small), "shards=3"]
    again = subprocess.run(three, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "shard-3-of-3" in again.stdout + again.stderr
    assert files.read_json(folder / "record.json", "")["eval"]["seconds"] == seconds  # the same rows, taken over


@pytest.mark.workflow
def test_parts_of_another_source_are_made_anew(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(undisturbed, results)
    folder = results / "runs" / names[1]
    (folder / "evaluated.txt").unlink()
    (folder / "record.json").unlink()
    (folder / "evaluation.h5").unlink()
    foreign = folder / "evaluation.shard-1-of-2.h5"
    body = sealed.encode({}, {"identity": {"git": {"commit": "0" * 40, "dirty": False}}, "devices": []})
    foreign.write_bytes(sealed.seal(body) + body)
    refused = run(results, grid)
    assert refused.returncode == 1
    assert "was made with" in refused.stdout
    mended = run(results, grid)
    assert mended.returncode == 0, mended.stdout
    assert numbers(folder) == numbers(undisturbed / "runs" / names[1])


@pytest.mark.workflow
def test_two_at_once_are_refused(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path) -> None:
    first = subprocess.Popen(snakemake(tmp_path, grid), cwd=ROOT, start_new_session=True)
    wait_for_epochs(tmp_path / "runs" / names[0], 1, first)
    second = run(tmp_path, grid)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert second.returncode == 1
    assert "another workflow is at work here" in second.stdout


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def cluster() -> None:
    """A Slurm that answers."""
    try:
        slurm("sinfo", "--noheader")
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no Slurm cluster here")


def job_of(rule: str, name: str) -> str:
    """Identifier of the Slurm job that runs ``rule`` for the run ``name``."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in slurm("squeue", "--noheader", "--states=R", "--format=%A %k").splitlines():
            job, _, comment = line.partition(" ")
            if comment.startswith(f"rule_{rule}") and name in comment:
                return job
        time.sleep(0.5)
    pytest.fail(f"no Slurm job runs {rule} for {name}")


@pytest.mark.workflow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("how", ["requeue", "cancel"])
def test_slurm_loses_nothing(undisturbed: Path, grid: Path, names: list[str], tmp_path: Path, how: str) -> None:
    folder = tmp_path / "runs" / names[0]
    quick = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5", "--jobs", "4")
    process = subprocess.Popen(snakemake(tmp_path, grid, "slurm", *quick), cwd=ROOT, start_new_session=True)
    try:
        wait_for_epochs(folder, 5, process)
        before = first_lines(folder)
        slurm(*(["scontrol", "requeue"] if how == "requeue" else ["scancel"]), job_of("train", names[0]))
        assert process.wait(1200) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    assert first_lines(folder) == before
    for name in names:
        assert numbers(tmp_path / "runs" / name) == numbers(undisturbed / "runs" / name)
