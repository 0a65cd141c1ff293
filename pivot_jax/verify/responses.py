"""Labels of pivot rows, in the words of the OpenAI Responses API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pivot_jax.records import Action, Record, ToolCall


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
