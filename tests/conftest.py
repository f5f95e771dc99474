"""Imported before any test: parmesan_cagem makes Theano and Lasagne importable."""

import parmesan_cagem  # noqa: F401
