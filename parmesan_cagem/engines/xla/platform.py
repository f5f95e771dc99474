"""What JAX must be told before it runs: 64-bit types, the compile cache, when to be quiet."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax


def x64() -> contextlib.AbstractContextManager[Any]:
    """Theano's graphs have 64-bit integers and may have float64: JAX must keep them while our programs run.

    A context rather than the global switch: another user of JAX in the same process is not affected.
    """
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64(True)


def enable_compile_cache() -> None:
    """Keep compiled programs on disk, beside Theano's own cache, unless the user has chosen a place.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder; ``JAX_ENABLE_COMPILATION_CACHE=0`` turns it off.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(root / "cagem" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@contextlib.contextmanager
def no_word_of_a_missing_driver() -> Iterator[None]:
    """Around JAX's first look for devices: its CUDA plugin prints a traceback where there is no NVIDIA driver.

    On a CPU that is no failure. With a driver, or where the user asked for CUDA (``JAX_PLATFORMS``), all that JAX says
    stays visible.
    """
    chosen = (jax.config.jax_platforms or "").split(",")  # type: ignore[attr-defined]
    if _has_driver() or {"cuda", "gpu"} & set(chosen):
        yield
        return
    logger = logging.getLogger("jax._src.xla_bridge")
    logger.addFilter(_is_no_plugin_error)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_plugin_error)


def _is_no_plugin_error(record: logging.LogRecord) -> bool:
    return not re.search(r"Exception when calling jax_plugins\.xla_cuda\d+\.initialize", record.getMessage())


def why_no_gpu() -> str:
    """Where JAX runs on the CPU: the reason, and what to do about it."""
    if not _has_plugin():
        return "this JAX knows no CUDA; use an image with ACCELERATOR=cuda12, or install requirements/cuda12.lock"
    if not _has_driver():
        return "no NVIDIA driver here (libcuda.so.1); a container wants docker run --gpus all, a machine the driver"
    if os.environ.get("JAX_PLATFORMS"):
        return f"JAX finds no GPU with JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}"
    return "JAX cannot use the GPU of this machine; nvidia-smi and the lines above say more"


def _has_plugin() -> bool:
    return any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
