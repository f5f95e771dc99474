"""The memory of F_k does not grow with k: two processes that differ in nothing else."""

import pytest
from python_process import run_python

MEASURE = """
import numpy as np
import parmesan_cagem
from parmesan_cagem import engines, models, provenance
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.config import experiment

e = experiment("smoke", labels=0, iw_samples={k})
images = (np.random.default_rng(0).random((200, 784)) < 0.2).astype(np.uint8)
found = importance_bounds(models.build(e, 784), e, engines.get("xla", 1, "float32"), images, np.arange(200))
assert np.isfinite(found.bounds["F_{k}"]).all()
print(provenance.peak_memory_bytes())
"""


@pytest.mark.slow
def test_peak_memory_is_that_of_a_small_k():
    small, large = (int(run_python(MEASURE.format(k=k)).splitlines()[-1]) for k in (100, 5000))
    assert abs(large - small) < 32 * 2**20, (small, large)
    assert large < 2 * 2**30
