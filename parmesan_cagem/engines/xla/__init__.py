"""Engine ``xla``: Theano's optimised graph, compiled by XLA for CPUs and GPUs.

``convert`` is the table of Ops and the walk through a graph; ``scalars``, ``tensors``, ``shapes``, ``indexing``,
``products`` and ``random`` fill it; ``linker`` is ``mode="XLA"``; ``blocks`` runs many training steps in one call on
``state`` that stays on the device; ``devices`` spreads a batch over several; ``engine`` is what the package calls.
"""
