"""Reading the arguments of a call: a label that does not parse is an error, a sampled call that does not is wrong."""

from __future__ import annotations

from typing import Any

from pivot_jax.records import Candidate, ToolCall
from pivot_jax.verify.verifier import Unjudgeable


def expert_arguments(candidate: Candidate) -> list[dict[str, Any]]:
    """The arguments of each call of the expert action; Unjudgeable if any of them does not parse."""
    arguments = []
    for call in candidate.expert.tool_calls:
        parsed = sampled_arguments(call)
        if parsed is None:
            raise Unjudgeable(f"label of {candidate.id}: the arguments of {call.name!r} are not a JSON object")
        arguments.append(parsed)
    return arguments


def sampled_arguments(call: ToolCall) -> dict[str, Any] | None:
    """The arguments of a sampled call, or None if they do not parse."""
    try:
        return call.parsed()
    # A policy can write brackets nested deeper than the parser goes; that is unreadable text like any other.
    except (ValueError, RecursionError):
        return None
