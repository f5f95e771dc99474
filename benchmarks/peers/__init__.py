"""The training step written by hand in other frameworks; :mod:`benchmarks.peers.check` shows that it is the same."""
