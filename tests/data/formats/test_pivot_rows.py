"""Pivot rows: the rules of writing, the order of the checks, and trajectories rebuilt from rows in any order."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.pivot_row import read_pivot_row
from pivot_jax.data.formats.pivot_rows import meta_info, write_rows
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall, Trajectory
from tests.data.episodes import shop_episode, thinking_episode
from tests.data.formats.trajectories import TRAJECTORIES, write_json_lines


def rows_of(trajectory: Trajectory, **options: Any) -> list[dict[str, Any]]:
    return json.loads(json.dumps(write_rows(trajectory, WriteOptions(**options))))


def test_one_row_a_turn_by_the_rules() -> None:
    call, batch, message = rows_of(shop_episode(), agent="shop_agent")
    assert call["expected_action"]["type"] == "function_call"
    assert call["expected_action"]["name"] == "order"
    assert batch["expected_action"]["type"] == "function_call_batch"
    assert [part["type"] for part in batch["expected_action"]["calls"]] == ["function_call"] * 2
    assert message["expected_action"] == {"type": "message", "content": "done"}
    for turn, row in enumerate((call, batch, message)):
        request = row["responses_create_params"]
        assert request["tool_choice"] == "auto" and request["parallel_tool_calls"] is True
        assert [tool["name"] for tool in request["tools"]] == ["order"] and request["tools"][0]["strict"] is True
        assert row["agent_ref"] == {"type": "responses_api_agents", "name": "shop_agent"}
        assert (row["trajectory_id"], row["uuid"]) == ("shop/1", f"shop/1#{turn}")
    kinds = [item["type"] for item in message["responses_create_params"]["input"]]
    calls_and_results = ["function_call", "function_call_output", "message", "function_call", "function_call"]
    assert kinds == ["message", "message", *calls_and_results, "function_call_output", "function_call_output"]


def test_parallel_calls_are_off_where_no_label_is_a_batch() -> None:
    assert [row["responses_create_params"]["parallel_tool_calls"] for row in rows_of(thinking_episode())] == [False] * 4


def test_earlier_reasoning_stays_and_the_turns_own_does_not_leak() -> None:
    for turn, row in enumerate(rows_of(thinking_episode(1))):
        thoughts = [item for item in row["responses_create_params"]["input"] if item["type"] == "reasoning"]
        assert [item["summary"][0]["text"] for item in thoughts] == [f"thought {earlier} " for earlier in range(turn)]


def nulls(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(nulls, value.values()))
    return any(map(nulls, value)) if isinstance(value, list) else value is None


def test_no_null_is_written() -> None:
    odd = shop_episode().model_copy(
        update={"reward": None, "metadata": {"a": None, "b": [{"c": None}], "request": {"temperature": None, "n": 1}}}
    )
    rows = rows_of(odd)
    assert not nulls(rows)
    assert rows[0]["responses_create_params"]["n"] == 1


def test_where_a_state_stands() -> None:
    said = [Message(role=role) for role in ("system", "assistant", "user", "assistant", "tool", "user", "assistant")]  # type: ignore[arg-type]
    assert meta_info(said) == {"turn": 1, "step": 1, "assistant_depth": 3}
    assert meta_info(said[:1]) == {"turn": 0, "step": 0, "assistant_depth": 0}


def test_a_call_of_a_tool_that_is_not_offered_is_refused() -> None:
    with pytest.raises(FieldError, match="field expected_action: calls 'order', not among the offered tools"):
        rows_of(shop_episode().model_copy(update={"tools": (Tool(name="other"),)}))
    with pytest.raises(FieldError, match="none is offered; --tools"):
        rows_of(shop_episode().model_copy(update={"tools": ()}))


def test_a_label_that_does_not_score_against_itself_is_refused() -> None:
    with pytest.raises(FieldError, match="turn 1 does not score 1 against itself: because"):
        rows_of(shop_episode(), check_label=lambda candidate: "because" if candidate.turn.index == 1 else "")


ROW = {
    "responses_create_params": {
        "input": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": "auto",
        "metadata": None,
    },
    "expected_action": {"type": "function_call", "name": "f", "arguments": "{}"},
    "metadata": None,
}

FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "keys": (lambda row: row.pop("expected_action"), "expected_action", "required"),
    "request": (lambda row: row.update(responses_create_params=None), "responses_create_params", "required"),
    "tool_choice": (
        lambda row: row["responses_create_params"].update(tool_choice="none"),
        "responses_create_params.tool_choice",
        "'none'",
    ),
    "input": (lambda row: row["responses_create_params"].update(input=[]), "responses_create_params.input", "empty"),
    "tools": (lambda row: row["responses_create_params"].update(tools={}), "responses_create_params.tools", "a list"),
    "label": (lambda row: row["expected_action"].update(type="call"), "expected_action.type", "'call'"),
    "label of one": (
        lambda row: row.update(expected_action={"type": "function_call_batch", "calls": [row["expected_action"]]}),
        "expected_action.calls",
        "two or more",
    ),
    "offered": (lambda row: row["expected_action"].update(name="g"), "expected_action", "'g', not among"),
    "leak": (
        lambda row: row["responses_create_params"]["input"].append({"type": "reasoning", "summary": []}),
        "responses_create_params.input[1]",
        "leaks the label",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_checks_by_name(fault: str) -> None:
    damage, field, reason = FAULTS[fault]
    row = copy.deepcopy(ROW)
    damage(row)
    with pytest.raises(FieldError) as caught:
        read_pivot_row(row)
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_the_checks_come_in_the_stated_order() -> None:
    row = copy.deepcopy(ROW)
    order = ["leak", "offered", "label", "tools", "input", "tool_choice", "keys"]
    for fault in order:
        FAULTS[fault][0](row)
        if fault == "keys":
            row["responses_create_params"]["input"] = []
        with pytest.raises(FieldError) as caught:
            read_pivot_row(row)
        assert caught.value.field == FAULTS[fault][1]


@settings(max_examples=60, deadline=None)
@given(trajectory=TRAJECTORIES)
def test_every_written_row_passes_the_checks(trajectory: Trajectory) -> None:
    offered = {call.name for message in trajectory.messages for call in message.tool_calls}
    trajectory = trajectory.model_copy(update={"tools": tuple(Tool(name=name) for name in sorted(offered))})
    for row in rows_of(trajectory):
        assert read_pivot_row(row).trajectory_id == trajectory.id


def episodes() -> list[Trajectory]:
    """Three attempts at one task, which begin alike, and another episode."""
    first = shop_episode("a")
    other_end = (*first.messages[:-1], Message(role="assistant", content="sorry"))
    early_end = (*first.messages[:4], Message(role="assistant", content="done already"))
    variants = {"b": other_end, "c": early_end}
    shared = [first.model_copy(update={"id": name, "messages": said}) for name, said in variants.items()]
    return [first, *shared, thinking_episode(1)]


def unnamed(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("responses_create_params", "expected_action")}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), named=st.booleans())
def test_trajectories_are_rebuilt_from_rows_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, named: bool
) -> None:
    rows = [row for trajectory in episodes() for row in rows_of(trajectory)]
    rows = rows if named else [unnamed(row) for row in rows]
    random.Random(seed).shuffle(rows)
    file = write_json_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", *rows)
    rebuilt = list(read(file))
    assert sorted(len(one.messages) for one in rebuilt) == sorted(len(one.messages) for one in episodes())
    ends = {tuple(message.content for message in one.messages) for one in rebuilt}
    assert ends == {tuple(message.content for message in one.messages) for one in episodes()}
    if named:
        assert {one.id for one in rebuilt} == {"a", "b", "c", "think/1"}


def test_what_rows_say_of_a_turn_comes_back_in_the_rows(tmp_path: Path) -> None:
    rows = rows_of(shop_episode())
    for row, rate in zip(rows, (0.25, 0.5, 1.0), strict=True):
        row |= {"pass_rate": rate, "pass_rate_total": 4, "metadata": row["metadata"] | {"category": "x"}}
    rows[1]["uuid"] = "of-its-own"
    rows[1]["expected_action"]["ordered"] = True
    [rebuilt] = read(write_json_lines(tmp_path / "rows.jsonl", rows[2], rows[0], rows[1]))
    assert rebuilt.metadata["pivot_rows"]["0"] == {
        "pass_rate": 0.25,
        "pass_rate_total": 4,
        "metadata": {"category": "x"},
    }
    assert set(rebuilt.metadata["pivot_rows"]) == {"0", "1", "2"}
    assert rebuilt.metadata["pivot_rows"]["1"]["uuid"] == "of-its-own"
    assert rows_of(rebuilt) == rows
    assert write(tmp_path / "again.jsonl", [rebuilt], "pivot_rows") == 1
    assert list(read(tmp_path / "again.jsonl")) == [rebuilt]


def test_a_selection_of_rows_gives_the_turns_up_to_the_last_one(tmp_path: Path) -> None:
    [rebuilt] = read(write_json_lines(tmp_path / "rows.jsonl", *rows_of(thinking_episode())[1:3]))
    assert len(rebuilt.messages) == 7
    assert [message.role for message in rebuilt.messages].count("assistant") == 3


def test_rows_that_do_not_fit_are_refused_by_line(tmp_path: Path) -> None:
    rows = rows_of(shop_episode())
    stray = copy.deepcopy(rows[1])
    stray["responses_create_params"]["input"][1]["content"] = "buy coffee"
    file = write_json_lines(tmp_path / "rows.jsonl", rows[0], stray, rows[1], rows[0], rows[2])
    found = list(read(file, on_bad_row="skip", rejects=tmp_path / "rejects.jsonl"))
    assert [len(one.messages) for one in found] == [8]
    refused = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["field"]) for reject in refused] == [
        (2, "responses_create_params.input"),
        (4, "expected_action"),
    ]
    assert "longest row, line 5" in refused[0]["reason"]
    assert refused[1]["reason"] == "the same turn is already on line 1"
    with pytest.raises(DataError, match=r":2: field responses_create_params\.input"):
        list(read(file))


def test_names_of_rows_without_a_trajectory(tmp_path: Path) -> None:
    row = unnamed(rows_of(shop_episode())[0])
    other = unnamed(rows_of(thinking_episode())[0])
    file = write_json_lines(tmp_path / "rows.jsonl", row, other | {"uuid": "u1", "metadata": {"task_id": 3}})
    found = list(read(file, options=ReadOptions(domain="shop")))
    assert [(one.id, one.task_id, one.domain) for one in found] == [
        ("rows/1", "rows/1", "shop"),
        ("u1", "3", "shop"),
    ]


def test_a_terminal_answer_is_a_message_and_swe_rows_need_no_tools(tmp_path: Path) -> None:
    state = {"input": [{"role": "user", "content": "fix it"}]}
    answer = {"responses_create_params": state, "expected_answer": '{"commands": []}', "uuid": "t"}
    call = {"type": "function_call", "name": "edit", "arguments": "{}"}
    swe = {"responses_create_params": state, "expected_action": call, "uuid": "s"}
    terminal, coding = read(write_json_lines(tmp_path / "rows.jsonl", answer, swe))
    assert terminal.messages[-1] == Message(role="assistant", content='{"commands": []}')
    assert coding.messages[-1].tool_calls == (ToolCall(name="edit"),)
    assert coding.tools == ()
    edit = {"type": "function", "function": {"name": "edit"}}
    given = ReadOptions(tools={"": [edit]})
    assert [len(one.tools) for one in read(tmp_path / "rows.jsonl", options=given)] == [1, 1]
