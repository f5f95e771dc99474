"""Short versions of what ``python -m torture.together`` injects: a part of the mirrors, and two real processes."""

import logging

import pytest

from torture import mirrors, together_downloads, together_two
from torture.figures import Figures


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    logging.disable(logging.WARNING)
    yield Figures("together")
    logging.disable(logging.NOTSET)


def test_mirrors_that_misbehave_poison_nothing(figures, tmp_path, monkeypatch):
    slow = {"trickle", "silent"}  # tests/data/test_fetch.py has them
    monkeypatch.setattr(mirrors, "BAD", {name: said for name, said in mirrors.BAD.items() if name not in slow})
    together_downloads.bad_mirrors(figures, tmp_path, seed=1)
    assert figures.losses == []
    assert figures.injected == len(mirrors.BAD) + len(mirrors.GOOD)


def test_caches_that_cannot_be_written_and_proxies(figures, tmp_path):
    together_downloads.caches(figures, tmp_path, seed=1)
    assert (figures.losses, figures.injected) == ([], 7)


def test_two_fetch_at_once_beside_one_that_is_killed(figures, tmp_path):
    together_downloads.at_once(figures, tmp_path, seed=1, counts=(2,))
    assert (figures.losses, figures.injected) == ([], 2)


@pytest.mark.slow
def test_compilations_do_not_wait(figures, tmp_path, c_engine):
    together_two.compile_locks(figures, tmp_path, seed=1, others=1)
    assert figures.losses == []
