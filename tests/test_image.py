"""The image's recipe, checked without a container; `make image-test` checks the image."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_repository import LOCKS, ROOT, files_of_the_tree, pins, requirements_of

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def without_comments(text):
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def hashes(lock):
    """Each requirement's hashes, by name and version."""
    lines = requirements_of(ROOT / "requirements" / lock)
    return {line.split()[0]: set(re.findall(r"--hash=(\S+)", line)) for line in lines}


# What it installs


def test_every_lock_that_it_names_is_there_and_is_installed_by_hash():
    copied = set(re.findall(r"requirements/(\S+\.lock)", without_comments(DOCKERFILE)))
    assert copied == {"build.lock", "archive.lock", "dev.lock", "cuda12.lock"}
    assert copied <= {lock.name for lock in LOCKS}
    installs = re.findall(r"pip install (.*?)(?: \\|;;|\n)", DOCKERFILE)
    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or "--no-deps --no-build-isolation --editable ." in words


@pytest.mark.parametrize("other", ["archive.lock", "build.lock", "dev.lock"])
def test_cuda_adds_to_the_other_locks_and_never_contradicts_them(other):
    cuda, others = pins("cuda12.lock"), pins(other)
    assert {name: version for name, version in cuda.items() if others.get(name, version) != version} == {}
    ours, theirs = hashes("cuda12.lock"), hashes(other)
    assert all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def test_cuda_brings_the_plugin_of_the_locked_jax_and_its_libraries():
    cuda, archive = pins("cuda12.lock"), pins("archive.lock")
    assert cuda["jax-cuda12-plugin"] == cuda["jax-cuda12-pjrt"] == archive["jax"]
    added = cuda.keys() - archive.keys()
    for library in ("cublas", "cuda-nvrtc", "cuda-runtime", "cudnn", "cufft", "cusolver", "cusparse", "nccl"):
        assert f"nvidia-{library}-cu12" in added
    assert all("cu12" in name or "cuda12" in name for name in added)  # what is not CUDA belongs into archive.lock


def test_the_base_is_a_release_that_can_be_overridden():
    assert re.search(r"^ARG BASE=debian:\w+-slim$", DOCKERFILE, flags=re.M)
    external = set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.M)) - set(
        re.findall(r" AS (\w+)$", DOCKERFILE, flags=re.M)
    )
    assert external == {"${BASE}"}


def test_sources_come_after_locks_and_python_is_process_1():
    assert DOCKERFILE.index("COPY requirements/cuda12.lock") < DOCKERFILE.index("COPY . .")
    assert re.search(r'^CMD \["python", ', DOCKERFILE, flags=re.M)
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM") :]
    assert "ENTRYPOINT" not in DOCKERFILE
    assert re.search(r"^USER 1000:1000$", last, flags=re.M)


def test_its_version_is_ours():
    from parmesan_cagem import __version__

    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE


def test_hadolint_has_nothing_to_say():
    found = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint")
    done = subprocess.run([found, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# What it leaves out


def ignored():
    """A function of a path: whether .dockerignore keeps it, or a folder that holds it, out of the image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert not any(pattern.startswith(("!", "/")) for pattern in patterns)  # this test knows no more of the syntax
    expressions = []
    for pattern in patterns:
        words = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        expressions.append(re.compile(f"{words}(?:/.*)?"))
    return lambda path: any(expression.fullmatch(path) for expression in expressions)


@pytest.mark.parametrize(
    "path",
    [
        "data/train-images-idx3-ubyte.gz",
        "chardata.mat",
        "omniglot/images_background.zip",
        "results/runs/mnist-cagem-100-paper-s1/checkpoint.h5",
        "results/runs/mnist-cagem-100-paper-s1/checkpoint.damaged",
        "results/runs/mnist-cagem-100-paper-s1/evaluation.h5",
        "results/units/one/views.npz",
        ".venv/bin/python",
        ".venv-modern/lib/x.py",
        "parmesan_cagem/__pycache__/config.cpython-311.pyc",
        ".pytest_cache/v",
        ".hypothesis/examples",
        ".mypy_cache/3.11",
        "parmesan_cagem/source.json",
        "parmesan_cagem.egg-info/PKG-INFO",
    ],
)
def test_data_checkpoints_environments_and_caches_stay_out(path):
    assert ignored()(path)


def test_git_and_every_file_in_it_go_in():
    """A tracked file that is left out would make every image's source differ from its commit."""
    left_out = ignored()
    assert not left_out(".git/HEAD")
    paths = [str(path.relative_to(ROOT)) for path in files_of_the_tree()]
    assert [path for path in paths if left_out(path)] == []


# What builds and checks it


@pytest.mark.parametrize("name", ["container-engine", "image-build"])
def test_the_scripts_are_sound(name):
    script = ROOT / "tools" / name
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)


@pytest.fixture
def machine(tmp_path):
    """A checkout on a machine with the given commands; each writes down what it was called with."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("container-engine", "image-build"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    for name in ("bash", "env", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))

    def command(name, works=True):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*"\nexit {0 if works else 1}\n')
        path.chmod(0o755)

    def call(script, **environment):
        environment["PATH"] = str(tmp_path / "bin")
        done = subprocess.run([str(tmp_path / "tools" / script)], capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr

    return tmp_path, command, call


def test_docker_comes_first_if_it_answers(machine):
    _, command, call = machine
    assert call("container-engine")[0] == 1
    command("podman")
    assert call("container-engine") == (0, "podman\n", "")
    command("docker", works=False)
    assert call("container-engine") == (0, "podman\n", "")
    command("docker")
    assert call("container-engine") == (0, "docker\n", "")
    assert call("container-engine", ENGINE="podman") == (0, "podman\n", "")


def test_without_an_engine_a_line_says_what_to_do(machine):
    status, printed, told = machine[2]("image-build")
    assert (status, printed, told.count("\n")) == (1, "", 1)
    assert "docker or podman" in told


def test_a_build_says_what_it_builds(machine):
    folder, command, call = machine
    command("docker")
    status, printed, told = call("image-build")
    assert (status, printed) == (0, "docker build -t cagem --build-arg ACCELERATOR=cuda12 .\n")
    assert "no commit" in told  # there is no .git
    (folder / ".git").mkdir()
    (folder / "bin" / "git").write_text("#!/bin/sh\necho abc\n")
    (folder / "bin" / "git").chmod(0o755)
    command("builder")
    status, printed, told = call("image-build", BUILDER="builder --fast", ACCELERATOR="cpu", IMAGE="x", BASE="a@b")
    words = "builder --fast -t x --build-arg ACCELERATOR=cpu --build-arg BASE=a@b --build-arg REVISION=abc .\n"
    assert (status, printed) == (0, words)
    assert "no commit" not in told
