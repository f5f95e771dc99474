"""Floating-point operations of the matrix products that CaGeM's mathematics asks for, counted from the shapes.

A product (r, i) x (i, o) counts 2 r i o. Elementwise work is left out, and so is y's edge: one-hot, it selects a row.
No input is tiled and no gradient is taken that nobody uses: a formulation that does more gains nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.problem import require_implemented
from parmesan_cagem.config import Experiment


@dataclass(frozen=True)
class Product:
    """One dense layer: ``rows`` an image, whose input gradient is wanted (``inner``) or not (data, or routing)."""

    network: str
    rows: int
    fan_in: int
    fan_out: int
    inner: bool = True

    @property
    def forward(self) -> int:
        return 2 * self.rows * self.fan_in * self.fan_out

    @property
    def backward(self) -> int:
        return self.forward * (2 if self.inner else 1)


def products(e: Experiment, pixels: int) -> list[Product]:
    """The dense layers of all six networks, in the unlabelled pass."""
    k, wide, narrow, z1, z2 = e.clusters, e.wide, e.narrow, e.z1_dim, e.z2_dim
    around_x = (wide, narrow) if e.widths == "tapered" else (wide, wide)
    around_z2 = (wide, narrow) if e.widths == "tapered" else (narrow, narrow)

    def network(name: str, edges: dict[str, tuple[int, int]], rows: int, widths: tuple[int, int], out: int) -> list:
        first, second = widths
        return [
            *(Product(name, rows, width, first, edge != "x") for edge, (rows, width) in edges.items()),
            Product(name, rows, first, second),
            Product(name, rows, second, out),
        ]

    return [
        *network("q_z1", {"x": (1, pixels)}, 1, around_x, 2 * z1),
        *network("q_y", {"x": (1, pixels), "z1": (1, z1)}, 1, around_x, k),
        *network("q_z2", {"x": (1, pixels), "z1": (1, z1)}, k, around_z2, 2 * z2),
        *network("p_y", {"z2": (k, z2)}, k, around_z2, k),
        *network("p_z1", {"z2": (k, z2)}, k, around_z2, 2 * z1),
        *network("p_x", {"z1": (1, z1)}, k, around_x, pixels),
    ]


def step_flops(e: Experiment, pixels: int) -> int:
    """Of one training step: the unlabelled pass forward and backward; the labelled pass's share.

    The labelled pass needs q_z1, q_y, q_z2 and p_y forward, and the gradients of theta_y and phi_y alone: z1 and z2 are
    constants there, so no edge's input gradient is taken.
    """
    require_implemented(e)
    layers = products(e, pixels)
    unlabelled = sum(p.forward + p.backward for p in layers)
    labelled = sum(p.forward for p in layers if p.network in ("q_z1", "q_y", "q_z2", "p_y"))
    for name in ("q_y", "p_y"):
        *edges, dense2, head = [p for p in layers if p.network == name]
        labelled += sum(p.forward for p in edges) + dense2.backward + head.backward
    return e.batch_size * unlabelled + min(e.labelled_batch_size, e.labels) * labelled


def bound_flops(e: Experiment, pixels: int) -> int:
    """Of one (image, sample) row of F_k's evaluation, summed over y: all six networks forward."""
    return sum(p.forward for p in products(e, pixels))
