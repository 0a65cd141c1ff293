"""The Hermes tool-call format (Qwen3 and others): sampled text read back as an action."""

from __future__ import annotations

import json
from typing import Any

from pivot_jax.records import Action, ToolCall

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
END = "<|im_end|>"


def parse_hermes(text: str) -> Action:
    """The action that a completion in the Hermes format stands for.

    Reasoning is dropped; `<tool_call>` blocks become calls, in order; what remains, stripped, is the content. Text that
    has no reading gives `Action(malformed=reason)`: thinking never closed, a block never closed, or a block that is not
    `{"name": ..., "arguments": {...}}`.

    Args:
        text: what the policy wrote after the generation prompt, with or without the closing `<|im_end|>`. It may start
            inside the reasoning, where the generation prompt has opened the block.
    """
    try:
        said = _without_reasoning(text.removesuffix(END))
        content, calls = _split_calls(said)
    except ValueError as error:
        return Action(malformed=str(error))
    return Action(content=content.strip(), tool_calls=tuple(calls))


def _without_reasoning(text: str) -> str:
    reasoning, close, said = text.partition(THINK_CLOSE)
    if text.lstrip().startswith(THINK_OPEN):
        if not close:
            raise ValueError("thinking cut off")
        return said
    # A closing tag after the first call is part of an argument, not the end of the reasoning.
    return said if close and CALL_OPEN not in reasoning else text


def _split_calls(text: str) -> tuple[str, list[ToolCall]]:
    content: list[str] = []
    calls: list[ToolCall] = []
    while True:
        before, opened, text = text.partition(CALL_OPEN)
        if CALL_CLOSE in before:
            raise ValueError(f"{CALL_CLOSE} without {CALL_OPEN}")
        content.append(before)
        if not opened:
            return "".join(content), calls
        call, text = _read_call(text.lstrip())
        calls.append(call)


def _read_call(text: str) -> tuple[ToolCall, str]:
    """The call at the start of `text`, and what follows its block. The JSON value is read first: an argument may itself
    contain the closing tag."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a {CALL_OPEN} block is not JSON: {error}") from error
    rest = text[end:].lstrip()
    if not rest.startswith(CALL_CLOSE):
        raise ValueError(f"{CALL_OPEN} without {CALL_CLOSE}")
    return _call(value), rest.removeprefix(CALL_CLOSE)


def _call(value: Any) -> ToolCall:
    match value:
        case {"name": str() as name, "arguments": dict() as arguments} if name and len(value) == 2:
            return ToolCall(name=name, arguments=json.dumps(arguments, allow_nan=False))
    raise ValueError(f'a {CALL_OPEN} block is not {{"name": ..., "arguments": {{...}}}}')
