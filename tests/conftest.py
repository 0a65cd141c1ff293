"""Every test is a multi-device test: eight CPU devices, strict promotion, array types checked at run time."""

import gc
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# tests compile hundreds of programs that run once: compiling, not running, is what they would wait for
jax.config.update("jax_disable_most_optimizations", True)

CHECKED = ["pivot_jax.objective", "pivot_jax.policy", "pivot_jax.rollout.decode", "pivot_jax.rollout.sampling"]
install_import_hook(CHECKED, "beartype.beartype")

from pivot_jax.policy import decoder  # noqa: E402, after the hook, which checks its types

# for the same reason; `unroll` of jax.lax.scan is not ours to test
decoder.UNROLLED_LAYERS = 0

MAPS, MOST_MAPS = Path("/proc/self/maps"), 20_000


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_are_dropped():
    """Each compiled program for eight CPU devices takes about a hundred memory maps, of which Linux grants a process
    65,530: a worker that keeps those of all modules dies at compiling one more."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()
