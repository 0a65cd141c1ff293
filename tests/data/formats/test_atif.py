"""ATIF: a hand-written object read by hand, what else a step says, and what the format cannot hold."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall
from tests.data.episodes import shop_episode

LOOK = {"type": "function", "function": {"name": "look", "description": "", "parameters": {"type": "object"}}}

OBJECT: dict[str, Any] = {
    "schema_version": "ATIF-v1.4",
    "session_id": "s-1",
    "agent": {"name": "an-agent", "version": "2.0", "model_name": "m", "tool_definitions": [LOOK], "extra": None},
    "notes": "by hand",
    "final_metrics": {"total_steps": 5},
    "extra": {"task_id": "task-9", "reward": 1},
    "steps": [
        {"step_id": 1, "source": "system", "message": "be brief", "timestamp": "2026-01-01T00:00:00Z"},
        {
            "step_id": 2,
            "source": "user",
            "message": [{"type": "text", "text": "look "}, {"type": "text", "text": "now"}],
        },
        {
            "step_id": 3,
            "source": "agent",
            "message": "looking",
            "reasoning_content": "hm",
            "tool_calls": [
                {"tool_call_id": "c1", "function_name": "look", "arguments": {"at": "é"}},
                {"tool_call_id": "c2", "function_name": "look", "arguments": {}},
            ],
            "observation": {
                "results": [{"source_call_id": "c2", "content": "nothing"}, {"content": "a cat"}, {"content": "$ "}]
            },
            "metrics": {"prompt_tokens": 7},
        },
        {"step_id": 4, "source": "agent", "message": "a cat", "observation": {"results": [{"content": "seen"}]}},
        {"step_id": 5, "source": "agent", "message": ""},
    ],
}


def test_an_object_becomes_a_trajectory(tmp_path: Path) -> None:
    (tmp_path / "trajectory.json").write_text(json.dumps(OBJECT, indent=2))
    told: list[str] = []
    [found] = read(tmp_path / "trajectory.json", on_format=lambda *what: told.append(what[1]))
    assert told == ["atif"]
    calls = (ToolCall(name="look", arguments='{"at": "é"}', id="c1"), ToolCall(name="look", arguments="{}", id="c2"))
    assert found.messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="look now"),
        Message(role="assistant", content="looking", reasoning="hm", tool_calls=calls),
        Message(role="tool", content="nothing", tool_call_id="c2"),
        Message(role="tool", content="a cat", tool_call_id="c1"),
        Message(role="user", content="$ "),
        Message(role="assistant", content="a cat"),
        Message(role="user", content="seen"),
        Message(role="assistant"),
    )
    assert (found.id, found.task_id, found.reward) == ("s-1", "task-9", 1.0)
    assert found.tools == (Tool(name="look", parameters={"type": "object"}),)
    assert found.metadata == {
        "atif": {
            "notes": "by hand",
            "final_metrics": {"total_steps": 5},
            "agent": {"name": "an-agent", "version": "2.0", "model_name": "m"},
            "steps": {"0": {"timestamp": "2026-01-01T00:00:00Z"}, "2": {"metrics": {"prompt_tokens": 7}}},
            "extra": {"task_id": "task-9", "reward": 1},
        }
    }


def test_what_was_read_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "trajectory.json").write_text(json.dumps(OBJECT))
    found = list(read(tmp_path / "trajectory.json"))
    write(tmp_path / "again.json", found, "atif")
    written = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert written["schema_version"] == "ATIF-v1.5"
    assert [step["step_id"] for step in written["steps"]] == list(range(1, 8))
    assert written["steps"][2]["metrics"] == {"prompt_tokens": 7}
    assert written["steps"][2]["tool_calls"] == OBJECT["steps"][2]["tool_calls"]
    assert (written["notes"], written["final_metrics"]) == ("by hand", {"total_steps": 5})
    assert written["extra"]["task_id"] == "task-9"
    assert list(read(tmp_path / "again.json")) == found


def test_a_session_without_a_task_is_a_task_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "trajectory.json").write_text(json.dumps(OBJECT | {"extra": None}))
    [found] = read(tmp_path / "trajectory.json")
    assert (found.task_id, found.domain, found.reward) == ("s-1", "", None)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "version": (lambda row: row.update(schema_version="ATIF-v2.0"), "schema_version", "pattern"),
    "no steps": (lambda row: row.update(steps=[]), "steps", "at least 1"),
    "source": (lambda row: row["steps"][1].update(source="robot"), "steps[1].source", "'agent'"),
    "image": (lambda row: row["steps"][1].update(message=[{"type": "image"}]), "steps[1].message", "'image'"),
    "arguments": (
        lambda row: row["steps"][2]["tool_calls"][0].update(arguments="{}"),
        "steps[2].tool_calls[0].arguments",
        "dictionary",
    ),
    "subagent": (
        lambda row: row["steps"][3]["observation"].update(results=[{"subagent_trajectory_ref": []}]),
        "steps[3].observation.results[0].content",
        "without a text",
    ),
    "system": (
        lambda row: row["steps"][0].update(observation={"results": [{"content": "reset"}]}),
        "steps[0].observation",
        "only those of agent steps",
    ),
    "answer": (
        lambda row: row["steps"][2]["observation"]["results"][0].update(source_call_id="c9"),
        "steps",
        "'c9' answers no open call",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_field(fault: str, tmp_path: Path) -> None:
    damage, field, reason = FAULTS[fault]
    row = copy.deepcopy(OBJECT)
    damage(row)
    (tmp_path / "trajectory.json").write_text(json.dumps(row))
    with pytest.raises(DataError) as caught:
        list(read(tmp_path / "trajectory.json", "atif"))
    assert (caught.value.line, caught.value.field) == (1, field)
    assert reason in caught.value.reason


def test_an_answer_that_comes_late_cannot_be_written(tmp_path: Path) -> None:
    said = list(shop_episode().messages)
    said.insert(3, Message(role="user", content="well?"))
    late = shop_episode().model_copy(update={"messages": tuple(said)})
    with pytest.raises(FieldError, match=r"messages\[4\].*answers no call of the step before it"):
        write(tmp_path / "out.json", [late], "atif")
