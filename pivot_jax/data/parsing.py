"""Sampled text to an action: the formats a policy may write in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pivot_jax.data.compact import parse_compact
from pivot_jax.data.hermes import parse_hermes
from pivot_jax.records import Action, Tool

ActionFormat = Literal["compact", "hermes"]


def parse_action(text: str, tools: Sequence[Tool], action_format: ActionFormat, finished: bool) -> Action:
    """The action that sampled text stands for; never raises on what a policy wrote.

    Args:
        text: everything after the generation prompt, with or without the end-of-turn token.
        tools: the tools of the state.
        action_format: how the policy's chat template writes calls.
        finished: False when sampling stopped at the length limit, before the end-of-turn token.
    """
    if not finished:
        return Action(malformed="cut off by the length limit")
    return parse_compact(text, tools) if action_format == "compact" else parse_hermes(text)
