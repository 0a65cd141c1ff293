"""What every arm of a comparison cost, phase by phase: counts that add up, and the model FLOPs behind them.

The ledger only adds. Who pays for a shared phase is the caller's decision, with one rule: profiling is charged in full
to every arm that needs it, and to no other. Gradient steps of any kind (SFT on demonstrations as well as RL) are
`update`. `reshard` is moving the policy to a sampling mesh of its own, and has seconds alone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

Phase = Literal["profile", "reshard", "rollout", "update", "reference", "evaluation"]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Cost:
    """Additive counts of work done. Counts are whole numbers, so that a sum does not depend on its order.

    `prompt_tokens_logical` is what running every action as its own sequence would prefill; `prompt_tokens_computed`
    is what was prefilled, each trunk once.

    Raises:
        TypeError: a count that is not a whole number.
        ValueError: a negative amount, or seconds that are not finite.
    """

    rollout_turns: int = 0
    episodes: int = 0
    prompt_tokens_logical: int = 0
    prompt_tokens_computed: int = 0
    sampled_tokens: int = 0
    trained_tokens: int = 0
    flops: int = 0
    verifier_calls: int = 0
    environment_steps: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in COUNTS:
            value = getattr(self, name)
            try:
                # Numpy and jax integers become Python's, which never overflow and which JSON can hold.
                object.__setattr__(self, name, operator.index(value))
            except TypeError:
                raise TypeError(f"cost {name}={value!r} is not a whole number") from None
        object.__setattr__(self, "seconds", float(self.seconds))
        if not math.isfinite(self.seconds):
            raise ValueError(f"cost seconds={self.seconds} is not finite")
        for name, value in asdict(self).items():
            if value < 0:
                raise ValueError(f"cost {name}={value} is negative")

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(Cost)})

    @classmethod
    def zero(cls) -> Cost:
        """The cost of nothing."""
        return cls()


COUNTS = tuple(part.name for part in fields(Cost) if part.name != "seconds")


@dataclass(frozen=True)
class Ledger:
    """Arm → phase → `Cost`. Never changed in place: `charge` and `merge` return a new ledger."""

    costs: Mapping[str, Mapping[Phase, Cost]] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms that were charged anything, in the order of their first charge."""
        return tuple(self.costs)

    def charge(self, arm: str, phase: Phase, cost: Cost) -> Ledger:
        """This ledger with `cost` added to one phase of one arm."""
        if phase not in PHASES:
            raise ValueError(f"unknown phase {phase!r}; the phases are {', '.join(PHASES)}")
        phases = self.phases(arm)
        charged: dict[Phase, Cost] = {**phases, phase: phases.get(phase, Cost.zero()) + cost}
        return Ledger({**self.costs, arm: charged})

    def phases(self, arm: str) -> dict[Phase, Cost]:
        """Costs of one arm by phase, in the order of `PHASES`; empty for an arm that was never charged."""
        charged = self.costs.get(arm, {})
        return {phase: charged[phase] for phase in PHASES if phase in charged}

    def total(self, arm: str) -> Cost:
        """All phases of one arm together."""
        return sum(self.phases(arm).values(), start=Cost.zero())

    def merge(self, other: Ledger) -> Ledger:
        """The charges of both ledgers together."""
        merged = self
        for arm in other.arms:
            for phase, cost in other.phases(arm).items():
                merged = merged.charge(arm, phase, cost)
        return merged

    def to_json(self) -> dict[str, dict[str, dict[str, int | float]]]:
        """Nested dicts that JSON can hold: arm → phase → the fields of `Cost`."""
        return {arm: {phase: asdict(cost) for phase, cost in self.phases(arm).items()} for arm in self.arms}

    @classmethod
    def from_json(cls, value: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Ledger:
        """The ledger that `to_json` wrote.

        Raises:
            ValueError: an unknown phase, or fields that are not exactly those of `Cost`; the message names them.
        """
        ledger = cls()
        expected = {part.name for part in fields(Cost)}
        for arm, phases in value.items():
            for phase, amounts in phases.items():
                if phase not in PHASES:
                    raise ValueError(f"ledger {arm}.{phase}: unknown phase; the phases are {', '.join(PHASES)}")
                if wrong := sorted(expected.symmetric_difference(amounts)):
                    raise ValueError(f"ledger {arm}.{phase}: unknown or missing {', '.join(wrong)}")
                ledger = ledger.charge(arm, phase, Cost(**amounts))
        return ledger


def forward_flops(
    *, n_params_non_embedding: int, layers: int, heads: int, head_dim: int, tokens: int, attended_keys: int
) -> int:
    """Model FLOPs of a forward pass.

    A weight that multiplies a token costs one multiplication and one addition, so the matrices cost 2·N a token.
    A query that attends to a key costs 2·head_dim for their product and 2·head_dim to add the weighted value, in
    each head of each layer: 4·layers·heads·head_dim a pair. Norms, rotations, softmax and the embedding lookup are
    left out, as is usual; recomputed activations are no model FLOPs and are never counted.

    Args:
        n_params_non_embedding: weights that multiply every token; of the experts of a mixture, only the active ones.
            The unembedding is apart (`unembedding_flops`), since logits are computed at few positions.
        heads: query heads.
        tokens: tokens that pass through the layers.
        attended_keys: (query, key) pairs, summed over these tokens (`causal_keys`).
    """
    return 2 * n_params_non_embedding * tokens + 4 * layers * heads * head_dim * attended_keys


def unembedding_flops(*, embed: int, vocab: int, tokens: int) -> int:
    """Model FLOPs of the logits at `tokens` positions: one embed x vocab product each."""
    return 2 * embed * vocab * tokens


def backward_flops(forward: int) -> int:
    """Model FLOPs of the backward pass: each product of the forward pass becomes two, one for each operand."""
    return 2 * forward


def causal_keys(tokens: int, *, start: int = 0) -> int:
    """(query, key) pairs of `tokens` causal tokens that continue from position `start`: token i sees start + i + 1."""
    return tokens * start + tokens * (tokens + 1) // 2
