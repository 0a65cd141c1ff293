"""Every format gives back what it was given; what it cannot hold is refused, not lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.data.formats.options import WriteOptions
from pivot_jax.data.formats.pivot_rows import write_rows as pivot_rows_of
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.wellformed import with_call_ids
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall, Trajectory
from tests.data.episodes import shop_episode, thinking_episode
from tests.data.formats.trajectories import ENDING, TRAJECTORIES, written_and_read

WHOLE = [
    "chat",
    "tau2",
    "responses",
    "atif",
    "swe_agent",
    pytest.param(
        "parquet",
        marks=pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="the extra 'parquet' is absent"),
    ),
]
"""Formats that keep a whole trajectory."""

PACKED = [
    "",
    ".gz",
    pytest.param(
        ".zst",
        marks=pytest.mark.skipif(importlib.util.find_spec("zstandard") is None, reason="the extra 'zstd' is absent"),
    ),
]

IN_ONE_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("format", WHOLE)
@IN_ONE_FOLDER
@given(trajectory=TRAJECTORIES)
def test_any_trajectory_comes_back_whole(format: str, tmp_path: Path, trajectory: Trajectory) -> None:
    assert written_and_read(tmp_path, format, trajectory) == [trajectory]


@IN_ONE_FOLDER
@given(trajectory=TRAJECTORIES)
def test_pivot_rows_give_back_all_up_to_the_last_action(tmp_path: Path, trajectory: Trajectory) -> None:
    offered = {call.name for message in trajectory.messages for call in message.tool_calls}
    trajectory = trajectory.model_copy(update={"tools": tuple(Tool(name=name) for name in sorted(offered))})
    last = max(index for index, message in enumerate(trajectory.messages) if message.role == "assistant")
    action = trajectory.messages[last]
    unnamed = tuple(call.model_copy(update={"id": ""}) for call in action.tool_calls)
    label = {"reasoning": "", "tool_calls": unnamed, "content": "" if unnamed else action.content}
    kept = (*trajectory.messages[:last], action.model_copy(update=label))
    assert written_and_read(tmp_path, "pivot_rows", trajectory) == [trajectory.model_copy(update={"messages": kept})]


@pytest.mark.parametrize("format", [*WHOLE, "pivot_rows"])
@pytest.mark.parametrize("packed", PACKED)
def test_several_trajectories_in_order_packed_or_not(format: str, packed: str, tmp_path: Path) -> None:
    written = [shop_episode("a"), thinking_episode(2), shop_episode("b")]
    if packed and format == "parquet":
        with pytest.raises(FileError, match="columns are packed inside"):
            write(tmp_path / f"out.parquet{packed}", written)
        return
    named = [one.model_copy(update={"messages": with_call_ids(one.messages)}) for one in written]
    read_back = written_and_read(tmp_path, format, *written, packed=packed)
    if format in ("chat", "parquet"):
        assert read_back == written
    elif format != "pivot_rows":
        # a call without an id is given one where the format needs it, and arguments may be spaced anew
        assert [one.model_dump(exclude={"messages"}) for one in read_back] == [
            one.model_dump(exclude={"messages"}) for one in named
        ]
        assert [_parsed(one.messages) for one in read_back] == [_parsed(one.messages) for one in named]
    else:
        assert [one.id for one in read_back] == ["a", "think/1", "b"]
        assert [len(one.messages) for one in read_back] == [8, 9, 8]


def _parsed(messages: tuple[Message, ...]) -> list[object]:
    return [
        (
            message.model_dump(exclude={"tool_calls"}),
            [(call.id, call.name, call.parsed()) for call in message.tool_calls],
        )
        for message in messages
    ]


BAD_ARGUMENTS = shop_episode().model_copy(
    update={
        "messages": (
            Message(role="user", content="buy"),
            Message(role="assistant", tool_calls=(ToolCall(name="order", arguments="[1]", id="c"),)),
        )
    }
)


@pytest.mark.parametrize("format", ["tau2", "atif"])
def test_arguments_that_are_no_object_cannot_be_written_where_objects_are_wanted(format: str, tmp_path: Path) -> None:
    file = tmp_path / f"out{ENDING[format]}"
    with pytest.raises(FieldError, match=r"messages\[1\]\.tool_calls.*trajectory 'shop/1'.*object"):
        write(file, [BAD_ARGUMENTS], format)
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_are_no_object_are_kept_where_they_are_text(tmp_path: Path) -> None:
    for format in ("chat", "responses", "swe_agent"):
        assert written_and_read(tmp_path, format, BAD_ARGUMENTS) == [BAD_ARGUMENTS]


@pytest.mark.parametrize("format", ["chat", "tau2", "responses", "swe_agent"])
def test_metadata_that_would_hide_a_field_is_refused(format: str, tmp_path: Path) -> None:
    hiding = shop_episode().model_copy(update={"metadata": {"tools": 1}})
    with pytest.raises(FieldError, match=r"field metadata: .*'shop/1'.*\['tools'\]"):
        write(tmp_path / f"out{ENDING[format]}", [hiding], format)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"])
@pytest.mark.parametrize("format", ["chat", "responses", "atif"])
def test_metadata_without_a_form_in_json_is_refused(value: object, format: str, tmp_path: Path) -> None:
    odd = shop_episode().model_copy(update={"metadata": {"odd": value}})
    with pytest.raises(FieldError, match=r"\(whole row\): trajectory 'shop/1': has no form in JSON"):
        write(tmp_path / "out.jsonl", [odd], format)


def test_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    odd = shop_episode().model_copy(update={"metadata": {"odd": "\ud800 é"}})
    assert written_and_read(tmp_path, "chat", odd) == [odd]


@pytest.mark.parametrize("format", [*WHOLE, "pivot_rows"])
def test_no_trajectory_is_a_file_too(format: str, tmp_path: Path) -> None:
    assert write(tmp_path / f"none{ENDING[format]}", [], format) == 0
    if format != "tau2":
        assert list(read(tmp_path / f"none{ENDING[format]}", "chat" if format == "parquet" else format)) == []


def test_a_refused_trajectory_can_be_passed_over(tmp_path: Path) -> None:
    faults: list[FieldError] = []
    written = [shop_episode("a"), BAD_ARGUMENTS, shop_episode("b")]
    assert write(tmp_path / "out.jsonl", written, "atif", on_refused=faults.append) == 2
    assert [one.id for one in read(tmp_path / "out.jsonl")] == ["a", "b"]
    assert [fault.field for fault in faults] == ["messages[1].tool_calls"]


@given(trajectory=TRAJECTORIES)
@settings(max_examples=40, deadline=None)
def test_one_pivot_row_for_each_turn(trajectory: Trajectory) -> None:
    offered = {call.name for message in trajectory.messages for call in message.tool_calls}
    trajectory = trajectory.model_copy(update={"tools": tuple(Tool(name=name) for name in sorted(offered))})
    rows = pivot_rows_of(trajectory, WriteOptions())
    assert len(rows) == sum(message.role == "assistant" for message in trajectory.messages[1:])
