"""The Hermes tool-call format (Qwen3 and others): sampled text read back as an action."""

from __future__ import annotations

import json
from typing import Any

from pivot_jax.records import Action, ToolCall

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
END = "<|im_end|>"
DEEPEST_ARGUMENTS = 64
"""Levels that arguments may nest: templates, environments and verifiers walk them recursively."""


def parse_hermes(text: str, *, thinking_opened: bool = False) -> Action:
    """The action that a completion in the Hermes format stands for; never raises.

    Reasoning is split off; `<tool_call>` blocks become calls, in order; what remains, stripped, is the content. Text
    that has no reading gives `Action(malformed=reason)`: thinking never closed, a block never closed, or a block that
    is not `{"name": ..., "arguments": {...}}`.

    Args:
        text: what the policy wrote after the generation prompt, with or without the closing `<|im_end|>`.
        thinking_opened: the generation prompt has opened the thinking block, so the text starts inside it.
    """
    _, said = split_thinking(text, thinking_opened=thinking_opened)
    if said is None:
        return Action(malformed=f"thinking not closed: no {THINK_CLOSE}")
    try:
        content, calls = _split_calls(said)
        return Action(content=content.strip(), tool_calls=tuple(calls))
    except ValueError as error:
        return Action(malformed=str(error))


def split_thinking(text: str, *, thinking_opened: bool) -> tuple[str, str | None]:
    """The reasoning of a completion, without its tags and the line breaks beside them, and what is said after it.

    The second is None where the text ends inside the thinking block: then there is nothing but reasoning. A closing tag
    without an opening one ends a reasoning all the same (templates read it so), unless a call stands before it: then it
    is part of an argument.
    """
    text = text.removesuffix(END)
    opened = thinking_opened or text.lstrip().startswith(THINK_OPEN)
    reasoning, close, said = text.partition(THINK_CLOSE)
    if not opened and (not close or CALL_OPEN in reasoning):
        return "", text
    return _inside(reasoning), said if close else None


def _inside(block: str) -> str:
    opened = block.lstrip()
    return (opened.removeprefix(THINK_OPEN) if opened.startswith(THINK_OPEN) else block).strip("\n")


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
            return ToolCall(name=_unicode(name), arguments=_written(arguments))
    raise ValueError(f'a {CALL_OPEN} block is not {{"name": ..., "arguments": {{...}}}}')


def _written(arguments: dict[str, Any]) -> str:
    level: list[Any] = [arguments]
    for _ in range(DEEPEST_ARGUMENTS):
        level = [inner for outer in level for inner in _parts(outer)]
    if level:
        raise ValueError(f"arguments nest deeper than {DEEPEST_ARGUMENTS} levels")
    _unicode(json.dumps(arguments, ensure_ascii=False, allow_nan=False))
    return json.dumps(arguments, allow_nan=False)


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _unicode(text: str) -> str:
    """`text`, which a JSON escape may have given half a surrogate pair: no tokenizer could write that again."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a call holds half a surrogate pair, which is no text") from error
    return text
