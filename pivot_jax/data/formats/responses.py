"""Rows of OpenAI Responses items: a request with everything that was said, or a request beside its response.

Read: `input` (items, or the text of one user message), `instructions` (a system message before it) and `tools`, at the
top of the row or in `responses_create_params`; `output` items, at the top or in `response`, follow. Beside them `id`,
`task_id`, `domain`, `reward` as in the chat form, and `failed_outputs`, the places of messages that report a tool's
error. Further fields become metadata; those of `responses_create_params` under `request`. See `responses_items` for
what an item keeps.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pivot_jax.data.chat_row import Name
from pivot_jax.data.failure import WHOLE_ROW, FieldError
from pivot_jax.data.formats import chat
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.responses_items import (
    items_of_messages,
    messages_of_items,
    request_tools,
    tools_of_request,
)
from pivot_jax.data.formats.wellformed import check_turns, failed_answers, with_call_ids, with_failed_answers
from pivot_jax.records import Message, Trajectory

REQUEST = "responses_create_params"


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    input: str | list[Any]
    instructions: str | None = None
    tools: list[Any] | None = None


class _Response(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    output: list[Any]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    id: Name
    task_id: Name
    domain: str
    reward: float | None = None
    tools: list[Any] | None = None
    responses_create_params: _Request | None = None
    input: str | list[Any] | None = None
    instructions: str | None = None
    output: list[Any] | None = None
    response: _Response | None = None
    failed_outputs: list[int] = Field(default_factory=list)


def read_row(value: object, label: str, options: ReadOptions) -> Trajectory:
    """The trajectory of a decoded row; FieldError names the first field that is wrong."""
    if not isinstance(value, dict):
        raise FieldError(WHOLE_ROW, f"a row is a JSON object, not a {type(value).__name__}")
    nested = value.get(REQUEST)
    completed = dict(value)
    if isinstance(nested, dict) and value.get("tools") is None:
        completed["tools"] = nested.get("tools")
    completed = chat.completed(completed, label, options)
    try:
        row = _Row.model_validate(completed)
    except ValidationError as error:
        raise chat.hinted(FieldError.of_validation(error)) from error
    messages = _said(row)
    extra = dict(row.model_extra or {})
    if row.responses_create_params is not None:
        inside = row.responses_create_params.model_extra or {}
        request = {key: item for key, item in inside.items() if item is not None}
        extra |= {"request": request} if request else {}
    trajectory = Trajectory(
        id=row.id,
        domain=row.domain,
        task_id=row.task_id,
        messages=with_failed_answers(messages, row.failed_outputs, "failed_outputs"),
        tools=tools_of_request(row.tools or [], "tools"),
        reward=row.reward,
        metadata=extra,
    )
    return check_turns(trajectory, "input")


def _said(row: _Row) -> list[Message]:
    """Every message of the row, in order."""
    request = row.responses_create_params
    if request is not None and (row.input is not None or row.instructions is not None):
        raise FieldError("input", f"the row also has {REQUEST}; keep one of the two")
    asked = request.input if request is not None else row.input
    instructions = request.instructions if request is not None else row.instructions
    if asked is None:
        raise FieldError("input", "Field required")
    asked = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    answered = row.response.output if row.response is not None else row.output or []
    place = f"{REQUEST}.input" if request is not None else "input"
    try:
        messages, pending = messages_of_items([*asked, *answered], place)
    except FieldError as error:
        number, _, rest = error.field.removeprefix(f"{place}[").partition("]")
        if int(number) < len(asked):
            raise
        output = "response.output" if row.response is not None else "output"
        raise FieldError(f"{output}[{int(number) - len(asked)}]{rest}", error.reason) from error
    if pending:
        raise FieldError(place, "ends with reasoning, and no action after it")
    return [Message(role="system", content=instructions), *messages] if instructions else messages


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """The one row of a trajectory; FieldError where its metadata hides a field."""
    clash = sorted(trajectory.metadata.keys() & _Row.model_fields.keys())
    if clash:
        raise FieldError("metadata", f"keys {clash} are fields of the row itself")
    row: dict[str, Any] = {"id": trajectory.id, "domain": trajectory.domain, "task_id": trajectory.task_id}
    if trajectory.reward is not None:
        row["reward"] = trajectory.reward
    row |= trajectory.metadata
    messages = with_call_ids(trajectory.messages)
    row |= {"tools": request_tools(trajectory.tools), "input": items_of_messages(messages)}
    if failed := failed_answers(messages):
        row["failed_outputs"] = failed
    return [row]
