"""Temperature, top-k and top-p against a plain numpy statement of what they mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.config import SamplingSection
from pivot_jax.rollout.sampling import sample_token, sampling_logits


def reference(logits: np.ndarray, section: SamplingSection) -> np.ndarray:
    """Probabilities of the distribution that the settings describe."""
    p = np.exp((logits - logits.max()) / section.temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    keep = np.ones(len(p), bool)
    if section.top_k:
        keep[order[section.top_k :]] = False
    p = np.where(keep, p, 0) / p[keep].sum()
    if section.top_p < 1:
        total, nucleus = 0.0, set()
        for token in order:
            if total >= section.top_p:
                break
            nucleus.add(int(token))
            total += p[token]
        p = np.array([value if i in nucleus else 0.0 for i, value in enumerate(p)])
    return p / p.sum()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.3, 3),
    st.integers(0, 12),
    st.sampled_from([1.0, 0.95, 0.7, 0.31, 0.05]),
)
def test_probabilities_are_those_of_the_settings(seed, temperature, top_k, top_p):
    logits = np.random.default_rng(seed).normal(scale=2, size=12).astype(np.float32)
    section = SamplingSection(temperature=temperature, top_k=top_k, top_p=top_p)
    ours = np.asarray(jax.nn.softmax(sampling_logits(jnp.asarray(logits), section)))
    np.testing.assert_allclose(ours, reference(logits.astype(np.float64), section), atol=2e-6)


def test_temperature_zero_is_the_best_token_with_certainty():
    out = sampling_logits(jnp.array([0.0, 3.0, 1.0]), SamplingSection(temperature=0))
    np.testing.assert_array_equal(np.asarray(jax.nn.softmax(out)), [0, 1, 0])


@pytest.mark.parametrize("section", [SamplingSection(), SamplingSection(temperature=0.7, top_k=4, top_p=0.9)])
def test_samples_follow_the_distribution_and_carry_its_logprob(section):
    logits = np.random.default_rng(0).normal(size=6).astype(np.float32)
    shaped = sampling_logits(jnp.asarray(logits), section)
    tokens, logprobs = jax.vmap(lambda key: sample_token(key, shaped))(jax.random.split(jax.random.key(0), 40_000))
    expected = reference(logits.astype(np.float64), section)
    counts = np.bincount(np.asarray(tokens), minlength=6) / 40_000
    # four standard errors of a share
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected * (1 - expected) / 40_000) + 1e-12).all()
    np.testing.assert_allclose(np.exp(np.asarray(logprobs)), expected[np.asarray(tokens)], atol=1e-6)
