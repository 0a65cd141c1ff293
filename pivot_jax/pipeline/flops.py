"""What sampling and scoring cost, counted from what was really computed (design.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

from pivot_jax.config import Architecture
from pivot_jax.pipeline.ledger import Cost, causal_keys, forward_flops, unembedding_flops
from pivot_jax.policy.spec import count_active_parameters
from pivot_jax.rollout.episode import Episode
from pivot_jax.rollout.layout import Row


def block_parameters(arch: Architecture) -> int:
    """Weights that a token is multiplied with (of experts, those that it is sent to), the unembedding apart."""
    embeddings = 1 if arch.tie_embeddings else 2
    return count_active_parameters(arch) - embeddings * arch.vocab_size * arch.embed


def tokens_flops(arch: Architecture, *, tokens: int, attended_keys: int, logits: int) -> int:
    """Model FLOPs of a forward pass over `tokens`, with logits at `logits` positions."""
    return forward_flops(
        n_params_non_embedding=block_parameters(arch),
        layers=arch.layers,
        heads=arch.heads,
        head_dim=arch.head_dim,
        tokens=tokens,
        attended_keys=attended_keys,
    ) + unembedding_flops(embed=arch.embed, vocab=arch.vocab_size, tokens=logits)


def sampling_cost(arch: Architecture, rows: Sequence[Row], lengths: Sequence[int]) -> Cost:
    """Cost of prefilling each row's trunk once and sampling actions of these lengths, one a branch, in row order.

    Padding is not counted: it is the layout's waste, not the method's.
    """
    branches = [slot for row in rows for slot in row.branches]
    prefilled = sum(len(row.trunk) for row in rows)
    keys = sum(causal_keys(len(row.trunk)) for row in rows)
    decoded, logits = 0, 0
    for slot, length in zip(branches, lengths, strict=True):
        # the last sampled token is never fed back
        fed = len(slot.forced) + length - 1
        keys += causal_keys(fed, start=slot.start)
        decoded += fed
        logits += length
    return Cost(
        rollout_turns=len(lengths),
        prompt_tokens_logical=sum(slot.start + len(slot.forced) for slot in branches),
        prompt_tokens_computed=prefilled + sum(len(slot.forced) for slot in branches),
        sampled_tokens=sum(lengths),
        flops=tokens_flops(arch, tokens=prefilled + decoded, attended_keys=keys, logits=logits),
    )


def episode_cost(arch: Architecture, episode: Episode) -> Cost:
    """Cost of sampling one episode with a cache that grows: every token is fed once."""
    lengths = [len(action.ids) for action in episode.actions]
    fed = sum(feed.tokens for feed in episode.feeds)
    return Cost(
        rollout_turns=episode.turns,
        episodes=1,
        environment_steps=episode.turns,
        prompt_tokens_logical=sum(episode.places),
        # all that was fed but the sampled tokens; the last one of an episode never is
        prompt_tokens_computed=fed - sum(lengths) + 1,
        sampled_tokens=sum(lengths),
        flops=tokens_flops(
            arch,
            tokens=fed,
            attended_keys=sum(causal_keys(feed.tokens, start=feed.start) for feed in episode.feeds),
            logits=sum(lengths),
        ),
    )


def scoring_flops(arch: Architecture, rows: Sequence[Row], lengths: Sequence[int]) -> int:
    """FLOPs of one forward pass over rows and their sampled actions, each trunk once (log-probs of every action)."""
    branches = [slot for row in rows for slot in row.branches]
    whole = [len(slot.forced) + length for slot, length in zip(branches, lengths, strict=True)]
    keys = sum(causal_keys(len(row.trunk)) for row in rows)
    keys += sum(causal_keys(length, start=slot.start) for slot, length in zip(branches, whole, strict=True))
    tokens = sum(len(row.trunk) for row in rows) + sum(whole)
    return tokens_flops(arch, tokens=tokens, attended_keys=keys, logits=sum(lengths))


def sequence_flops(arch: Architecture, lengths: Sequence[int], logits: int) -> int:
    """FLOPs of one forward pass over whole sequences."""
    keys = sum(causal_keys(length) for length in lengths)
    return tokens_flops(arch, tokens=sum(lengths), attended_keys=keys, logits=logits)
