"""The whole GRPO loss with every option, one action and one token at a time, in numpy and float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pivot_jax.config import LossSection
from tests.reference import objective


def loss_of_batch(logprobs, old, reference, batch: Mapping[str, np.ndarray], loss: LossSection) -> float:
    """Surrogate plus kl_coef times divergence, each averaged over the trained actions or tokens of the batch."""
    surrogates, divergences = [], []
    for n, g in trained_actions(batch, loss):
        judged = [k for k, ok in enumerate(batch["valid"][n]) if ok]
        advantages = objective.advantages([shaped(batch, n, k, loss) for k in judged], loss.advantage, loss.std_eps)
        advantage = advantages[judged.index(g)]
        place = batch["action_mask"][n, g]
        own, before, first = (np.asarray(a[n, g][place], np.float64) for a in (logprobs, old, reference))
        weights = sampler_weights(before - batch["behavior_logprobs"][n, g][place], loss)
        surrogates.append([w * v for w, v in zip(weights, surrogate(own, before, advantage, loss), strict=True)])
        divergences.append([divergence(*token, loss) for token in zip(own, before, first, strict=True)])
    how = {"token": "token_mean", "sequence": "sequence_mean", "constant": "constant"}[loss.aggregation]
    total = [objective.batch_loss(parts, how, loss.constant_length) for parts in (surrogates, divergences)]
    return total[0] + loss.kl_coef * total[1]


def shaped(batch: Mapping[str, Any], n: int, g: int, loss: LossSection) -> float:
    """Reward less its surplus-call penalty."""
    share = max(0.0, 1 - loss.surplus_penalty * int(batch["surplus_calls"][n, g]))
    return float(batch["rewards"][n, g]) * share


def trained_actions(batch: Mapping[str, Any], loss: LossSection) -> list[tuple[int, int]]:
    """Indices of the actions that carry loss."""
    rows = [n for n in range(len(batch["valid"])) if batch["valid"][n].any()]
    calls = [n for n in rows if not batch["is_message"][n]]
    spread = {n: np.var([shaped(batch, n, g, loss) for g in np.flatnonzero(batch["valid"][n])]) for n in rows}
    messages = sorted((n for n in rows if batch["is_message"][n]), key=lambda n: (-spread[n], n))
    while messages and loss.message_share < 1 and len(messages) > loss.message_share * (len(messages) + len(calls)):
        messages.pop()
    return [
        (n, int(g))
        for n in sorted(calls + messages)
        for g in np.flatnonzero(batch["valid"][n])
        if batch["finished"][n, g] or not loss.drop_cut_off
    ]


def surrogate(logprobs, old, advantage: float, loss: LossSection) -> list[float]:
    """Loss of each token of one action."""
    low, high = loss.clip_low, loss.clip_high
    if loss.surrogate == "gspo":
        return [objective.sequence_clip_loss(logprobs, old, advantage, low, high)] * len(logprobs)
    if loss.surrogate == "cispo":
        held = [min(max(math.exp(a - b), 1 - low), 1 + high) for a, b in zip(logprobs, old, strict=True)]
        return [-weight * advantage * logprob for weight, logprob in zip(held, logprobs, strict=True)]
    return objective.token_clip_losses(logprobs, old, advantage, low, high, loss.dual_clip or None)[0]


def sampler_weights(gaps: np.ndarray, loss: LossSection) -> list[float]:
    """Weight of each token of one action against the sampler."""
    if loss.importance_cap == 0:
        return [1.0] * len(gaps)
    ratios = np.exp(np.full(len(gaps), gaps.sum()) if loss.importance_level == "sequence" else gaps)
    if loss.importance == "truncated":
        return [min(ratio, loss.importance_cap) for ratio in ratios]
    return [ratio if loss.importance_floor <= ratio <= loss.importance_cap else 0.0 for ratio in ratios]


def divergence(logprob: float, old: float, reference: float, loss: LossSection) -> float:
    """Divergence estimate of one token."""
    drift = logprob - reference
    estimate = {"k1": drift, "k2": drift**2 / 2, "k3": math.exp(-drift) - 1 + drift}[loss.kl_estimator]
    return estimate * math.exp(logprob - old) if loss.kl_weighted else estimate
