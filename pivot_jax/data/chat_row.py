"""One row of OpenAI-style chat JSONL: its fields, and the way to and from a `Trajectory`.

A simulated user may have tools of its own (in τ² the customer holds a telephone). The agent sees neither those calls
nor their results, so they are no part of any state: they are kept, in order, in `metadata["user_side"]` as
`{"before": index of the message that follows, "message": the message as written}`.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pivot_jax.data.failure import WHOLE_ROW, FieldError
from pivot_jax.records import Message, Role, Tool, ToolCall, Trajectory

USER_SIDE = "user_side"
UNREAD_MESSAGE_FIELDS = frozenset({"name", "requestor"})
"""Message fields that may hold a value although nothing here reads it."""


class _OptionalNulls(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None or key == "content"}


class _FunctionCall(_OptionalNulls):
    name: str = Field(min_length=1)
    arguments: str


class _ToolCall(_OptionalNulls):
    id: str = ""
    type: Literal["function"] = "function"
    function: _FunctionCall


class _Function(_OptionalNulls):
    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Tool(_OptionalNulls):
    type: Literal["function"]
    function: _Function

    def record(self) -> Tool:
        return Tool(**self.function.model_dump(exclude_unset=True))  # what is not given keeps the default of `Tool`


def _joined_parts(content: object) -> object:
    if not isinstance(content, list):
        return content
    for index, part in enumerate(content):
        if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
            raise ValueError(f'part {index} is not {{"type": "text", "text": "..."}}')
    return "".join(part["text"] for part in content)


class _Message(_OptionalNulls):
    model_config = ConfigDict(extra="allow")

    role: Role
    content: Annotated[str | None, BeforeValidator(_joined_parts)] = None
    tool_calls: list[_ToolCall] = Field(default_factory=list)
    tool_call_id: str = ""
    is_error: bool = False
    reasoning_content: str = ""

    @model_validator(mode="after")
    def _fields_belong_to_the_role(self) -> Self:
        if "content" not in self.model_fields_set and not self.tool_calls:
            raise ValueError("content is missing (it may be null)")
        if self.tool_calls and self.role not in ("assistant", "user"):
            raise ValueError(f"a {self.role} message has no tool_calls")
        if self.role != "tool" and (self.tool_call_id or self.is_error):
            raise ValueError(f"a {self.role} message has neither tool_call_id nor is_error")
        if self.role != "assistant" and self.reasoning_content:
            raise ValueError(f"a {self.role} message has no reasoning_content")
        unread = sorted(key for key, value in (self.model_extra or {}).items() if value not in (None, "", [], {}))
        if not UNREAD_MESSAGE_FIELDS.issuperset(unread):
            raise ValueError(f"unknown fields {sorted(set(unread) - UNREAD_MESSAGE_FIELDS)}")
        return self

    def record(self) -> Message:
        return Message(
            role=self.role,
            content=self.content or "",
            tool_calls=tuple(
                ToolCall(name=call.function.name, arguments=call.function.arguments, id=call.id)
                for call in self.tool_calls
            ),
            tool_call_id=self.tool_call_id,
            is_error=self.is_error,
            reasoning=self.reasoning_content,
        )


def _whole_number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_whole_number_as_text), Field(min_length=1)]
"""An id: text that is not empty, or a whole number, which becomes its text."""


class _ChatRow(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    id: Name
    domain: str | None = None
    task_id: Name
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    reward: float | None = None


def _split_user_side(messages: list[_Message], raw: list[Any]) -> tuple[list[Message], list[dict[str, Any]]]:
    """The messages the agent sees, and the exchange between the user and its own tools.

    A tool message belongs to whoever has an open call of its id; a call is closed by its first answer.
    """
    seen: list[Message] = []
    user_side: list[dict[str, Any]] = []
    open_calls: Counter[tuple[str, str]] = Counter()
    for index, message in enumerate(messages):
        caller = message.role
        if message.role == "tool":
            answered = [key for owner in ("assistant", "user") if open_calls[key := (owner, message.tool_call_id)]]
            if not answered:
                raise FieldError(f"messages[{index}].tool_call_id", f"{message.tool_call_id!r} answers no open call")
            caller = answered[0][0]
            open_calls[answered[0]] -= 1
        open_calls.update((message.role, call.id) for call in message.tool_calls)
        if caller == "user" and (message.role == "tool" or message.tool_calls):
            user_side.append({"before": len(seen), "message": raw[index]})
        else:
            seen.append(message.record())
    return seen, user_side


def trajectory_of_row(row: object) -> Trajectory:
    """The trajectory that a decoded JSON row describes; FieldError names the first field that is wrong."""
    if not isinstance(row, dict):
        raise FieldError(WHOLE_ROW, f"a row is a JSON object, not a {type(row).__name__}")
    try:
        chat = _ChatRow.model_validate(row)
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    messages, user_side = _split_user_side(chat.messages, row["messages"])
    if not any(message.role == "assistant" for message in messages[1:]):
        raise FieldError("messages", "no assistant message after the first message: the trajectory has no turn")
    metadata = dict(chat.model_extra or {})
    if user_side and USER_SIDE in metadata:
        raise FieldError(USER_SIDE, "the row also has calls of the user among its messages; keep one of the two")
    return Trajectory(
        id=chat.id,
        domain=chat.domain or "",
        task_id=chat.task_id,
        messages=tuple(messages),
        tools=tuple(tool.record() for tool in chat.tools or ()),
        reward=chat.reward,
        metadata=metadata | ({USER_SIDE: user_side} if user_side else {}),
    )


def message_row(message: Message) -> dict[str, Any]:
    """A message in the chat form."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        row["reasoning_content"] = message.reasoning
    if message.tool_calls:
        row["content"] = message.content or None
        row["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool":
        row |= {"tool_call_id": message.tool_call_id, "is_error": message.is_error}
    return row


def row_of_trajectory(trajectory: Trajectory) -> dict[str, Any]:
    """The JSON row that `trajectory_of_row` reads back as an equal trajectory (metadata becomes top-level fields).

    FieldError where a key of the metadata would hide a field of the row.
    """
    clash = sorted(trajectory.metadata.keys() & _ChatRow.model_fields.keys())
    if clash:
        raise FieldError("metadata", f"keys {clash} are fields of the row itself")
    row: dict[str, Any] = {"id": trajectory.id, "domain": trajectory.domain, "task_id": trajectory.task_id}
    row |= {"reward": trajectory.reward, **trajectory.metadata}
    if trajectory.tools:
        row["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in trajectory.tools]
    row["messages"] = [message_row(message) for message in trajectory.messages]
    return row
