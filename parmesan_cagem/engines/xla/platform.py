"""What JAX must be told before it runs: 64-bit types, the compile cache."""

from __future__ import annotations

import contextlib
import os
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
