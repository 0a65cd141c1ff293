"""Rotary position embedding, as it is or stretched to a longer context."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture


def rope(
    x: Float[Array, "... heads head_dim"], positions: Int[Array, ...], arch: Architecture
) -> Float[Array, "... heads head_dim"]:
    """Rotary position embedding, halves convention (as in Qwen3): x rotated by `positions` angles.

    Angles are float32 whatever x is: a bfloat16 angle loses the position beyond a few hundred tokens.
    """
    half = x.shape[-1] // 2
    frequencies = jnp.exp(-jnp.log(arch.rope_theta) * jnp.arange(half, dtype=jnp.float32) / half)
    if arch.rope_scaling.kind != "default":
        frequencies = frequencies * jnp.asarray(stretch(arch))
    angles = positions[..., None].astype(jnp.float32) * jnp.expand_dims(frequencies, tuple(range(positions.ndim)))
    sin, cos = jnp.sin(angles)[..., None, :], jnp.cos(angles)[..., None, :]
    if (magnitude := attention_factor(arch)) != 1:
        sin, cos = sin * magnitude, cos * magnitude
    left, right = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)


def stretch(arch: Architecture) -> np.ndarray:
    """What each of the head_dim / 2 frequencies is multiplied with, float32.

    Linear: 1 / factor for all. YaRN (Peng et al. 2023, "NTK-by-parts"): 1 for pairs that turn more than `beta_fast`
    times within the pretrained context, 1 / factor for those that turn less than `beta_slow` times, a linear ramp over
    the pairs between.
    """
    scaling, half = arch.rope_scaling, arch.head_dim // 2
    if scaling.kind == "linear":
        return np.full(half, 1 / scaling.factor, np.float32)

    def pair(turns: float) -> float:
        """Index of the pair that turns this often within the pretrained context."""
        return half * math.log(scaling.original_positions / (2 * math.pi * turns)) / math.log(arch.rope_theta)

    first = max(math.floor(pair(scaling.beta_fast)), 0)
    last = min(math.ceil(pair(scaling.beta_slow)), arch.head_dim - 1)
    slow = np.clip((np.arange(half) - first) / max(last - first, 1e-3), 0, 1)
    return (slow / scaling.factor + 1 - slow).astype(np.float32)


def attention_factor(arch: Architecture) -> float:
    """What queries and keys are multiplied with when they are rotated: YaRN's temperature, else 1."""
    scaling = arch.rope_scaling
    if scaling.kind != "yarn":
        return 1.0
    return scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1
