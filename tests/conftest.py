"""Imported before any test: parmesan_cagem makes Theano and Lasagne importable."""

import pytest

import parmesan_cagem  # noqa: F401

pytest.register_assert_rewrite("checkpoints", "runs", "toy", "toy_step")
