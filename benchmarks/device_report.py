"""Whether a device computes what the CPU computes, and its times as Markdown; imports no JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

# Largest differences from the CPU's float32 that pass. First of every output of every step and of every image's bounds,
# relative to max(1, value). Then of all weights together, relative to how far they moved: Adam's first steps follow the
# *sign* of a gradient, so a rounding may move a whole step. For scale: bf16 on a CPU, eight times coarser than TF32,
# is 2e-3 and 2e-2 away. bf16 itself is only reported.
TOLERANCES = {"float32": (2e-4, 0.05), "tf32": (2e-3, 0.1)}
# Relative error of a product of 512 in true float32 is 3e-7, in TF32 about 3e-4.
FLOAT32_PRODUCT = 5e-6


def compare(cpu: dict[str, np.ndarray], device: dict[str, np.ndarray], precision: str) -> dict[str, Any]:
    """Largest differences of ``precision`` on the device from float32 on the CPU, and whether they pass."""

    def largest(kind: str) -> float:
        names = [name.partition("/")[2] for name in cpu if name.startswith(f"float32/{kind}/")]
        pairs = [(cpu[f"float32/{name}"].astype(float), device[f"{precision}/{name}"]) for name in names]
        # NaN must not pass as "not larger".
        errors = [np.nan_to_num(abs(b - a) / np.maximum(1, abs(a)), nan=np.inf).max() for a, b in pairs]
        return float(max(errors))

    def norm(a: dict[str, np.ndarray], one: str, b: dict[str, np.ndarray], other: str) -> float:
        names = [name.removeprefix(f"{one}/") for name in a if name.startswith(f"{one}/")]
        squares = [np.square(a[f"{one}/{n}"].astype(float) - b[f"{other}/{n}"]).sum() for n in names]
        return float(np.nan_to_num(np.sqrt(sum(squares)), nan=np.inf))

    moved = norm(cpu, "float32/end", cpu, "float32/start")
    found = {
        "outputs": largest("step"),
        "bounds": largest("bound"),
        "weights": norm(cpu, "float32/end", device, f"{precision}/end") / moved,
    }
    if precision not in TOLERANCES:
        return {"precision": precision, **found, "verdict": "reported only"}
    values, weights = TOLERANCES[precision]
    passed = max(found["outputs"], found["bounds"]) <= values and found["weights"] <= weights
    return {"precision": precision, **found, "verdict": "passed" if passed else "WRONG"}


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: the steps, and the bounds with their difference from float32's."""
    lines = ["| step | precision | ms | GFLOP/s |", "|---|---|---:|---:|"]
    for f in (f for f in found if f["what"] == "step"):
        lines.append(f"| batch {f['batch']} | {f['precision']} | {1e3 * f['seconds']:.3f} | {f['gflops']:.0f} |")
    lines += ["", "| bound | mean, nats | less float32's | largest, one image | rows/s |", "|---|---:|---:|---:|---:|"]
    bounds = [f for f in found if f["what"] == "bound"]
    exact = next((np.array(f["values"]) for f in bounds if f["precision"] == "float32"), np.array([np.nan]))
    for f in bounds:
        apart = np.array(f["values"]) - exact
        name = f"F_{f['k']}, {f['images']} images, {f['precision']}"
        worst = f"{abs(apart).max():.1e}"
        lines.append(f"| {name} | {f['mean']:.4f} | {apart.mean():+.1e} | {worst} | {f['rows_per_second']:.0f} |")
    return "\n".join(lines)
