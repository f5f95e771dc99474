#!/usr/bin/env python3
"""Check the Docker image in containers without network, a line for each check; exit status 1 if one fails.

``make image-test`` calls this. Environment: IMAGE, its name (cagem); TESTS, what pytest runs inside with
``-q -m "not slow"`` (empty: everything; ``none``: nothing); GPU, the flags that give a container the GPU, as in
``GPU="--gpus all"``: then a run must use it.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE") or "cagem"
TESTS = os.environ.get("TESTS", "")
GPU = shlex.split(os.environ.get("GPU", ""))
SMOKE = ["python", "run_mnist.py", "--labels", "100", "--preset", "smoke"]
OTHER = ["--user", "4321:4321"]  # anybody

# Theano's C code wants g++, Python.h, the BLAS and a cache that it can write.
ENGINE_C = """
import numpy as np, parmesan_cagem, theano.tensor as T
from parmesan_cagem import engines
x = T.matrix("x")
a = np.arange(12, dtype="float32").reshape(3, 4)
assert (engines.get("c").function([x], [T.dot(x, x.T)], "f")(a)[0] == a @ a.T).all()
"""


class Containers:
    """Containers of the image, with ``out`` of this machine as their /results.

    Parameters
    ----------
    engine : str
        docker or podman.
    out : Path
        A folder that everybody may write: the users in the containers are not this one.
    """

    def __init__(self, engine: str, out: Path) -> None:
        self.engine, self.out = engine, out

    def call(self, *words: str | Path) -> subprocess.CompletedProcess:
        """Call the engine itself."""
        return subprocess.run([self.engine, *map(str, words)], capture_output=True, text=True)

    def run(self, *command: str, flags: list[str] | None = None, gpu: bool = False) -> subprocess.CompletedProcess:
        """Run a command in a container; without ``gpu`` also where the engine would pass a GPU on by itself."""
        device = GPU if gpu else ["-e", "NVIDIA_VISIBLE_DEVICES=void"]
        place = ["--network", "none", "-v", f"{self.out}:/results:z"]
        # A container that is started in the background stays, to be looked at.
        kept = [] if flags and "-d" in flags else ["--rm"]
        return self.call("run", *kept, *place, *device, *(flags or []), IMAGE, *command)


def succeeds(done: subprocess.CompletedProcess, status: int = 0) -> subprocess.CompletedProcess:
    """Its exit status is as it should be.

    Raises
    ------
    AssertionError
    """
    told = f"{done.stdout}{done.stderr}"
    assert done.returncode == status, f"exit status {done.returncode}, not {status}:\n{told}"
    return done


def user(at: Containers) -> None:
    """Its user is nobody special, and cannot change the source."""
    assert succeeds(at.run("id", "-u")).stdout == "1000\n"
    assert at.run("touch", "/cagem/new").returncode != 0


def engine_c(at: Containers) -> None:
    """Engine c compiles and computes."""
    succeeds(at.run("python", "-c", ENGINE_C))


def engine_c_any_user(at: Containers) -> None:
    """Engine c compiles and computes for any --user."""
    succeeds(at.run("python", "-c", ENGINE_C, flags=OTHER))


def run(at: Containers) -> None:
    """A run trains, evaluates and writes to a mounted /results; one line says that it is on the CPU."""
    told = succeeds(at.run(*SMOKE, "--name", "smoke")).stderr
    assert told.count("no GPU found: running on the CPU") == 1, told
    assert not any(word in told for word in ("Traceback", "ERROR", "WARNING")), told
    files = {path.name for path in (at.out / "runs" / "smoke").iterdir()}
    assert files >= {"checkpoint.h5", "record.json", "bounds.csv", "samples.png"}, files


def run_any_user(at: Containers) -> None:
    """A run of any --user writes there too."""
    # A folder of its own: that of the other runs belongs to their user.
    succeeds(at.run(*SMOKE, "--name", "other", flags=[*OTHER, "-e", "CAGEM_RESULTS=/results/other"]))
    assert (at.out / "other" / "runs" / "other" / "record.json").exists()


def commit(at: Containers) -> None:
    """Its record names the commit of this checkout."""
    record = json.loads((at.out / "runs" / "smoke" / "record.json").read_text())
    assert record["git"] == record["eval"]["git"]
    if not (ROOT / ".git").is_dir():
        assert record["git"] == {"commit": None, "dirty": None}, record["git"]
        return
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    found = record["git"]["commit"]
    assert found == head.strip(), f"the image is of commit {found}, the checkout of {head.strip()}: make image"


def stop_and_resume(at: Containers) -> None:
    """A run that is stopped leaves a checkpoint (exit status 143), and --resume goes on."""
    folder, name = at.out / "runs" / "stopped", f"cagem-test-{os.getpid()}"

    log = folder / "log.jsonl"

    def epochs() -> int:
        lines = log.read_text().splitlines() if log.exists() else []
        return sum('"epoch"' in line for line in lines)

    try:
        succeeds(at.run(*SMOKE, "--name", "stopped", "--epochs", "100000", flags=["-d", "--name", name]))
        end = time.monotonic() + 300
        while epochs() < 3:
            assert time.monotonic() < end, at.call("logs", name).stderr
            time.sleep(0.5)
        begun = time.monotonic()
        succeeds(at.call("stop", "-t", "60", name))
        seconds = time.monotonic() - begun
        status, logs = at.call("wait", name).stdout.strip(), at.call("logs", name)
    finally:
        at.call("rm", "-f", name)
    assert status == "143", f"exit status {status}:\n{logs.stderr}"
    assert seconds < 30, f"it took {seconds:.0f} s"
    assert "stopped by SIGTERM" in logs.stderr, logs.stderr
    done = epochs()
    succeeds(at.run(*SMOKE, "--name", "stopped", "--resume", "--epochs", str(done + 2)))
    assert json.loads((folder / "record.json").read_text())["epochs"] == done + 2 == epochs()


def require_gpu(at: Containers) -> None:
    """--require-gpu without a GPU is refused in a line before anything is written (exit status 2)."""
    done = succeeds(at.run(*SMOKE, "--name", "refused", "--require-gpu"), status=2)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stderr
    assert "--require-gpu" in done.stderr, done.stderr
    assert not (at.out / "runs" / "refused").exists()


def gpu(at: Containers) -> None:
    """A run with the GPU uses it."""
    told = succeeds(at.run(*SMOKE, "--name", "gpu", "--require-gpu", gpu=True)).stderr
    assert "running on the CPU" not in told, told


def tables(at: Containers) -> None:
    """Tables made of the records inside are those of the checkout, byte for byte."""
    succeeds(at.run("cagem", "tables", "--records", "results", "--out", "/results/tables"))
    made = sorted((at.out / "tables").iterdir())
    assert "TABLES.md" in [path.name for path in made]
    differ = [path.name for path in made if path.read_bytes() != (ROOT / "results" / path.name).read_bytes()]
    assert not differ, differ


def tests(at: Containers) -> None:
    """The tests pass inside."""
    command = ["pytest", "-q", "-m", "not slow", "-n", "2", "--dist", "loadfile", *shlex.split(TESTS)]  # as make test
    done = succeeds(at.run(*command, flags=["-e", "OPENBLAS_NUM_THREADS=1"]))
    print(f"        {done.stdout.strip().splitlines()[-1]}")


@contextlib.contextmanager
def results(engine: str) -> Iterator[Path]:
    """A folder for everybody; at the end a container deletes in it what belongs to users of containers."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results"
        out.mkdir()
        out.chmod(0o1777)
        try:
            yield out
        finally:
            Containers(engine, out).run("find", "/results", "-mindepth", "1", "-delete", flags=["--user", "0:0"])


def main() -> int:
    """All checks, also after one that fails."""
    found = subprocess.run([ROOT / "tools" / "container-engine"], stdout=subprocess.PIPE, text=True)
    if found.returncode:
        return 1
    engine, failed = found.stdout.strip(), 0
    if subprocess.run([engine, "image", "inspect", IMAGE], capture_output=True).returncode:
        print(f"image-test: no image {IMAGE}. Fix: make image", file=sys.stderr)
        return 1
    checks: list[Callable[[Containers], None]] = [
        user,
        engine_c,
        engine_c_any_user,
        run,
        commit,
        run_any_user,
        require_gpu,
        *([gpu] if GPU else []),
        stop_and_resume,
        tables,
        *([] if TESTS == "none" else [tests]),
    ]
    with results(engine) as out:
        for check in checks:
            begun = time.monotonic()
            try:
                check(Containers(engine, out))
                verdict, why = "ok    ", ""
            except (AssertionError, OSError, ValueError, KeyError) as error:
                verdict, why, failed = "FAILED", str(error), failed + 1
            print(f"{verdict}  {check.__doc__} ({time.monotonic() - begun:.0f} s)", flush=True)
            for line in why.splitlines()[-20:]:
                print(f"        {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
