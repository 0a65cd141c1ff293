"""τ²-bench results: the upstream result file, and rows that are already in the chat form.

Facts relied on (the public project's data model, text runs): a result file is one JSON object with `info`, `tasks` and
`simulations`, in this order. `info.environment_info.domain_name` names the domain, `info.agent_info.llm` and
`info.user_info.llm` the models. A simulation has `id`, `task_id`, `trial`, `reward_info.reward` and `messages`. A
message has `role`, `content` and `tool_calls` [{id, name, arguments: object, requestor}]; a tool result has `id` (of
the call), `requestor` and `error`; several results may stand in one message as `tool_messages`. A user has tools of
its own, marked by `requestor: "user"`: as in the chat form they are kept in `metadata["user_side"]`.

Kept: all of a simulation's other fields, in the metadata; arguments as JSON text in the writer's own spacing. Not kept:
what a message says of its cost, time and raw response; `tasks`, and the rest of `info`. The agent's system prompt and
tools are in no message of the file. What the format has no field for is written as further fields (`domain` where it is
not the file's, `tools`, `reasoning_content`), which upstream's reader passes over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pivot_jax.data.chat_row import USER_SIDE, Name, message_row, row_of_trajectory, trajectory_of_row
from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats import chat
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.rows import Document, Row, RowSource, decode
from pivot_jax.data.formats.wellformed import with_call_ids
from pivot_jax.records import Trajectory

SIMULATIONS, INFO = "simulations", "info"


class _Call(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    id: str = ""
    name: str = Field(min_length=1)
    arguments: dict[str, Any]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[_Call] | None = None
    id: str = ""
    error: bool = False
    tool_messages: list[_Message] | None = None
    reasoning_content: str | None = None
    is_audio: bool = False


class _Reward(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    reward: float | None = None


class _Simulation(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    id: Name
    task_id: Name
    messages: list[_Message] = Field(min_length=1)
    reward_info: _Reward | None = None


def read_rows(source: RowSource) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Every simulation of a result file, with the file's info; of other files every row, with none."""
    if not isinstance(source, Document):
        yield from ((row, {}) for row in source)
        return
    info: dict[str, Any] = {}
    found = False
    for value in source.values(SIMULATIONS, frozenset({INFO})):
        if value.key == INFO:
            if found:
                raise DataError(source.file, value.line, INFO, "stands after the simulations that it is about")
            info = _info(source, value.text, value.line)
            continue
        found = True
        yield source.row(value), info
    if not found:
        yield from ((row, {}) for row in source)


def _info(source: Document, text: bytes, line: int) -> dict[str, Any]:
    try:
        info = decode(text)
    except FieldError as error:
        raise DataError(source.file, line, INFO, error.reason) from error
    if not isinstance(info, dict):
        raise DataError(source.file, line, INFO, f"not an object but a {type(info).__name__}")
    return info


def read_row(value: object, label: str, options: ReadOptions, info: dict[str, Any]) -> Trajectory:
    """The trajectory of one simulation, or of a row in the chat form; FieldError names the first wrong field."""
    if isinstance(value, dict) and SIMULATIONS in value and "messages" not in value:
        raise FieldError(SIMULATIONS, "no simulation is in the result file, or it is not a file of its own (.json)")
    if not (isinstance(value, dict) and _is_simulation(value)):
        return chat.read_row(value, label, options)
    try:
        simulation = _Simulation.model_validate(value)
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    messages, places = _chat_messages(simulation.messages)
    rest = {key: item for key, item in (simulation.model_extra or {}).items() if item is not None}
    row = {
        "id": simulation.id,
        "task_id": simulation.task_id,
        "domain": rest.pop("domain", _named(info, "environment_info", "domain_name")),
        "reward": simulation.reward_info.reward if simulation.reward_info else None,
        "messages": messages,
        "tools": rest.pop("tools", None),
    }
    if simulation.reward_info and simulation.reward_info.model_extra:
        row["reward_info"] = simulation.reward_info.model_extra
    models = {"model": _named(info, "agent_info", "llm"), "user_model": _named(info, "user_info", "llm")}
    row |= {key: item for key, item in models.items() if item is not None} | rest
    try:
        return trajectory_of_row(chat.completed(row, label, options))
    except FieldError as error:
        raise FieldError(_in_the_file(error.field, places), error.reason) from error


def _is_simulation(row: dict[str, Any]) -> bool:
    """Whether a row is upstream's and not the chat form, where a call holds a `function` and a tool result no `id`."""
    if "reward_info" in row or "termination_reason" in row:
        return True
    messages = row.get("messages")
    calls = [
        call
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and isinstance(message.get("tool_calls"), list)
        for call in message["tool_calls"]
    ]
    return bool(calls) and all(isinstance(call, dict) and "function" not in call for call in calls)


def _named(info: dict[str, Any], part: str, key: str) -> str | None:
    section = info.get(part)
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, str) else None


def _chat_messages(messages: list[_Message]) -> tuple[list[dict[str, Any]], list[str]]:
    """The messages in the chat form, and where each stands in the file."""
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    for index, message in enumerate(messages):
        single = [(message, f"messages[{index}]")]
        if message.tool_messages is not None:
            single = [(part, f"messages[{index}].tool_messages[{i}]") for i, part in enumerate(message.tool_messages)]
        for part, place in single:
            if part.is_audio:
                raise FieldError(f"{place}.is_audio", "spoken messages are not read")
            rows.append(_chat_message(part))
            places.append(place)
    return rows, places


def _chat_message(message: _Message) -> dict[str, Any]:
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        row["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        row |= {"tool_call_id": message.id, "is_error": message.error}
    if message.reasoning_content:
        row["reasoning_content"] = message.reasoning_content
    return row


def _in_the_file(field: str, places: list[str]) -> str:
    """The path of a field of the chat form in the file that it was made from."""
    head, bracket, rest = field.partition("]")
    if not (bracket and head.startswith("messages[")):
        return field
    return places[int(head.removeprefix("messages["))] + rest


def opening(first: Trajectory | None) -> dict[str, Any]:
    """What a result file says before its simulations."""
    info: dict[str, Any] = {}
    if first is not None:
        info["environment_info"] = {"domain_name": first.domain}
        for part, key in (("agent_info", "model"), ("user_info", "user_model")):
            if isinstance(first.metadata.get(key), str):
                info[part] = {"llm": first.metadata[key]}
    return {INFO: info, "tasks": []}


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """The trajectory as one simulation; FieldError where the arguments of a call are not a JSON object."""
    named = trajectory.model_copy(update={"messages": with_call_ids(trajectory.messages)})
    chat_row = row_of_trajectory(named)
    messages = [message_row(message) for message in named.messages]
    try:
        for entry in reversed(chat_row.pop(USER_SIDE, [])):
            messages.insert(entry["before"], entry["message"])
        owners: dict[str, str] = {}
        rows = [_simulation_message(message, index, owners) for index, message in enumerate(messages)]
    except (KeyError, TypeError) as error:
        raise FieldError(f"metadata.{USER_SIDE}", f"not as the chat form keeps it: {error!r}") from error
    reward_info = chat_row.pop("reward_info", {})
    if not isinstance(reward_info, dict):
        raise FieldError("metadata.reward_info", f"an object, not a {type(reward_info).__name__}")
    chat_row["reward_info"] = {"reward": chat_row.pop("reward"), **reward_info}
    chat_row["messages"] = rows
    return [chat_row]


def _simulation_message(message: dict[str, Any], index: int, owners: dict[str, str]) -> dict[str, Any]:
    """A chat message as upstream has it; `owners` says who made the call of each id."""
    if message["role"] == "tool":
        call_id = message.get("tool_call_id", "")
        failed = message.get("is_error", False)
        requestor = owners.get(call_id, "assistant")
        return {
            "id": call_id,
            "role": "tool",
            "content": message.get("content"),
            "requestor": requestor,
            "error": failed,
        }
    row = {"role": message["role"], "content": message.get("content")}
    if message.get("reasoning_content"):
        row["reasoning_content"] = message["reasoning_content"]
    calls = []
    for place, call in enumerate(message.get("tool_calls") or []):
        name, call_id = call["function"]["name"], call.get("id", "")
        try:
            arguments = json.loads(call["function"]["arguments"])
        except ValueError as error:
            arguments = error
        if not isinstance(arguments, dict):
            raise FieldError(
                f"messages[{index}].tool_calls[{place}].arguments", f"of {name!r}: not a JSON object, as τ² wants it"
            )
        calls.append({"id": call_id, "name": name, "arguments": arguments, "requestor": message["role"]})
        owners[call_id] = message["role"]
    if calls:
        row["tool_calls"] = calls
    return row
