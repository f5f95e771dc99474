"""A small OMNIGLOT: zips of three made-up alphabets, and MAT files in the layout of Burda's."""

import hashlib
import io
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from parmesan_cagem.data import omniglot, omniglot_mat, omniglot_zip
from parmesan_cagem.data.resize import resize

ALPHABETS = {"images_background": {"Alpha": 2, "Beta": 1}, "images_evaluation": {"Gamma": 1}}
ZIPS = "images_background.zip, images_evaluation.zip"
LABELS = {"Alpha": 0, "Beta": 1, "Gamma": 2}

Files = dict[str, dict[str, bytes]]  # zip -> path in it -> content


def drawing(label: int, character: int, drawer: int) -> np.ndarray:
    """(105, 105) bool, True is ink: three strokes."""
    rng = np.random.default_rng([label, character, drawer])
    ink = np.zeros((105, 105), bool)
    for _ in range(3):
        row, column = rng.integers(5, 60, 2)
        ink[row : row + 3, column : column + rng.integers(5, 40)] = True
    return ink


def png(ink: np.ndarray, mode: str = "1") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(~ink).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def release() -> Files:
    found: Files = {}
    number = 1000
    for name, alphabets in ALPHABETS.items():
        found[name] = {}
        for alphabet, characters in alphabets.items():
            for character in range(1, characters + 1):
                number += 1
                for drawer in range(1, 21):
                    path = f"{name}/{alphabet}/character{character:02}/{number}_{drawer:02}.png"
                    found[name][path] = png(drawing(LABELS[alphabet], character, drawer))
    return found


def write_zips(folder: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, members in files.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w", compression) as archive:
            for path, content in members.items():
                archive.writestr(path, content)
    return folder


def digest(files: Files) -> str:
    """As `sha256sum $(find images_* -type f | LC_ALL=C sort) | sha256sum` gives it."""
    members = {path: content for part in files.values() for path, content in part.items()}
    lines = [f"{hashlib.sha256(members[path]).hexdigest()}  {path}\n" for path in sorted(members)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def use(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """Let the loader expect these images."""
    monkeypatch.setattr(omniglot_zip, "ALPHABETS", ALPHABETS)
    monkeypatch.setattr(omniglot_zip, "PNG_SHA256", digest(files))


def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder of this machine, and no network."""
    monkeypatch.delenv("CAGEM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(omniglot_zip, "MIRRORS", ())
    monkeypatch.setattr(omniglot_mat, "MIRRORS", ())
    monkeypatch.setattr(omniglot, "REBUILT_SHA256", "0" * 64)


def mat_arrays(train: int = 60, test: int = 55) -> dict[str, np.ndarray]:
    """One image a column, its pixels down its columns, as in Burda's file."""
    rng = np.random.default_rng(1)
    found = {}
    for prefix, count in (("", train), ("test", test)):
        found[f"{prefix}data"] = rng.random((784, count))
        found[f"{prefix}target"] = np.eye(50)[:, rng.permutation(count) % 50]
        found[f"{prefix}targetchar"] = rng.integers(1, 56, (1, count)).astype(float)
    return found


def write_mat(path: Path, arrays: dict, compress: bool = True, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, arrays, do_compression=compress, **options)
    return path


def expected_arrays() -> list[np.ndarray]:
    """Training images, labels, test images, labels: by alphabet, character and drawer."""
    arrays = []
    for drawers in (range(1, 16), range(16, 21)):
        keys = [(a, c, d) for a, c in ((0, 1), (0, 2), (1, 1), (2, 1)) for d in drawers]
        arrays += [resize(np.stack([drawing(*key) for key in keys])), np.array([key[0] for key in keys])]
    return arrays


def known_release(monkeypatch: pytest.MonkeyPatch) -> Files:
    """The small release, known by its digests."""
    files = release()
    use(monkeypatch, files)
    monkeypatch.setattr(omniglot, "REBUILT_SHA256", omniglot._digest(expected_arrays()))
    return files


def cache_of(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "cagem" / "omniglot"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
