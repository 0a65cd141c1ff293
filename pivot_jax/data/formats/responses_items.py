"""OpenAI Responses items: the way to and from messages.

Items and messages do not stand one to one. One assistant message is, in this order, its reasoning, its text and its
calls; going back, text opens a new message, and a call joins the message before it unless a tool result or text of
another role has come between. Reasoning belongs to the item after it, and never ends a batch of calls. So where two
assistant messages follow each other, the second is written with its text even when that is empty.

Not kept: ids and states of items, annotations, encrypted reasoning. `is_error` has no place in an item; the formats
that use this module keep it beside (`failed_answers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pivot_jax.data.failure import FieldError
from pivot_jax.records import Message, Role, Tool, ToolCall

_TEXT_PARTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text")


def _joined_parts(content: object) -> object:
    if not isinstance(content, list):
        return content
    for index, part in enumerate(content):
        if not (isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"part {index} is no text but {kind!r}")
    return "".join(part["text"] for part in content)


Text = Annotated[str, BeforeValidator(_joined_parts)]
"""A text, or a list of parts that are texts, joined."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    text: str


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Said(_Item):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text


class _Reasoned(_Item):
    summary: list[_Part] = Field(default_factory=list)
    content: list[_Part] | None = None


class _Called(_Item):
    name: str = Field(min_length=1)
    arguments: str
    call_id: str | None = None


class _Answered(_Item):
    call_id: str
    output: Text


_MODELS: dict[str, type[_Item]] = {
    "message": _Said,
    "reasoning": _Reasoned,
    "function_call": _Called,
    "function_call_output": _Answered,
}


class _Tool(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


def messages_of_items(items: Sequence[object], path: str) -> tuple[list[Message], str]:
    """The messages, and reasoning at the very end that no action follows ("" if there is none).

    FieldError names the first item that is wrong, counted from `path`.
    """
    messages: list[Message] = []
    reasoning = ""
    for index, raw in enumerate(items):
        item = _parsed(raw, f"{path}[{index}]")
        if isinstance(item, _Reasoned):
            reasoning = _joined(reasoning, "\n".join(part.text for part in item.content or item.summary))
            continue
        last = messages[-1] if messages else None
        if isinstance(item, _Called) and last is not None and last.role == "assistant":
            call = ToolCall(name=item.name, arguments=item.arguments, id=item.call_id or "")
            update = {"tool_calls": (*last.tool_calls, call), "reasoning": _joined(last.reasoning, reasoning)}
            messages[-1] = last.model_copy(update=update)
        elif isinstance(item, _Called) or (isinstance(item, _Said) and item.role == "assistant"):
            messages.append(_opened(item, reasoning))
        else:
            if reasoning:
                messages.append(Message(role="assistant", reasoning=reasoning))
            messages.append(_heard(item))
        reasoning = ""
    return messages, reasoning


def _parsed(raw: object, path: str) -> _Item:
    if not isinstance(raw, dict):
        raise FieldError(path, f"an item is a JSON object, not a {type(raw).__name__}")
    kind = raw.get("type") or ("message" if "role" in raw else None)
    if not isinstance(kind, str) or kind not in _MODELS:
        raise FieldError(f"{path}.type", f"{kind!r} items are not read; one of {', '.join(_MODELS)}")
    try:
        return _MODELS[kind].model_validate({key: value for key, value in raw.items() if value is not None})
    except ValidationError as error:
        raise FieldError.of_validation(error, path) from error


def _opened(item: _Item, reasoning: str) -> Message:
    if isinstance(item, _Called):
        call = ToolCall(name=item.name, arguments=item.arguments, id=item.call_id or "")
        return Message(role="assistant", tool_calls=(call,), reasoning=reasoning)
    assert isinstance(item, _Said)
    return Message(role="assistant", content=item.content, reasoning=reasoning)


def _heard(item: _Item) -> Message:
    if isinstance(item, _Answered):
        return Message(role="tool", content=item.output, tool_call_id=item.call_id)
    assert isinstance(item, _Said)
    role: Role = "system" if item.role in ("system", "developer") else "user"
    return Message(role=role, content=item.content)


def _joined(before: str, after: str) -> str:
    return f"{before}\n\n{after}" if before and after else before or after


def items_of_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The items of messages whose calls have ids; `messages_of_items` reads them back."""
    items: list[dict[str, Any]] = []
    previous: Role | None = None
    for message in messages:
        if message.role == "tool":
            output = {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
            items.append(output)
        elif message.role != "assistant":
            items.append({"type": "message", "role": message.role, "content": message.content})
        else:
            if message.reasoning:
                summary = [{"type": "summary_text", "text": message.reasoning}]
                items.append({"type": "reasoning", "summary": summary})
            if message.content or not message.tool_calls or previous == "assistant":
                items.append({"type": "message", "role": "assistant", "content": message.content})
            items += [
                {"type": "function_call", "name": call.name, "arguments": call.arguments, "call_id": call.id}
                for call in message.tool_calls
            ]
        previous = message.role
    return items


def tools_of_request(tools: Sequence[object], path: str) -> tuple[Tool, ...]:
    """The tools of a request, in the flat form or in the chat form; FieldError names the first wrong one."""
    read: list[Tool] = []
    for index, raw in enumerate(tools):
        flat = raw
        if isinstance(raw, dict) and isinstance(raw.get("function"), dict):
            flat = {"type": raw.get("type", "function"), **raw["function"]}
        try:
            tool = _Tool.model_validate(flat)
        except ValidationError as error:
            raise FieldError.of_validation(error, f"{path}[{index}]") from error
        given = {"parameters": tool.parameters} if tool.parameters is not None else {}
        read.append(Tool(name=tool.name, description=tool.description or "", **given))
    return tuple(read)


def request_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as a request holds them."""
    return [{"type": "function", **tool.model_dump(), "strict": True} for tool in tools]
