"""Candidates for verifier tests, made from an expert action alone."""

from __future__ import annotations

from pivot_jax.records import Action, Candidate, Message, ToolCall, Turn


def candidate(expert: Action, *, trajectory_id: str = "t", task_id: str = "d/0") -> Candidate:
    """A candidate whose state is one user message."""
    return Candidate(
        turn=Turn(trajectory_id=trajectory_id, index=0, position=1),
        domain="d",
        task_id=task_id,
        state=(Message(role="user", content="hello"),),
        tools=(),
        expert=expert,
    )


def calls(*pairs: tuple[str, str]) -> Action:
    """An action of several calls, each a tool name and the text of its arguments."""
    return Action(tool_calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in pairs))
