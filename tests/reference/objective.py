"""Plain numpy restatements of the objective layer: loops over actions and tokens, float64, no masks tricks."""

import math

import numpy as np


def advantages(rewards: list[float], kind: str, eps: float) -> list[float]:
    """Advantages of a group in which every action was judged."""
    size = len(rewards)
    mean = sum(rewards) / size
    std = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / size)
    out = []
    for i, reward in enumerate(rewards):
        others = rewards[:i] + rewards[i + 1 :]
        if len(set(rewards)) == 1:
            out.append(reward if kind == "none" else 0.0)
        elif kind == "standardised":
            out.append((reward - mean) / (std + eps))
        elif kind == "centred":
            out.append(reward - mean)
        elif kind == "leave_one_out":
            out.append(reward - sum(others) / len(others))
        elif kind == "leave_one_out_std":
            baseline = sum(others) / len(others)
            if len(set(others)) == 1:
                out.append(reward - baseline)
                continue
            second_moment = sum(other**2 for other in others) / len(others)
            variance = (second_moment - baseline**2) * (size - 1) / (size - 2)
            out.append((reward - baseline) / (math.sqrt(variance) + eps))
        else:
            out.append(reward)
    return out


def token_clip_losses(logprobs, old_logprobs, advantage, clip_low, clip_high, dual_clip=None) -> tuple[list, int]:
    """Per-token losses as min and clip, and the number of tokens at which the clip takes over."""
    losses, clipped = [], 0
    for logprob, old in zip(logprobs, old_logprobs, strict=True):
        ratio = math.exp(logprob - old)
        held = min(max(ratio, 1 - clip_low), 1 + clip_high)
        objective = min(ratio * advantage, held * advantage)
        if dual_clip is not None and advantage < 0:
            objective = max(objective, dual_clip * advantage)
        losses.append(-objective)
        clipped += objective != ratio * advantage
    return losses, clipped


def sequence_clip_loss(logprobs, old_logprobs, advantage, clip_low, clip_high) -> float:
    """GSPO loss of a whole action: one number."""
    ratio = math.exp(float(np.mean(np.asarray(logprobs) - np.asarray(old_logprobs))))
    return -min(ratio * advantage, min(max(ratio, 1 - clip_low), 1 + clip_high) * advantage)


def batch_loss(losses: list[list[float]], how: str, constant: int) -> float:
    """Mean loss of a batch of actions given as ragged lists (no padding)."""
    if how == "token_mean":
        tokens = [loss for action in losses for loss in action]
        return sum(tokens) / len(tokens)
    if how == "sequence_mean":
        return sum(sum(action) / len(action) for action in losses) / len(losses)
    return sum(sum(action) / constant for action in losses) / len(losses)


def is_pivot(successes: int, samples: int, numerator: int, denominator: int, inclusive: bool, all_zero: bool) -> bool:
    """Pivot rule for binary rewards and a rational threshold, in integers."""
    left, right = successes * denominator, numerator * samples
    below = left <= right if inclusive else left < right
    mixed = 0 < successes < samples
    return below and (mixed or (all_zero and successes == 0 and samples > 0))
