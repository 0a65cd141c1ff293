"""Agent Trajectory Interchange Format (ATIF, of the Harbor project), versions 1.x.

Facts relied on (its public specification up to v1.6): one JSON object with `schema_version` "ATIF-v1.x", `session_id`,
`agent` (name, version, model_name; from v1.5 `tool_definitions`, tools in the chat form), `steps`, and optional
`final_metrics`, `notes`, `extra`. A step has `step_id` from 1, `source` ("system", "user", "agent") and `message`, a
text or (v1.6) a list of parts; an agent's step may have `reasoning_content`, `tool_calls` [{tool_call_id,
function_name, arguments: object}] and `observation.results` [{source_call_id, content}].

Read: a result with a `source_call_id` is the answer of that call; one without is the answer of the step's call if there
is one that nothing else answers, and a user message otherwise (an agent that acts in plain text sees it so). ATIF names
no task: `extra.task_id` where there is one, else the session is a task of its own, so that attempts at one task may
fall on both sides of a split. Kept, in `metadata["atif"]`: agent, notes, final metrics, extra and, under the place of
its message, what else a step says (metrics, time, model). Not kept: the record of a subagent beside a result's text.
Refused: images, results without a text, and observations of system steps.

Written: ATIF-v1.5. Arguments become objects; a call whose arguments are none cannot be written. Domain, task, reward
and metadata stand in `extra.pivot_jax`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pivot_jax.data.chat_row import Name
from pivot_jax.data.failure import FieldError
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.responses_items import Text, tools_of_request
from pivot_jax.data.formats.wellformed import check_turns, failed_answers, with_call_ids, with_failed_answers
from pivot_jax.records import Message, ToolCall, Trajectory

VERSION = "ATIF-v1.5"
ATIF, STEPS, OURS = "atif", "steps", "pivot_jax"


class _Call(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    tool_call_id: str
    function_name: str = Field(min_length=1)
    arguments: dict[str, Any]


class _Result(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    source_call_id: str | None = None
    content: Text | None = None


class _Observation(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    results: list[_Result]


class _Step(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    step_id: int
    source: Literal["system", "user", "agent"]
    message: Text
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    observation: _Observation | None = None


class _Agent(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    version: str
    tool_definitions: list[Any] | None = None


class _Ours(BaseModel):
    """What a written object says under `extra.pivot_jax`."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    domain: str = ""
    task_id: str
    reward: float | None = None
    failed_outputs: list[int] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Atif(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    schema_version: str = Field(pattern=r"^ATIF-v1\.\d+$")
    session_id: Name
    agent: _Agent
    steps: list[_Step] = Field(min_length=1)
    extra: dict[str, Any] | None = None


def read_row(value: object, label: str, options: ReadOptions) -> Trajectory:
    """The trajectory of a decoded object; FieldError names the first field that is wrong."""
    try:
        row = _Atif.model_validate(value)
        ours = _Ours.model_validate(row.extra[OURS]) if row.extra and OURS in row.extra else None
    except ValidationError as error:
        raise FieldError.of_validation(error) from error
    messages: list[Message] = []
    rest: dict[str, Any] = {}
    for index, step in enumerate(row.steps):
        if said := {key: item for key, item in (step.model_extra or {}).items() if item is not None}:
            rest[str(len(messages))] = said
        messages += _messages(step, f"steps[{index}]")
    extra = {key: item for key, item in (row.extra or {}).items() if key != OURS}
    about = {key: item for key, item in (row.model_extra or {}).items() if item is not None}
    agent = {key: item for key, item in row.agent.model_dump(exclude={"tool_definitions"}).items() if item is not None}
    about |= {"agent": agent} if agent != _UNKNOWN_AGENT else {}
    about |= ({STEPS: rest} if rest else {}) | ({"extra": extra} if extra else {})
    own = {"task_id": extra.get("task_id", row.session_id), "domain": extra.get("domain", options.domain)}
    if ours is not None:
        own = {"task_id": ours.task_id, "domain": ours.domain}
    tools = row.agent.tool_definitions
    if tools is None:
        tools = options.tools_for(None, str(own["domain"])) or []
    failed = ours.failed_outputs if ours is not None else []
    trajectory = Trajectory(
        id=row.session_id,
        domain=str(own["domain"]),
        task_id=str(own["task_id"]) or row.session_id,
        messages=with_failed_answers(messages, failed, f"extra.{OURS}.failed_outputs"),
        tools=tools_of_request(tools, "agent.tool_definitions"),
        reward=ours.reward if ours is not None else _number(extra.get("reward")),
        metadata=(ours.metadata if ours is not None else {}) | ({ATIF: about} if about else {}),
    )
    return check_turns(trajectory, STEPS)


_UNKNOWN_AGENT = {"name": "unknown", "version": "unknown"}
"""What is written for an agent that nothing is known of: the format requires both."""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _messages(step: _Step, place: str) -> list[Message]:
    """What a step says and sees."""
    if step.source != "agent":
        if step.observation is not None and step.observation.results:
            raise FieldError(f"{place}.observation", f"of a {step.source} step: only those of agent steps are read")
        return [Message(role="system" if step.source == "system" else "user", content=step.message)]
    calls = tuple(
        ToolCall(
            name=call.function_name, arguments=json.dumps(call.arguments, ensure_ascii=False), id=call.tool_call_id
        )
        for call in step.tool_calls or ()
    )
    said = Message(role="assistant", content=step.message, tool_calls=calls, reasoning=step.reasoning_content or "")
    results = step.observation.results if step.observation is not None else []
    answered = {result.source_call_id for result in results}
    unanswered = [call.id for call in calls if call.id not in answered]
    seen: list[Message] = []
    for index, result in enumerate(results):
        if result.content is None:
            raise FieldError(f"{place}.observation.results[{index}].content", "a result without a text is not read")
        source = result.source_call_id
        if source is None and len(unanswered) == 1:
            source = unanswered.pop()
        content = result.content
        if source is None:
            seen.append(Message(role="user", content=content))
        else:
            seen.append(Message(role="tool", content=content, tool_call_id=source))
    return [said, *seen]


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """The one object of a trajectory; FieldError where the arguments of a call are not a JSON object."""
    messages = with_call_ids(trajectory.messages)
    metadata = dict(trajectory.metadata)
    about = metadata.pop(ATIF, {})
    if not isinstance(about, dict):
        raise FieldError(f"metadata.{ATIF}", f"an object, not a {type(about).__name__}")
    about = dict(about)
    rest, extra = about.pop(STEPS, {}), about.pop("extra", {})
    agent = dict(about.pop("agent", _UNKNOWN_AGENT))
    if trajectory.tools:
        agent["tool_definitions"] = [{"type": "function", "function": tool.model_dump()} for tool in trajectory.tools]
    ours = _Ours(
        domain=trajectory.domain,
        task_id=trajectory.task_id,
        reward=trajectory.reward,
        failed_outputs=failed_answers(messages),
        metadata=metadata,
    )
    steps: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            _answer(steps, message, index)
        else:
            steps.append({"step_id": len(steps) + 1, **_step(message, index), **rest.get(str(index), {})})
    head = {"schema_version": VERSION, "session_id": trajectory.id, "agent": agent, STEPS: steps}
    return [{**head, **about, "extra": {**extra, OURS: ours.model_dump(exclude_defaults=True)}}]


def _step(message: Message, index: int) -> dict[str, Any]:
    step: dict[str, Any] = {
        "source": "agent" if message.role == "assistant" else message.role,
        "message": message.content,
    }
    if message.reasoning:
        step["reasoning_content"] = message.reasoning
    if message.tool_calls:
        step["tool_calls"] = [
            {"tool_call_id": call.id, "function_name": call.name, "arguments": _arguments(call, index)}
            for call in message.tool_calls
        ]
    return step


def _arguments(call: ToolCall, index: int) -> dict[str, Any]:
    try:
        return call.parsed()
    except ValueError as error:
        raise FieldError(f"messages[{index}].tool_calls", f"{error}; ATIF wants an object") from error


def _answer(steps: list[dict[str, Any]], message: Message, index: int) -> None:
    """Put a tool's result under the step whose call it answers: the format has no other place for it."""
    if not steps or not any(call["tool_call_id"] == message.tool_call_id for call in steps[-1].get("tool_calls", [])):
        raise FieldError(f"messages[{index}]", "answers no call of the step before it, as ATIF wants it")
    results = steps[-1].setdefault("observation", {"results": []})["results"]
    results.append({"source_call_id": message.tool_call_id, "content": message.content})
