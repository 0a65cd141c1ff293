"""The distribution that an action is sampled from, and its log-probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from pivot_jax.config import SamplingSection


def sampling_logits(logits: Float[Array, "... V"], settings: SamplingSection) -> Float[Array, "... V"]:
    """Logits after temperature, top-k and top-p (nucleus): softmax of these is what is really sampled from.

    At temperature 0 only the best token stays. Top-p keeps the smallest set of tokens whose probability reaches
    `top_p`, so at least one.
    """
    logits = logits.astype(jnp.float32)
    if settings.temperature == 0:
        best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=jnp.bool_)
        return jnp.where(best, 0.0, -jnp.inf)
    logits = logits / settings.temperature
    if 0 < settings.top_k < logits.shape[-1]:
        kth = jax.lax.top_k(logits, settings.top_k)[0][..., -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if settings.top_p < 1:
        ordered = -jnp.sort(-logits, axis=-1)
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        kept = jnp.where(before < settings.top_p, ordered, jnp.inf)
        logits = jnp.where(logits < jnp.min(kept, axis=-1, keepdims=True), -jnp.inf, logits)
    return logits


def sample_token(key: Key[Array, ""], logits: Float[Array, " V"]) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """One token from softmax(logits) and its log-probability under exactly that distribution."""
    token = jax.random.categorical(key, logits)
    return token.astype(jnp.int32), jax.nn.log_softmax(logits)[token]
