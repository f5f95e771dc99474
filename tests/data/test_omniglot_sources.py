"""Where OMNIGLOT is taken from: the search order, named folders, and the commands fetch and verify."""

from pathlib import Path

import omniglot_files
import pytest
from omniglot_files import ZIPS, Files, cache_of, mat_arrays, warnings, write_mat, write_zips

from parmesan_cagem.data import commands, load, mnist, omniglot, omniglot_mat
from parmesan_cagem.errors import UserError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    omniglot_files.alone(monkeypatch, tmp_path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return omniglot_files.known_release(monkeypatch)


# Search order


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"dir", "env", "cache"}, f"rebuilt from {ZIPS} in --data-dir"),
        ({"dir/omniglot", "env", "cache"}, f"rebuilt from {ZIPS} in --data-dir"),
        ({"env", "cache"}, f"rebuilt from {ZIPS} in $CAGEM_DATA"),
        ({"env/omniglot", "cache"}, f"rebuilt from {ZIPS} in $CAGEM_DATA"),
        ({"cache"}, f"rebuilt from {ZIPS} in the user cache"),
        ({"dir", "dir/mat"}, "chardata.mat (Burda et al.) in --data-dir"),
        ({"dir/omniglot", "dir/mat"}, "chardata.mat (Burda et al.) in --data-dir"),
        ({"dir", "dir/omniglot/mat"}, "chardata.mat (Burda et al.) in --data-dir"),
        ({"env/mat", "cache"}, "chardata.mat (Burda et al.) in $CAGEM_DATA"),
        ({"cache", "cache/mat"}, "chardata.mat (Burda et al.) in the user cache"),
    ],
    ids=lambda value: ", ".join(sorted(value)) if isinstance(value, set) else "",
)
def test_search_order(given: set[str], source: str, files: Files, tmp_path: Path, monkeypatch) -> None:
    mat = write_mat(tmp_path / "chardata.mat", mat_arrays())
    monkeypatch.setattr(omniglot_mat, "MD5", omniglot_mat.hashlib.md5(mat.read_bytes()).hexdigest())
    roots = {"dir": tmp_path / "dir", "env": tmp_path / "env", "cache": cache_of(tmp_path)}
    for place in given:
        root, *rest = place.split("/")
        folder = roots[root] / ("omniglot" if "omniglot" in rest else "")
        if "mat" in rest:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "chardata.mat").write_bytes(mat.read_bytes())
        else:
            write_zips(folder, files)
    if roots["env"].exists():
        monkeypatch.setenv("CAGEM_DATA", str(roots["env"]))
    data = load("omniglot", roots["dir"] if roots["dir"].exists() else None)
    assert (data.source, data.verified) == (source, True)


def test_without_any_source_the_zips_are_downloaded_into_the_cache(files: Files, tmp_path: Path, monkeypatch) -> None:
    asked: list[tuple] = []

    def fetch(wanted: tuple, mirrors: tuple, to: Path, fix: str) -> None:
        asked.extend((file.name, file.size, file.sha256[:6]) for file in wanted)
        write_zips(to, files)

    monkeypatch.setattr(omniglot, "fetch", fetch)
    data = load("omniglot", None)
    assert data.source == f"rebuilt from {ZIPS} in the user cache, downloaded"
    # What tensorflow-datasets pins.
    assert asked == [("images_background.zip", 9464212, "ad41ab"), ("images_evaluation.zip", 6462886, "1f61a8")]


def test_with_nothing_left_one_line_names_the_fix() -> None:
    with pytest.raises(UserError, match=r"^no mirror gave images_background.zip .*; fix: put .* --data-dir") as caught:
        load("omniglot", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("via", ["--data-dir", "$CAGEM_DATA"])
@pytest.mark.parametrize(
    ("present", "says"),
    [
        (None, "not a folder; OMNIGLOT needs chardata.mat, or images_background.zip and images_evaluation.zip; fix"),
        ([], f"lacks {ZIPS}; OMNIGLOT needs"),
        (["images_background"], "lacks images_evaluation.zip; OMNIGLOT needs"),
    ],
    ids=["no folder", "empty folder", "one zip"],
)
def test_a_named_folder_without_the_files_is_an_error_though_the_cache_has_them(
    via: str, present: list[str] | None, says: str, files: Files, tmp_path: Path, monkeypatch
) -> None:
    write_zips(cache_of(tmp_path), files)
    named = tmp_path / "named"
    if present is not None:
        named.mkdir()
        write_zips(named, {name: files[name] for name in present})
    if via == "$CAGEM_DATA":
        monkeypatch.setenv("CAGEM_DATA", str(named))
    with pytest.raises(UserError) as caught:
        load("omniglot", named if via == "--data-dir" else None)
    message = str(caught.value)
    assert message.startswith(f"{via} {named}: {says}")
    assert ("leave out --data-dir" if via == "--data-dir" else "unset $CAGEM_DATA") in message
    assert "\n" not in message


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)  # root could not be refused by chmod
    with pytest.raises(UserError, match=rf"--data-dir {tmp_path}: cannot be read \(Permission denied\)"):
        load("omniglot", tmp_path)


# Commands


def test_verify_says_what_was_found(files: Files, tmp_path: Path) -> None:
    assert commands.verify("omniglot", write_zips(tmp_path / "d", files)) == (
        f"omniglot: verified; rebuilt from {ZIPS} in --data-dir; train 60 x 784 float32, test 20 x 784 float32; "
        f"50 classes; SHA-256 {omniglot.REBUILT_SHA256}"
    )
    write_mat(tmp_path / "d" / "chardata.mat", mat_arrays())
    assert commands.verify("omniglot", tmp_path / "d", True).startswith("omniglot: NOT verified; chardata.mat (unver")


@pytest.mark.parametrize("command", [lambda name: commands.verify(name, None), commands.fetch])
def test_an_unknown_name_is_refused(command) -> None:
    with pytest.raises(UserError, match=r"^data set 'cifar10': unknown; choose one of: mnist, omniglot"):
        command("cifar10")


@pytest.mark.parametrize("there", [True, False])
def test_fetch_tries_burdas_file_first(there: bool, files: Files, tmp_path: Path, monkeypatch, caplog) -> None:
    mat = write_mat(tmp_path / "chardata.mat", mat_arrays())
    monkeypatch.setattr(omniglot_mat, "MD5", omniglot_mat.hashlib.md5(mat.read_bytes()).hexdigest())

    def fetch(wanted: list, mirrors: tuple, to: Path, fix: str) -> None:
        if wanted[0].name != "chardata.mat":
            write_zips(to, files)
        elif there:
            to.mkdir(parents=True)
            (to / "chardata.mat").write_bytes(mat.read_bytes())
        else:
            raise UserError("no mirror gave chardata.mat")

    monkeypatch.setattr(omniglot, "fetch", fetch)
    line = commands.fetch("omniglot")
    source = "chardata.mat (Burda et al.)" if there else f"rebuilt from {ZIPS}"
    assert line.startswith(f"omniglot: verified; {source} in the user cache, downloaded; ")
    assert warnings(caplog) == ([] if there else ["no mirror gave chardata.mat; the original release will do"])


def test_fetch_downloads_mnist(monkeypatch, tmp_path: Path) -> None:
    def fetch(wanted: list, mirrors: tuple, to: Path, fix: str) -> None:
        raise UserError(f"asked for {', '.join(file.name for file in wanted)} in {to}")

    monkeypatch.setattr(mnist, "fetch", fetch)
    with pytest.raises(UserError, match=r"asked for train-images-idx3-ubyte.gz, .* in .*/cache/cagem/mnist$"):
        commands.fetch("mnist")
