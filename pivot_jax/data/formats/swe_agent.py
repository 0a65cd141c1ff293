"""SWE-agent (`.traj`) and mini-swe-agent (`.traj.json`) trajectories, one JSON object each.

Facts relied on (the public projects). SWE-agent: `history`, `trajectory`, `info`; a message of the history has `role`,
`content` (text or parts), for the assistant also `thought`, `action` (the command), `tool_calls` (chat form or null)
and `thinking_blocks`; a tool's message names its call in `tool_call_ids`, a list of one. The file is named for the task
instance. mini-swe-agent: `messages` (chat form, with `extra`), `info` and `trajectory_format`; an agent that calls no
tools writes its command in a fenced block (```bash, from 2.0 ```mswea_bash_command), exactly one a message; the last
message may have the role "exit"; with the Responses API a message is a response (`output` items) or an item.

Actions in text. What was said stays the message's content, word for word; the command (`action`, or the one fenced
block) is added as a call of `bash` with the argument `command`, and the user message after it, which is the command's
output, becomes that call's answer. A message without exactly one block is plain text: such an agent refuses it, too.

Read: the id is the file's name; the task is `instance_id` where it is given, else the id. Demonstrations in the history
(`is_demo`) are refused: their actions are not this agent's turns. Kept: `info`, in the metadata. Not kept: `trajectory`
(every step repeats the whole history) and the agent's own notes on a message.

Written: mini-swe-agent 1.1, calls as tool calls; what it has no field for stands in `info.pivot_jax`. In a file that
has this, text holds no commands.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pivot_jax.data.chat_row import message_row, row_of_trajectory, trajectory_of_row
from pivot_jax.data.failure import WHOLE_ROW, FieldError
from pivot_jax.data.formats import chat
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.responses_items import messages_of_items
from pivot_jax.data.formats.wellformed import with_call_ids
from pivot_jax.records import Tool, Trajectory

FORMAT = "mini-swe-agent-1.1"
INFO, OURS = "info", "pivot_jax"
BASH = Tool(
    name="bash",
    description="Run a command in the shell.",
    parameters={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
)
"""The tool that commands in text are calls of; it is offered where the file names no tools and calls no other."""

_BLOCK = re.compile(r"```(?:bash|sh|mswea_bash_command)[ \t]*\n(.*?)\n?```", re.DOTALL)


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "user", "assistant", "tool", "exit"]
    content: Any = None
    action: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    tool_call_ids: list[str] | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    is_demo: bool | None = None
    is_error: bool | None = None


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    history: list[Any] | None = None
    messages: list[Any] | None = None
    info: dict[str, Any] = Field(default_factory=dict)
    instance_id: str | None = None
    trajectory_format: str | None = None


def read_row(value: object, label: str, options: ReadOptions) -> Trajectory:
    """The trajectory of a decoded file; FieldError names the first field that is wrong."""
    try:
        file = _File.model_validate(value)
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    place, said = ("history", file.history) if file.history is not None else ("messages", file.messages)
    if said is None:
        raise FieldError(WHOLE_ROW, "neither history (SWE-agent) nor messages (mini-swe-agent)")
    ours = file.info.get(OURS, {})
    if not isinstance(ours, dict):
        raise FieldError(f"{INFO}.{OURS}", f"an object, not a {type(ours).__name__}")
    if any(isinstance(message, dict) and "role" not in message for message in said):
        messages, places = _of_responses(said, place)
    else:
        messages, places = _of_chat(said, place, commands_in_text=OURS not in file.info)
    info = {key: item for key, item in file.info.items() if key != OURS}
    row = {"id": label, "task_id": file.instance_id or label, **ours, "messages": messages}
    row |= {INFO: info} if info else {}
    row = chat.completed(row, label, options)
    try:
        trajectory = trajectory_of_row(row)
    except FieldError as error:
        head, bracket, rest = error.field.removeprefix("messages[").partition("]")
        if not (bracket and error.field.startswith("messages[")):
            raise
        raise FieldError(f"{place}[{places[int(head)]}]{rest}", error.reason) from error
    called = {call.name for message in trajectory.messages for call in message.tool_calls}
    if not trajectory.tools and called == {BASH.name}:
        return trajectory.model_copy(update={"tools": (BASH,)})
    return trajectory


def _of_chat(said: list[Any], place: str, commands_in_text: bool) -> tuple[list[dict[str, Any]], list[int]]:
    """The messages in the chat form, and where each stands in the file."""
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    awaited = ""  # the id of the command in text that the next user message answers
    for index, raw in enumerate(said):
        try:
            message = _Message.model_validate(raw)
        except ValidationError as error:
            raise FieldError.of_validation(error, f"{place}[{index}]") from error
        if message.is_demo:
            raise FieldError(f"{place}[{index}].is_demo", "demonstrations in the history are not this agent's turns")
        if message.role == "exit":
            continue
        row: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "assistant":
            row["reasoning_content"] = message.reasoning_content or _thought(message)
            row["tool_calls"] = message.tool_calls or (_command(message, index) if commands_in_text else [])
            awaited = "" if message.tool_calls or not row["tool_calls"] else row["tool_calls"][0]["id"]
        elif message.role == "tool":
            ids = message.tool_call_ids
            row |= {"tool_call_id": message.tool_call_id or (ids[0] if ids else ""), "is_error": message.is_error}
        elif message.role == "user" and awaited:
            row |= {"role": "tool", "tool_call_id": awaited}
            awaited = ""
        rows.append(row)
        places.append(index)
    return rows, places


def _thought(message: _Message) -> str:
    thoughts = [block.get("thinking") for block in message.thinking_blocks or ()]
    return "\n\n".join(thought for thought in thoughts if isinstance(thought, str))


def _command(message: _Message, index: int) -> list[dict[str, Any]]:
    """The command that the text of a message holds, as a call; none where it is not exactly one."""
    command = message.action
    if command is None:
        content = message.content if isinstance(message.content, list) else [{"text": message.content}]
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        blocks = _BLOCK.findall("".join(text for text in texts if isinstance(text, str)))
        command = blocks[0] if len(blocks) == 1 else ""
    if not command.strip():
        return []
    arguments = json.dumps({"command": command}, ensure_ascii=False)
    return [{"id": f"call_{index}", "type": "function", "function": {"name": BASH.name, "arguments": arguments}}]


def _of_responses(said: list[Any], place: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The messages of a file that holds responses and items; places are those of the items laid flat."""
    items: list[Any] = []
    for message in said:
        answered = message.get("output") if isinstance(message, dict) and message.get("object") == "response" else None
        if isinstance(answered, list):
            items += answered
        elif not (isinstance(message, dict) and message.get("role") == "exit"):
            items.append(message)
    messages, pending = messages_of_items(items, place)
    if pending:
        raise FieldError(place, "ends with reasoning, and no action after it")
    return [message_row(message) for message in messages], list(range(len(messages)))


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """The one file of a trajectory; FieldError where its metadata hides a field."""
    row = row_of_trajectory(trajectory.model_copy(update={"messages": with_call_ids(trajectory.messages)}))
    info = row.pop(INFO, {})
    if not isinstance(info, dict):
        raise FieldError(f"metadata.{INFO}", f"an object, not a {type(info).__name__}")
    messages = row.pop("messages")
    task = row.pop("task_id")
    return [{INFO: {**info, OURS: row}, "messages": messages, "trajectory_format": FORMAT, "instance_id": task}]
