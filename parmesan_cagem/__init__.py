"""CaGeM in Theano and Lasagne: the Cluster-aware Generative Model of Maaloe, Fraccaro and Winther (2017).

Importing this package imports neither Theano nor Lasagne: it only arranges (in :mod:`parmesan_cagem.compat`) that both
can be imported later on today's Python and NumPy.
"""

from parmesan_cagem import signals

signals.guard_start()

from parmesan_cagem import compat  # noqa: E402 - NumPy and all that takes time come after the guard

__version__ = "0.1.0"

compat.prepare()
