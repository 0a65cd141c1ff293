"""Records as chat templates expect them, and what a template's generation prompt leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from pivot_jax.data.hermes import THINK_OPEN
from pivot_jax.records import Message, Tool, ToolCall


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the form that Hugging Face chat templates read; arguments as a dict wherever they parse as one."""
    return [_message(message) for message in messages]


def template_tools(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """Tool definitions for a chat template; None without tools, since templates test for that and not for a length."""
    return [{"type": "function", "function": tool.model_dump()} for tool in tools] or None


def opens_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the template's generation prompt opens a thinking block, so that every action starts inside it.

    It is asked of one short history: `render` refuses a trajectory in which any state says otherwise.
    """
    return _opens_thinking(tokenizer, str(tokenizer.get_chat_template()))


def ends_in_thinking(state: str) -> bool:
    """Whether the text of a state ends in a thinking block that has only just been opened."""
    return state.rstrip().endswith(THINK_OPEN)


@lru_cache(maxsize=8)
def _opens_thinking(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    asked = [{"role": "user", "content": "hello"}]
    text = tokenizer.apply_chat_template(asked, chat_template=template, add_generation_prompt=True, tokenize=False)
    return ends_in_thinking(str(text))


def _message(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        plain["reasoning_content"] = message.reasoning
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _arguments(call: ToolCall) -> dict[str, Any] | str:
    try:
        return call.parsed()
    except ValueError:
        return call.arguments  # what the policy wrote is still part of the history
