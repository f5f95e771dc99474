"""The formats of data sets, each at its entry point and behind the digest that would refuse a damaged file at once."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from parmesan_cagem import data, npz, view_cache
from parmesan_cagem.data import array_pickle, fetch, matfile, mnist, omniglot, omniglot_mat, omniglot_zip
from torture.damage_mutate import Mutator, bytes_of, damaged, gzipped, png_of, zip_of
from torture.damage_worker import Format

Image.init()  # here: its plugins, imported at the first damaged picture, would look like code that the file runs
_RNG = np.random.default_rng(1)
ALPHABETS = {"images_background": {"Alpha": 1, "Beta": 1}, "images_evaluation": {"Gamma": 1}}


def digest(arrays: Any) -> str:
    """Of arrays, or of nested sequences of them: the same for the same names, types, shapes and bytes."""
    if isinstance(arrays, dict):
        return hashlib.sha256(repr([(name, digest(one)) for name, one in arrays.items()]).encode()).hexdigest()
    if isinstance(arrays, tuple | list):
        return hashlib.sha256(repr([digest(one) for one in arrays]).encode()).hexdigest()
    array = np.asarray(arrays)
    return hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()).hexdigest()


def formats() -> list[Format]:
    """All of them."""
    return [*_idx(), *_pickles(), *_mat(), *_zips(), *_npz()]


# ---- MNIST


def _idx() -> list[Format]:
    shapes = {name: (6, 28, 28) if "images" in name else (6,) for name in mnist.FILES}
    bodies = {name: _RNG.integers(0, 10, shape, dtype=np.uint8).tobytes() for name, shape in shapes.items()}
    known, contents = {}, {}
    for name, body in bodies.items():
        idx = dataclasses.replace(mnist.FILES[name], shape=shapes[name])
        contents[name] = idx.header + body
        known[name] = dataclasses.replace(idx, sha256=hashlib.sha256(contents[name]).hexdigest())
    images, labels = list(known)[:2]

    def folder(name: str) -> Callable[[Path], Any]:
        def load(path: Path) -> Any:
            mnist.FILES.clear()
            mnist.FILES.update(known)
            place = path.parent / "mnist"
            if not place.exists():
                place.mkdir()
                for other, content in contents.items():
                    (place / f"{other}.gz").write_bytes(gzip.compress(content))
            (place / f"{name}.gz").write_bytes(path.read_bytes())
            found = data.load("mnist", path.parent)
            return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

        return load

    def packed(name: str) -> Mutator:
        return gzipped(bytes_of(contents[name]), contents[name])

    def read_gz(path: Path) -> Any:
        return digest(np.frombuffer(fetch.read_gz(path, known[images].size, known[images].sha256), np.uint8))

    sound = {name: gzip.compress(content) for name, content in contents.items()}
    many = {"exact": True, "public": True}
    return [
        Format("IDX images, a run's", packed(images), folder(images), sound[images], share=1500, **many),
        Format("IDX labels, a run's", packed(labels), folder(labels), sound[labels], share=1500, **many),
        Format("IDX .gz", packed(images), read_gz, sound[images], share=8000, exact=True),
    ]


def small_pickle() -> bytes:
    """Three pairs of arrays as Python 2 pickled them: the instructions of MNIST's file in its order."""
    out, place = [b"\x80\x02"], 0

    def put() -> bytes:
        nonlocal place
        place += 1
        return pickle.BINPUT + bytes([place])

    def array(code: bytes, shape: tuple[int, ...], body: bytes) -> bytes:
        new = (
            b"cnumpy.core.multiarray\n_reconstruct\n"
            + put()
            + b"cnumpy\nndarray\n"
            + put()
            + b"K\0\x85U\x01b\x87R"
            + put()
        )
        dtype = b"cnumpy\ndtype\n" + put() + b"U\x02" + code + b"K\0K\x01\x87R" + put()
        state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        sizes = b"".join(b"K" + bytes([size]) for size in shape) + (b"\x86" if len(shape) == 2 else b"\x85")
        return new + b"(K\x01" + sizes + dtype + state + b"\x89T" + len(body).to_bytes(4, "little") + body + b"tb"

    for count in (5, 3, 2):
        images, labels = _RNG.random((count, 7)).astype("<f4"), np.arange(count, dtype="<i8")
        out += [array(b"f4", (count, 7), images.tobytes()), array(b"i8", (count,), labels.tobytes()), b"\x86", put()]
    return b"".join([*out, b"\x87."])


def _pickles() -> list[Format]:
    sound = small_pickle()
    codes = [one[0] if isinstance(one, tuple) else one for one in pickle._Unpickler.dispatch]  # type: ignore[attr-defined]

    def mutate(rng: Random) -> bytes:
        found = damaged(rng, sound, [pickle.dumps([1, {"a": np.zeros(3)}], protocol) for protocol in range(6)])
        for _ in range(rng.choice((0, 1, 3))):
            place = rng.randrange(len(found) + 1)
            found = found[:place] + bytes([rng.choice(codes)]) + found[place + rng.randrange(2) :]
        return found

    def load(path: Path) -> Any:
        with path.open("rb") as stream:
            return digest(array_pickle.load_arrays(stream))

    def load_gz(path: Path) -> Any:
        with gzip.open(path) as stream:
            return digest(array_pickle.load_arrays(stream))

    class Wheel:
        def __init__(self, path: Path) -> None:
            self.locate_file = lambda _: path

    def wheel(path: Path) -> Any:
        mnist.importlib.metadata.distribution = lambda _: Wheel(path)  # type: ignore[attr-defined]
        mnist.WHEEL_FILE_SHA256 = known
        try:
            return digest(list(mnist.read_wheel() or {}))
        except fetch.UserError as error:
            if "wrong checksum: SHA-256 of mnist/" in str(error):
                raise
            return "known"  # the small one passes as far as the content's digest

    packed = gzip.compress(sound)
    known = hashlib.sha256(packed).hexdigest()
    outer = bytes_of(packed)
    return [
        Format("pickle", mutate, load, sound, share=14000),
        Format("pickle .gz", gzipped(mutate, sound), load_gz, packed, share=2000),
        Format("pickle, the wheel's file", outer, wheel, packed, share=1000, exact=True, public=True),
    ]


# ---- OMNIGLOT


def mat_arrays(train: int, test: int) -> dict[str, np.ndarray]:
    """In the layout of Burda's file."""
    found = {}
    for prefix, count in (("", train), ("test", test)):
        found[f"{prefix}data"] = (_RNG.random((784, count)) > 0.9).astype("u1")
        found[f"{prefix}target"] = np.eye(50, dtype="u1")[:, _RNG.permutation(count) % 50]
        found[f"{prefix}targetchar"] = _RNG.integers(1, 56, (1, count)).astype("u1")
    return found


def mat_file(arrays: dict[str, Any], compress: bool) -> bytes:
    """As SciPy writes it."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, arrays, do_compression=compress)
    return stream.getvalue()


def _mat() -> list[Format]:
    small = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((3, 1), "u1"), "text": "words"}
    plain, packed = mat_file(small, False), mat_file(small, True)
    whole = mat_file(mat_arrays(3, 2), False)

    def inside(sound: bytes) -> Mutator:
        def mutate(rng: Random) -> bytes:
            """Damage to the elements, then packed as MATLAB packs each."""
            found = damaged(rng, sound[128:], [whole])
            if rng.random() < 0.3:
                return sound[:128] + b"\x0f\0\0\0" + len(z := zlib.compress(found)).to_bytes(4, "little") + z
            return sound[:128] + found

        return mutate

    def matrices(path: Path) -> Any:
        content = path.read_bytes()
        if not matfile.is_version_5(content[:128]):
            raise ValueError("its head is refused before")
        return digest(matfile.read_matrices(content, ["a", "b"], 1 << 20))

    def burda(path: Path) -> Any:
        return digest(omniglot_mat.read(path, unverified=True)[0])

    def run(path: Path) -> Any:
        path.rename(path.parent / omniglot_mat.NAME)
        found = data.load("omniglot", path.parent, unverified=True)
        return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

    values = (ValueError,)
    return [
        Format("MAT elements", inside(plain), matrices, plain, share=9000, clean=values),
        Format("MAT file", bytes_of(plain, packed), matrices, packed, share=5000, clean=values),
        Format("MAT chardata", inside(whole), burda, whole, share=4000),
        Format("MAT chardata, a run's", inside(whole), run, whole, share=1500, public=True),
    ]


def members(zip_name: str) -> dict[str, bytes]:
    """Path -> PNG, of a zip of the small release."""
    found = {}
    for number, (alphabet, characters) in enumerate(ALPHABETS[zip_name].items()):
        for character in range(1, characters + 1):
            for drawer in range(1, 21):
                stream, ink = io.BytesIO(), np.zeros((105, 105), bool)
                ink[number * 20 + drawer : number * 20 + drawer + 3, character : 60 + drawer] = True
                Image.fromarray(~ink).save(stream, "PNG")
                found[f"{zip_name}/{alphabet}/character{character:02}/{1000 + number}_{drawer:02}.png"] = (
                    stream.getvalue()
                )
    return found


def _zips() -> list[Format]:
    release = {name: members(name) for name in ALPHABETS}
    first, second = (zip_of(one) for one in release.values())
    sound = {name: _zipped(one) for name, one in release.items()}
    lines = sorted((path, hashlib.sha256(png).hexdigest()) for one in release.values() for path, png in one.items())
    known = hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()).hexdigest()
    (png, *_) = release["images_background"].values()

    def use() -> None:
        omniglot_zip.ALPHABETS = ALPHABETS
        omniglot_zip.PNG_SHA256 = known

    def run(path: Path) -> Any:
        use()
        path.rename(path.parent / "images_background.zip")
        (path.parent / "images_evaluation.zip").write_bytes(sound["images_evaluation"])
        found = data.load("omniglot", path.parent)
        return digest([found.train_images, found.train_labels, found.test_images, found.test_labels])

    def members_of(path: Path) -> Any:
        use()
        return digest({name: np.frombuffer(png, "u1") for name, png in omniglot_zip._members(path, path.read_bytes())})

    def picture(path: Path) -> Any:
        return digest(omniglot_zip._decode("member.png", path.read_bytes()))

    return [
        Format("zip of PNGs, a run's", first, run, sound["images_background"], share=1000, exact=True, public=True),
        Format("zip", second, members_of, sound["images_evaluation"], share=10000),
        Format("PNG", png_of(png), picture, png, share=12000),
    ]


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with omniglot_zip.zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


# ---- caches


def npz_file(compress: bool = False, **arrays: Any) -> bytes:
    """As NumPy writes it."""
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **arrays)
    return stream.getvalue()


def _npz() -> list[Format]:
    arrays = {"z1": _RNG.random((5, 3)), "y": np.arange(5), "words": np.array(["a", "bc"]), "none": np.empty((0, 2))}
    sound = npz_file(**arrays)
    names: dict[str, bytes] = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        names[f"{name}.npy"] = stream.getvalue()
    inside = zip_of(names)  # under CRCs that hold

    def mutate(rng: Random) -> bytes:
        return inside(rng) if rng.random() < 0.6 else damaged(rng, sound)

    def arrays_of(path: Path) -> Any:
        with path.open("rb") as stream:
            return digest(npz.load(stream))

    def views(path: Path) -> Any:
        path.rename(path.parent / view_cache.NAME)
        return digest(view_cache.cached(path.parent, "latents", {"seed": 1}, lambda: {"z1": arrays["z1"]}))

    def cache(path: Path) -> Any:
        place = omniglot._rebuilt_path()
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        return omniglot._read_rebuilt(None) is None

    return [
        Format("npz", mutate, arrays_of, sound, share=8000, clean=(ValueError,)),
        Format("views.npz", mutate, views, sound, share=800, public=True),
        Format("OMNIGLOT's cache", mutate, cache, sound, share=1500, public=True),
    ]
