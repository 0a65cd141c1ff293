"""The compact chat format of small policies: its special tokens, and sampled text read back as an action.

`parse_compact` is the inverse of `compact.jinja`. Inside a call a space separates words and nothing is quoted, so the
schema decides where an argument starts and what its words mean; a value that holds a word such as `path=`, where
`path` is a parameter of the same tool, cannot be expressed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivot_jax.records import Action, Tool, ToolCall

PAD, UNKNOWN, CALL, END = "<|pad|>", "<|unk|>", "<|call|>", "<|end|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", CALL, END)
"""In the order of their ids, from 0."""

CHAT_TEMPLATE = Path(__file__).with_name("compact.jinja")


def parse_compact(text: str, tools: Sequence[Tool]) -> Action:
    """The action that a completion in the compact format stands for.

    A call of a tool that is not in `tools` is an action (the environment answers it), with every value a string; so is
    a value that does not fit its declared type. Text that has no reading gives `Action(malformed=reason)`.

    Args:
        text: what the policy wrote after the generation prompt, with or without the closing `<|end|>`.
        tools: the tools of the state; their schemas name the parameters and give their types.
    """
    written, _, surplus = text.partition(END)
    if surplus:
        return Action(malformed=f"text after {END}")
    for token in SPECIAL_TOKENS:
        if token != CALL and token in written:
            return Action(malformed=f"{token} inside an action")
    content, *calls = written.split(CALL)
    schemas = {tool.name: tool.parameters for tool in tools}
    try:
        return Action(content=content.removeprefix(" "), tool_calls=tuple(_call(call, schemas) for call in calls))
    except ValueError as error:
        return Action(malformed=str(error))


def _call(text: str, schemas: Mapping[str, Mapping[str, Any]]) -> ToolCall:
    name, *words = text.removeprefix(" ").split(" ")
    if not name:
        raise ValueError("a call without a tool name")
    known = schemas[name].get("properties", {}) if name in schemas else None
    values: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        key = word.removesuffix("=")
        if key != word and (known is None or key in known):
            if key in values:
                raise ValueError(f"call of {name!r} gives {key!r} twice")
            current = values[key] = []
        elif current is None:
            raise ValueError(f"call of {name!r} has {word!r} where a parameter should start")
        else:
            current.append(word)
    arguments = {key: _value(said, (known or {}).get(key, {})) for key, said in values.items()}
    return ToolCall(name=name, arguments=json.dumps(arguments, allow_nan=False))


def _value(words: list[str], schema: Mapping[str, Any]) -> Any:
    if schema.get("type") == "array":
        return [_scalar(word, schema.get("items", {})) for word in words]
    return _scalar(" ".join(words), schema)


def _scalar(text: str, schema: Mapping[str, Any]) -> Any:
    expected = {"integer": int, "number": (int, float), "boolean": bool}.get(schema.get("type", "string"))
    if expected is None:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # bool is a subclass of int, but `true` is no number
    fits = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    return value if fits else text
