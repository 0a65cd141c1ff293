"""One NeMo-Gym pivot row: everything before an action, and the action expected there.

A row's fields and the order of its checks are those of the published servers: keys present; `tool_choice` "auto" if
present; input not empty; tools a list; label well-formed; expected tools among the offered ones; the label scores 1
against itself; no reasoning of the pivot turn in the input (it would leak the label).

Read beside the tool-call label `expected_action`: `expected_answer`, the text of a terminal row, as a message; rows
without `tools`, as the SWE server's examples are (then no tool can be missing). Fields that are null count as absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pivot_jax.data.failure import WHOLE_ROW, FieldError
from pivot_jax.data.formats.responses_items import items_of_messages, messages_of_items, request_tools, tools_of_request
from pivot_jax.records import Action, Message, Tool, ToolCall

REQUEST, LABEL, ANSWER = "responses_create_params", "expected_action", "expected_answer"


@dataclass(frozen=True)
class PivotRow:
    """A row as it was read. `facts` are its further fields: pass rates, uuid, agent_ref, metadata and what else."""

    trajectory_id: str
    state: tuple[Message, ...]
    tools: tuple[Tool, ...]
    label: Action
    request: dict[str, Any]
    facts: dict[str, Any]


class _Call(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: str
    name: str = Field(min_length=1)
    arguments: str


class _Rates(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    trajectory_id: str = ""
    uuid: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    pass_rate: float | None = None
    pass_rate_total: float | None = None
    pass_rate_passed: float | None = None


def read_pivot_row(value: object) -> PivotRow:
    """The row; FieldError names the first check that fails."""
    if not isinstance(value, dict):
        raise FieldError(WHOLE_ROW, f"a row is a JSON object, not a {type(value).__name__}")
    row = {key: item for key, item in value.items() if item is not None}
    if not isinstance(row.get(REQUEST), dict):
        raise FieldError(REQUEST, "an object is required")
    if LABEL not in row and ANSWER not in row:
        raise FieldError(LABEL, f"required ({ANSWER} is read too)")
    request = {key: item for key, item in row.pop(REQUEST).items() if item is not None}
    asked = request.pop("input", None)
    choice = request.pop("tool_choice", "auto")
    if choice != "auto":
        raise FieldError(f"{REQUEST}.tool_choice", f"'auto' if it is there, not {choice!r}")
    if not isinstance(asked, str | list) or not asked:
        raise FieldError(f"{REQUEST}.input", "a list that is not empty, or a text, is required")
    offered = request.pop("tools", None)
    if not isinstance(offered, list | None):
        raise FieldError(f"{REQUEST}.tools", f"a list, not a {type(offered).__name__}")
    tools = tools_of_request(offered or [], f"{REQUEST}.tools")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    state, pending = messages_of_items(items, f"{REQUEST}.input")
    label = _label(row)
    if offered is not None:
        check_offered(label, tools)
    if pending or (isinstance(items[-1], dict) and items[-1].get("type") == "reasoning"):
        raise FieldError(f"{REQUEST}.input[{len(items) - 1}]", "reasoning of the pivot turn itself: it leaks the label")
    ordered = row.pop(LABEL, {}).get("ordered")
    row.pop(ANSWER, None)
    try:
        rates = _Rates.model_validate(row)
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    facts = {key: item for key, item in row.items() if key != "trajectory_id"}
    if ordered is not None:
        facts["ordered"] = ordered
    return PivotRow(rates.trajectory_id, tuple(state), tools, label, request, facts)


def _label(row: dict[str, Any]) -> Action:
    if LABEL not in row:
        if not isinstance(row[ANSWER], str):
            raise FieldError(ANSWER, f"a text, not a {type(row[ANSWER]).__name__}")
        return Action.say(row[ANSWER])
    label = row[LABEL]
    kind = label.get("type") if isinstance(label, dict) else None
    if kind == "message":
        if not isinstance(label.get("content"), str):
            raise FieldError(f"{LABEL}.content", "a text is required")
        return Action.say(label["content"])
    if kind == "function_call":
        return Action(tool_calls=(_call(label, LABEL),))
    if kind == "function_call_batch":
        calls = label.get("calls")
        if not isinstance(calls, list) or len(calls) < 2:
            raise FieldError(f"{LABEL}.calls", "two or more calls are required")
        return Action(tool_calls=tuple(_call(call, f"{LABEL}.calls[{i}]") for i, call in enumerate(calls)))
    raise FieldError(f"{LABEL}.type", f"'message', 'function_call' or 'function_call_batch', not {kind!r}")


def _call(value: object, path: str) -> ToolCall:
    try:
        call = _Call.model_validate(value)
    except ValidationError as error:
        raise FieldError.of_validation(error, path) from error
    if call.type != "function_call":
        raise FieldError(f"{path}.type", f"'function_call', not {call.type!r}")
    return ToolCall(name=call.name, arguments=call.arguments)


def check_offered(label: Action, tools: Sequence[Tool]) -> None:
    """FieldError where the label calls a tool that is not among those offered."""
    missing = sorted({call.name for call in label.tool_calls} - {tool.name for tool in tools})
    if missing:
        hint = "" if tools else " (none is offered; --tools gives some to rows without any)"
        raise FieldError(LABEL, f"calls {', '.join(map(repr, missing))}, not among the offered tools{hint}")


def label_of(action: Action) -> dict[str, Any]:
    """The label of an action: a turn that speaks and calls is a call; its text is not compared by any verifier."""
    calls = [{"type": "function_call", "name": call.name, "arguments": call.arguments} for call in action.tool_calls]
    if not calls:
        return {"type": "message", "content": action.content}
    return calls[0] if len(calls) == 1 else {"type": "function_call_batch", "calls": calls}


def request_of(state: Sequence[Message], tools: Sequence[Tool], rest: dict[str, Any]) -> dict[str, Any]:
    """The request that ends before the action; `rest` are further fields of it (temperature and the like)."""
    return {**rest, "input": items_of_messages(state), "tools": request_tools(tools), "tool_choice": "auto"}
