"""The strict reward r_strict(s, a) = 1[a = a*(s)] (Eq. 2 of arXiv 2603.21383)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.arguments import expert_arguments, sampled_arguments


@dataclass(frozen=True)
class Exact:
    """1 if the action is the expert's.

    Calls are compared in order, by tool name and JSON value (key order and spacing are not part of a value; 1, 1.0 and
    true are three values), and what is said beside a call is not compared. Messages are compared as text after runs of
    white space became single spaces.
    """

    name: str = "exact"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label's arguments do not parse."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        expert = candidate.expert
        expected = list(zip((call.name for call in expert.tool_calls), expert_arguments(candidate), strict=True))
        if expected or action.tool_calls:
            actual = [(call.name, sampled_arguments(call)) for call in action.tool_calls]
            equal = len(actual) == len(expected) and all(map(_same_call, expected, actual))
        else:
            equal = action.content.split() == expert.content.split()
        return Verdict(reward=float(equal), reason="" if equal else "not the expert's action")


def _same_call(expected: tuple[str, dict[str, Any]], actual: tuple[str, dict[str, Any] | None]) -> bool:
    return expected[0] == actual[0] and _same(expected[1], actual[1])


def _same(expected: Any, actual: Any) -> bool:
    """Equality of JSON values; Python's own takes 1, 1.0 and True for the same."""
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(_same(expected[key], actual[key]) for key in expected)
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return expected == actual
