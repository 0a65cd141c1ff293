"""Every test is a multi-device test: eight CPU devices, strict promotion, array types checked at run time."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
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
