"""Several files replaced together or not at all, and what an operation that failed leaves."""

import errno
import os

import pytest
from test_packing import make_run

from parmesan_cagem import files, packing, sealed, unpacking
from parmesan_cagem.errors import UserError
from parmesan_cagem.ledger import Ledger


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing_at(monkeypatch, name, number):
    """Call ``os.<name>`` as it is, but for the call of that number."""
    real, calls = getattr(os, name), []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize(("name", "number"), [("write", 1), ("write", 2), ("replace", 2), ("fsync", 3)])
@pytest.mark.parametrize("older", [{}, {"a": b"old"}, {"a": b"old", "b": b"older"}])
def test_all_files_or_none(tmp_path, monkeypatch, name, number, older):
    for file, content in older.items():
        (tmp_path / file).write_bytes(content)
    with monkeypatch.context() as patch:
        failing_at(patch, name, number)
        with pytest.raises(UserError, match=r"cannot write: Input/output error; ") as error:
            files.write_together({tmp_path / "a": b"new", tmp_path / "b": b"newer"})
    assert str(tmp_path / "b") in str(error.value) or (name, number) == ("write", 1)
    assert contents(tmp_path) == older
    files.write_together({tmp_path / "a": b"new", tmp_path / "b": b"newer"})
    assert contents(tmp_path) == {"a": b"new", "b": b"newer"}


def test_without_links_a_failure_before_the_first_rename_leaves_all(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    with monkeypatch.context() as patch:
        failing_at(patch, "link", 1)
        failing_at(patch, "replace", 1)
        with pytest.raises(UserError):
            files.write_atomically(tmp_path / "a", b"new")
    assert contents(tmp_path) == {"a": b"old"}


def test_closing_what_is_on_disk_does_not_fail(tmp_path, monkeypatch):
    real = os.close

    def close(descriptor):
        real(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close)
    files.write_atomically(tmp_path / "a", b"new")
    assert contents(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("number", range(1, 6))
def test_an_unpack_that_fails_leaves_the_run_and_can_be_repeated(tmp_path, monkeypatch, number):
    make_run(tmp_path / "runs" / "run")
    parts = packing.pack([tmp_path / "runs" / "run"], tmp_path / "pack").parts
    folder = make_run(tmp_path / "here" / "run", epoch=1)
    older = contents(folder)
    with monkeypatch.context() as patch:
        failing_at(patch, "replace", number)
        with pytest.raises(UserError):
            unpacking.unpack(parts, tmp_path / "here")
    (folder / "lock").unlink()  # of the folder, and no file of the run
    assert contents(folder) == older
    assert unpacking.unpack(parts, tmp_path / "here") == ["run: goes on after epoch 3, step 2"]


def test_a_pack_that_fails_leaves_the_former_one(tmp_path, monkeypatch):
    run = make_run(tmp_path / "runs" / "run", size=(70, 50))
    former = packing.pack([run], tmp_path / "pack").parts
    older = contents(tmp_path / "pack")
    with monkeypatch.context() as patch:
        failing_at(patch, "write", 2)
        with pytest.raises(UserError, match=r"runs\.pack-2-of"):
            packing.pack([run], tmp_path / "pack", part_mib=0.02)
    assert contents(tmp_path / "pack") == older
    assert len(packing.pack([run], tmp_path / "pack", part_mib=0.02).parts) > len(former)


def test_a_ledger_that_cannot_be_read_now_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "evaluation.h5"
    with Ledger(path, {"weights": "0"}) as ledger:
        ledger.keep("mean", ledger.table("bounds", 3, 1).values)

    def refuse(_):
        raise sealed.Unreadable("cannot be read: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(sealed, "read", refuse)
        with pytest.raises(UserError, match=r"evaluation.h5 cannot be read: Input/output error; make it readable"):
            Ledger(path, {"weights": "0"})
    assert Ledger(path, {"weights": "0"}).kept("mean") is not None


def test_a_figure_that_finds_no_room_ends_the_command(tmp_path, monkeypatch):
    from parmesan_cagem.commands import figures
    from parmesan_cagem.report import style

    def refuse(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    studio = figures._Studio(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(UserError, match=r"figure5\.svg: cannot write: No space left on device"):
            studio.draw("figure5", "A figure.", [], lambda: style.new(0.5, 0.5))
    assert contents(tmp_path) == {}
