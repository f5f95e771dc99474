"""``theano.function(..., mode="XLA")``: a Theano linker that compiles the whole optimised graph with ``jax.jit``.

Importing this module does not import JAX; compiling a function does.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from theano.compile import mode as theano_modes
from theano.graph.fg import FunctionGraph
from theano.link.basic import Container, LocalLinker
from theano.link.utils import map_storage

# Theano's rewrites but those that serve its C code: BLAS calls, fused loops and work in place are XLA's own business.
EXCLUDED = ("cxx_only", "BlasOpt", "fusion", "inplace", "scan", "local_dot22_to_dot22scalar")


class XLALinker(LocalLinker):
    """Runs a function graph as one XLA program; one compilation for each combination of input shapes, kept.

    Inputs and results are NumPy arrays, so shared variables keep their Theano meaning. Results are copies.
    """

    fgraph: Any = None  # a FunctionGraph, once accepted

    def accept(self, fgraph: FunctionGraph, no_recycling: Any = None, profile: Any = None) -> XLALinker:
        linker = self if self.fgraph is None else copy.copy(self)
        linker.fgraph = fgraph
        return linker

    def make_all(self, input_storage: Any = None, output_storage: Any = None, storage_map: Any = None) -> tuple:
        """As other linkers: the thunk, containers of its inputs and outputs, its parts and their nodes.

        Raises
        ------
        UnconvertibleOp
            Names an Op that has no conversion, and says how to add one.
        """
        import jax

        from parmesan_cagem.engines.xla import platform
        from parmesan_cagem.engines.xla.conversions import Program

        fgraph = self.fgraph
        program = Program(fgraph)
        jitted = jax.jit(program)
        ins, outs, storage_map = map_storage(fgraph, program.nodes, input_storage, output_storage, storage_map)

        def thunk() -> None:
            with platform.x64():
                results = jitted(*(cell[0] for cell in ins))
            for cell, result in zip(outs, results, strict=True):
                cell[0] = np.array(result)

        thunk.inputs, thunk.outputs, thunk.lazy = ins, outs, False  # type: ignore[attr-defined]
        thunk.allow_gc, thunk.storage_map = False, storage_map  # type: ignore[attr-defined]
        inputs = [Container(variable, cell) for variable, cell in zip(fgraph.inputs, ins, strict=True)]
        outputs = [
            Container(variable, cell, readonly=True) for variable, cell in zip(fgraph.outputs, outs, strict=True)
        ]
        return thunk, inputs, outputs, [thunk], program.nodes


def register() -> None:
    """Make ``mode="XLA"`` and ``linker="xla"`` known to Theano; harmless when repeated."""
    if "XLA" not in theano_modes.predefined_modes:
        linker = XLALinker()
        theano_modes.register_linker("xla", linker)
        rewrites = theano_modes.Query(include=["fast_run"], exclude=list(EXCLUDED))
        theano_modes.register_mode("XLA", theano_modes.Mode(linker, rewrites))
