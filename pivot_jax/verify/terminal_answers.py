"""The two JSON formats in which terminal agents (Terminus) write commands, and how a completion is read as one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pivot_jax.verify.schemas import schema_fault

Harness = Literal["terminus_1", "terminus_2"]

THINK_CLOSE = "</think>"


def _closed(required: Mapping[str, Any], optional: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT, _NUMBER, _TRUTH = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_COMMAND_1 = _closed({"keystrokes": _TEXT, "is_blocking": _TRUTH, "timeout_sec": _NUMBER}, {})
_COMMAND_2 = _closed({"keystrokes": _TEXT}, {"duration": _NUMBER})

SCHEMAS: Mapping[Harness, dict[str, Any]] = {
    "terminus_1": _closed(
        {
            "state_analysis": _TEXT,
            "explanation": _TEXT,
            "commands": {"type": "array", "items": _COMMAND_1},
            "is_task_complete": _TRUTH,
        },
        {},
    ),
    "terminus_2": _closed(
        {"analysis": _TEXT, "plan": _TEXT, "commands": {"type": "array", "items": _COMMAND_2}},
        {"task_complete": _TRUTH},
    ),
}
"""What an answer must look like; keys beyond these fail."""
COMPLETE_KEY: Mapping[Harness, str] = {"terminus_1": "is_task_complete", "terminus_2": "task_complete"}


class AnswerFault(ValueError):
    """A completion that is no answer; `code` is what the released verifier calls the fault."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(frozen=True)
class TerminalAnswer:
    """What an answer does: keystrokes, command by command, and whether it ends the task."""

    keystrokes: tuple[str, ...]
    completes: bool


def answer_json(text: str) -> dict[str, Any]:
    """The JSON object after the last `</think>`.

    Raises:
        AnswerFault: "model_output_invalid": there is none; a code fence around it is not taken off.
    """
    said = text.rpartition(THINK_CLOSE)[2].strip()
    try:
        value = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise AnswerFault("model_output_invalid", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise AnswerFault("model_output_invalid", f"a JSON {type(value).__name__}, not an object")
    return value


def harness_of(value: Mapping[str, Any]) -> Harness | None:
    """The format whose keys an answer has; None if it has those of neither."""
    found: list[Harness] = [name for name, schema in SCHEMAS.items() if set(schema["required"]) <= value.keys()]
    return found[0] if found else None


def read_answer(value: Mapping[str, Any], harness: Harness) -> TerminalAnswer:
    """What an answer does; AnswerFault "schema_check_failed" if it is not valid under the harness's schema."""
    if fault := schema_fault(SCHEMAS[harness], value):
        raise AnswerFault("schema_check_failed", fault)
    keystrokes = tuple(command["keystrokes"] for command in value["commands"])
    return TerminalAnswer(keystrokes, value.get(COMPLETE_KEY[harness], False))
