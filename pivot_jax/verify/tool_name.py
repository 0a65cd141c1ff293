"""The coarse verifier: the kind of operation, whatever its arguments (the paper's own reward for SWE turns)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pivot_jax.records import Action, Candidate, Verdict


def tool_names(action: Action) -> Counter[str]:
    """How often the action calls each tool; empty for a message."""
    return Counter(call.name for call in action.tool_calls)


@dataclass(frozen=True)
class ToolName:
    """1 if the action takes the expert's decision (to speak or to call) and calls the same tools equally often."""

    name: str = "tool_name"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; always judged."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        expected, actual = tool_names(candidate.expert), tool_names(action)
        if expected == actual:
            return Verdict(reward=1.0)
        return Verdict(reason=f"expected {_decision(expected)}, got {_decision(actual)}")


def _decision(names: Counter[str]) -> str:
    return "a call of " + ", ".join(sorted(names.elements())) if names else "a message"
