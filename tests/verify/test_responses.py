"""The action in the output of a response."""

from __future__ import annotations

from typing import Any

import pytest

from pivot_jax.records import Action
from pivot_jax.verify.responses import NO_ACTION, response_action
from pivot_jax.verify.tool_call import ToolCallMatch
from tests.verify.candidates import candidate

REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}


def call(name: str) -> dict[str, Any]:
    return {"type": "function_call", "name": name, "arguments": "{}", "call_id": "c"}


def said(*texts: str) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text} for text in texts],
    }


@pytest.mark.parametrize(
    ("output", "content", "names"),
    [
        ([REASONING, call("f")], "", ["f"]),
        ([call("f"), REASONING, call("g"), said("done")], "done", ["f", "g"]),
        ([said("first", "second"), said("third")], "first", []),
        ([{"type": "message", "role": "assistant", "content": "plain"}], "plain", []),
        ([said("")], "", []),
    ],
)
def test_every_call_and_the_first_text(output: list[dict[str, Any]], content: str, names: list[str]) -> None:
    action = response_action(output)
    assert (action.content, [one.name for one in action.tool_calls], action.malformed) == (content, names, "")


@pytest.mark.parametrize("output", [[], [REASONING], [said()]])
def test_nothing_is_no_message(output: list[dict[str, Any]]) -> None:
    action = response_action(output)
    assert action.malformed == NO_ACTION
    assert ToolCallMatch()(candidate(Action.say("hello")), action).reward == 0
