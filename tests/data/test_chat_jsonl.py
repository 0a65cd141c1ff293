"""Reading and writing chat JSONL: hand-written rows, faults by name, round trips, and the recorded τ² trajectories."""

from __future__ import annotations

import copy
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.chat_jsonl import read_trajectories, write_trajectories
from pivot_jax.data.failure import DataError
from pivot_jax.records import Message, Tool, ToolCall, Trajectory
from tests.data.episodes import shop_episode, thinking_episode

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "tau2" / "trajectories"


def call_row(call_id: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


ROW: dict[str, Any] = {
    "id": "run/7",
    "domain": "telephone",
    "task_id": "7",
    "reward": 1,
    "model": "some-model",
    "tools": [{"type": "function", "function": {"name": "look", "description": "Look.", "strict": True}}],
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]},
        {"role": "user", "content": "my line is dead", "name": "Ann"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call_row("c1", "look")]},
        {"role": "tool", "content": "no such line", "tool_call_id": "c1", "is_error": True},
        {"role": "assistant", "content": "switch it on and off", "refusal": None, "annotations": []},
        {"role": "user", "content": None, "tool_calls": [call_row("u1", "switch", '{"on": true}')]},
        {"role": "tool", "content": "switched", "tool_call_id": "u1", "requestor": "user", "is_error": False},
        {"role": "user", "content": "done"},
    ],
}


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_becomes_the_trajectory_the_agent_saw(tmp_path: Path) -> None:
    [trajectory] = read_trajectories(write_rows(tmp_path / "rows.jsonl", ROW))
    assert trajectory.messages == (
        Message(role="system", content="be kind"),
        Message(role="user", content="my line is dead"),
        Message(role="assistant", reasoning="hm", tool_calls=(ToolCall(name="look", arguments="{}", id="c1"),)),
        Message(role="tool", content="no such line", tool_call_id="c1", is_error=True),
        Message(role="assistant", content="switch it on and off"),
        Message(role="user", content="done"),
    )
    assert (trajectory.id, trajectory.domain, trajectory.task_id, trajectory.reward) == ("run/7", "telephone", "7", 1.0)
    assert trajectory.tools == (Tool(name="look", description="Look."),)
    assert trajectory.metadata == {
        "model": "some-model",
        "user_side": [{"before": 5, "message": ROW["messages"][5]}, {"before": 5, "message": ROW["messages"][6]}],
    }


def test_only_id_task_and_messages_are_needed(tmp_path: Path) -> None:
    row = {"id": "a", "task_id": "t", "messages": [{"role": r, "content": r} for r in ("user", "assistant")]}
    [trajectory] = read_trajectories(write_rows(tmp_path / "rows.jsonl", row))
    said = (Message(role="user", content="user"), Message(role="assistant", content="assistant"))
    assert trajectory == Trajectory(id="a", task_id="t", messages=said)


FAULTS = {
    "missing id": (("id",), None, "id", "required"),
    "fraction as id": (("id",), 3.5, "id", "string"),
    "truth as task": (("task_id",), True, "task_id", "string"),
    "missing task": (("task_id",), None, "task_id", "required"),
    "no messages": (("messages",), [], "messages", "at least 1"),
    "text as reward": (("reward",), "1", "reward", "number"),
    "message is text": (("messages", 1), "hi", "messages[1]", "dictionary"),
    "unknown role": (("messages", 1, "role"), "robot", "messages[1].role", "'assistant'"),
    "missing content": (("messages", 1, "content"), None, "messages[1]", "content is missing"),
    "number as content": (("messages", 1, "content"), 5, "messages[1].content", "string"),
    "image part": (("messages", 0, "content", 1), {"type": "image"}, "messages[0].content", "part 1"),
    "missing name": (
        ("messages", 2, "tool_calls", 0, "function", "name"),
        None,
        "messages[2].tool_calls[0].function.name",
        "required",
    ),
    "arguments as object": (
        ("messages", 2, "tool_calls", 0, "function", "arguments"),
        {},
        "messages[2].tool_calls[0].function.arguments",
        "string",
    ),
    "custom call": (
        ("messages", 2, "tool_calls", 0, "type"),
        "custom",
        "messages[2].tool_calls[0].type",
        "'function'",
    ),
    "answer to no call": (("messages", 3, "tool_call_id"), "c9", "messages[3].tool_call_id", "'c9' answers no open"),
    "second answer": (("messages", 6, "tool_call_id"), "c1", "messages[6].tool_call_id", "'c1' answers no open"),
    "call id on a user": (("messages", 1, "tool_call_id"), "c1", "messages[1]", "tool_call_id"),
    "calls of a system": (("messages", 0, "tool_calls"), [call_row("s", "x")], "messages[0]", "tool_calls"),
    "reasoning of a user": (("messages", 1, "reasoning_content"), "hm", "messages[1]", "reasoning_content"),
    "unknown field": (("messages", 4, "audio"), {"id": 1}, "messages[4]", "audio"),
    "tool without a name": (("tools", 0, "function", "name"), "", "tools[0].function.name", "at least 1"),
    "user side twice": (("user_side",), [], "user_side", "keep one"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_line_field_and_reason(fault: str, tmp_path: Path) -> None:
    steps, value, field, reason = FAULTS[fault]
    row = copy.deepcopy(ROW)
    target: Any = row
    for step in steps[:-1]:
        target = target[step]
    if value is None:
        del target[steps[-1]]
    else:
        target[steps[-1]] = value
    file = write_rows(tmp_path / "rows.jsonl", ROW | {"id": "first"}, row)
    rows = read_trajectories(file)
    assert next(rows).id == "first"
    with pytest.raises(DataError) as caught:
        next(rows)
    assert str(caught.value).startswith(f"{file}:2: field {field}: ")
    assert reason in caught.value.reason


@pytest.mark.parametrize("line", [b"{", b'{"id": NaN}', b'"\xff"'])
def test_a_line_that_is_not_json_is_named_and_blank_lines_count(line: bytes, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(json.dumps(ROW).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:3: field \(whole row\): not JSON"):
        list(read_trajectories(file))


def test_a_row_that_is_not_an_object(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":1: field \(whole row\): .* not a list"):
        list(read_trajectories(write_rows(tmp_path / "rows.jsonl", [1])))


@pytest.mark.parametrize("roles", [("user",), ("assistant",), ("assistant", "user")])
def test_no_turn(roles: tuple[str, ...], tmp_path: Path) -> None:
    row = ROW | {"messages": [{"role": role, "content": "hello"} for role in roles]}
    with pytest.raises(DataError, match="field messages: no assistant message after the first message"):
        list(read_trajectories(write_rows(tmp_path / "rows.jsonl", row)))


def test_two_rows_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2: field id: 'run/7' is already on line 1"):
        list(read_trajectories(write_rows(tmp_path / "rows.jsonl", ROW, ROW)))


def test_the_error_waits_for_its_row(tmp_path: Path) -> None:
    rows = read_trajectories(write_rows(tmp_path / "rows.jsonl", ROW, []))
    assert next(rows).id == "run/7"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    [read] = read_trajectories(write_rows(tmp_path / "source.jsonl", ROW))
    written = [read, shop_episode(), thinking_episode(3)]
    assert write_trajectories(tmp_path / name, iter(written)) == 3
    assert list(read_trajectories(tmp_path / name)) == written


def test_gzip_is_real_and_reproducible(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz", "plain.jsonl"):
        write_trajectories(tmp_path / name, [shop_episode()])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()) == (tmp_path / "plain.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(name: str, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Trajectory]:
        yield shop_episode("new")
        raise RuntimeError("stopped")

    write_trajectories(tmp_path / name, [shop_episode("old")])
    with pytest.raises(RuntimeError, match="stopped"):
        write_trajectories(tmp_path / name, interrupted())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert [trajectory.id for trajectory in read_trajectories(tmp_path / name)] == ["old"]


def test_metadata_may_not_shadow_the_row(tmp_path: Path) -> None:
    trajectory = shop_episode().model_copy(update={"metadata": {"messages": 1}})
    with pytest.raises(ValueError, match=r"\['messages'\]"):
        write_trajectories(tmp_path / "rows.jsonl", [trajectory])


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded trajectories are not beside this checkout")
def test_every_recorded_trajectory_is_read_and_survives_a_round_trip(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for source in sorted(RECORDED.glob("*.jsonl")):
        read = list(read_trajectories(source))
        write_trajectories(tmp_path / source.name, read)
        assert list(read_trajectories(tmp_path / source.name)) == read
        for trajectory in read:
            said = [message for message in trajectory.messages if message.role == "assistant"]
            assert len(said) == trajectory.metadata["n_assistant_turns"]
            counts["trajectories"] += 1
            counts["calls"] += sum(len(message.tool_calls) for message in said)
            counts["answers"] += sum(message.role == "tool" for message in trajectory.messages)
    assert counts["trajectories"] == 160
    assert counts["calls"] == counts["answers"] > 1000
