"""Actions as the OpenAI Responses API writes them: labels of pivot rows, and the output of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from pivot_jax.records import Action, Record, ToolCall

NO_ACTION = "no tool call and no message in the response"


class MessageLabel(Record):
    """The expert spoke."""

    type: Literal["message"]
    content: str

    def action(self) -> Action:
        return Action.say(self.content)


class CallLabel(Record):
    """The expert made one call; `arguments` is JSON text."""

    type: Literal["function_call"]
    name: str
    arguments: str

    def action(self) -> Action:
        return Action(tool_calls=(ToolCall(name=self.name, arguments=self.arguments),))


class BatchLabel(Record):
    """The expert made several calls in one turn."""

    type: Literal["function_call_batch"]
    calls: tuple[CallLabel, ...] = Field(min_length=1)
    ordered: bool | None = None
    """Written by some harnesses; no rule reads it."""

    def action(self) -> Action:
        return Action(tool_calls=tuple(call for label in self.calls for call in label.action().tool_calls))


Label = Annotated[MessageLabel | CallLabel | BatchLabel, Field(discriminator="type")]


def response_action(output: Sequence[Mapping[str, Any]]) -> Action:
    """The action in the output items of a response: every function call, and the first text of the first assistant
    message; reasoning is left out. An output with neither is malformed: it scores 0, also where the expert spoke."""
    calls = tuple(
        ToolCall(name=item["name"], arguments=item["arguments"], id=item.get("call_id", ""))
        for item in output
        if item["type"] == "function_call"
    )
    text = next((_first_text(item) for item in output if item["type"] == "message"), None)
    if text is None and not calls:
        return Action(malformed=NO_ACTION)
    return Action(content=text or "", tool_calls=calls)


def _first_text(item: Mapping[str, Any]) -> str | None:
    content = item["content"]
    if isinstance(content, str):
        return content
    return next((part["text"] for part in content if "text" in part), None)
