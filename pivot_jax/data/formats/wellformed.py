"""What every trajectory keeps to, whatever it was read from: tool messages answer calls, and there is a turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pivot_jax.data.failure import FieldError
from pivot_jax.records import Message, Trajectory


def check_turns(trajectory: Trajectory, field: str) -> Trajectory:
    """The trajectory; FieldError on `field` if no tool call is answered as it should be, or if there is no turn."""
    open_calls: list[str] = []
    for index, message in enumerate(trajectory.messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                raise FieldError(field, f"message {index}: {message.tool_call_id!r} answers no open call")
            open_calls.remove(message.tool_call_id)
        open_calls += [call.id for call in message.tool_calls]
    if not any(message.role == "assistant" for message in trajectory.messages[1:]):
        raise FieldError(field, "no assistant message after the first message: the trajectory has no turn")
    return trajectory


def with_call_ids(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with an id on every call: a call without one is named by its place, and so is its answer."""
    named: list[Message] = []
    unnamed: deque[str] = deque()
    for index, message in enumerate(messages):
        if any(not call.id for call in message.tool_calls):
            calls = [
                call if call.id else call.model_copy(update={"id": f"call_{index}_{place}"})
                for place, call in enumerate(message.tool_calls)
            ]
            unnamed.extend(new.id for old, new in zip(message.tool_calls, calls, strict=True) if not old.id)
            message = message.model_copy(update={"tool_calls": tuple(calls)})
        elif message.role == "tool" and not message.tool_call_id:
            if not unnamed:
                raise FieldError(f"messages[{index}].tool_call_id", "a tool message without an id answers no open call")
            message = message.model_copy(update={"tool_call_id": unnamed.popleft()})
        named.append(message)
    return tuple(named)


def failed_answers(messages: Sequence[Message]) -> list[int]:
    """Places of the tool messages that report an error: formats without a field for it keep this list beside."""
    return [index for index, message in enumerate(messages) if message.is_error]


def with_failed_answers(messages: Sequence[Message], failed: Sequence[int], field: str) -> tuple[Message, ...]:
    """The messages with `is_error` set at those places; FieldError on `field` if one of them is no tool message."""
    for place in failed:
        if not (0 <= place < len(messages) and messages[place].role == "tool"):
            raise FieldError(field, f"message {place} is not a tool message")
    wanted = set(failed)
    return tuple(
        message.model_copy(update={"is_error": True}) if index in wanted else message
        for index, message in enumerate(messages)
    )
