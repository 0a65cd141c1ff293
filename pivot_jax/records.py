"""Host records: what flows between readers, environments, verifiers and the pipeline.

Frozen and validated where they are made; nothing here knows about arrays. The vocabulary is the paper's: a
*trajectory* holds *turns*; a turn is one assistant decision; with everything before it (the *state*) it is a
*candidate*; an *action* is one whole assistant completion; a *verdict* is what a verifier says of it.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant", "tool"]


class Record(BaseModel):
    """Base of every host record: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tool(Record):
    """A tool as the policy sees it: a name and a JSON schema of its arguments."""

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class ToolCall(Record):
    """One call: the tool's name and its arguments as the JSON text that was written (kept verbatim)."""

    name: str
    arguments: str = "{}"
    id: str = ""

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict; ValueError if the text is not a JSON object."""
        try:
            value = json.loads(self.arguments)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"arguments of {self.name!r} are not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"arguments of {self.name!r} are a JSON {type(value).__name__}, not an object")
        return value


class Message(Record):
    """One chat message. `tool_calls` only on assistant messages; `tool_call_id`, `is_error` only on tool messages."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    reasoning: str = ""


class Action(Record):
    """One whole assistant completion: text, or tool calls (with or without text).

    `malformed` says why sampled text could not be read as an action (then there is no call, and it scores 0 as an
    action that does nothing useful); it is empty for every well-formed action.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    malformed: str = ""

    @classmethod
    def call(cls, name: str, /, **arguments: Any) -> Action:
        """An action that is one tool call."""
        return cls(tool_calls=(ToolCall(name=name, arguments=json.dumps(arguments)),))

    @classmethod
    def say(cls, content: str) -> Action:
        """An action that is a plain message to the user."""
        return cls(content=content)

    @classmethod
    def of(cls, message: Message) -> Action:
        """The action that an assistant message records."""
        if message.role != "assistant":
            raise ValueError(f"an action is an assistant message, not a {message.role} message")
        return cls(content=message.content, tool_calls=message.tool_calls)

    def message(self) -> Message:
        """This action as an assistant message of the history."""
        return Message(role="assistant", content=self.content, tool_calls=self.tool_calls)


class Trajectory(Record):
    """One recorded expert episode."""

    id: str = Field(min_length=1)
    domain: str = ""
    task_id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[Tool, ...] = ()
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class Turn(Record):
    """Assistant decision `index` (0-based) of a trajectory; `position` is where its message stands."""

    trajectory_id: str
    index: int = Field(ge=0)
    position: int = Field(ge=0)


class Candidate(Record):
    """(state, expert action) of one turn (Eq. 3): `state` is every message before it."""

    turn: Turn
    domain: str
    task_id: str
    state: tuple[Message, ...]
    tools: tuple[Tool, ...]
    expert: Action

    @property
    def id(self) -> str:
        return f"{self.turn.trajectory_id}#{self.turn.index}"


class Verdict(Record):
    """What a verifier says of an action at a state.

    `status` "judged": `reward` holds. "error": the verifier could not judge (time limit, crash, a label that does
    not parse); the action is excluded and counted, and `reward` is not to be read. `components` are named parts of
    the score, `reason` is for people.
    """

    status: Literal["judged", "error"] = "judged"
    reward: float = 0.0
    components: dict[str, float] = Field(default_factory=dict)
    reason: str = ""
