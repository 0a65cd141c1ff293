"""Responses items and messages: hand-written items, and the places where one does not follow from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats.options import ReadOptions
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.responses_items import items_of_messages, messages_of_items
from pivot_jax.records import Message, Tool, ToolCall
from tests.data.formats.trajectories import messages, write_json_lines


def said(role: str, content: object) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def thought(*texts: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in texts]}


def called(name: str, call_id: str | None = None, arguments: str = "{}") -> dict[str, Any]:
    return {
        "type": "function_call",
        "name": name,
        "arguments": arguments,
        "call_id": call_id,
        "id": "fc",
        "status": None,
    }


def answered(call_id: str, output: object) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output, "id": None}


def assistant(content: str = "", *calls: str, reasoning: str = "") -> Message:
    return Message(
        role="assistant",
        content=content,
        reasoning=reasoning,
        tool_calls=tuple(ToolCall(name=name, id=name) for name in calls),
    )


CASES: dict[str, tuple[list[Any], list[Message], str]] = {
    "roles and parts": (
        [
            {"role": "developer", "content": "be kind"},
            said("user", [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]),
            said("assistant", [{"type": "output_text", "text": "c", "annotations": [], "logprobs": None}]),
        ],
        [Message(role="system", content="be kind"), Message(role="user", content="ab"), assistant("c")],
        "",
    ),
    "a turn that speaks and calls": (
        [thought("why", "how"), said("assistant", "wait"), called("f", "f"), called("g", "g"), answered("f", "1")],
        [
            assistant("wait", "f", "g", reasoning="why\nhow"),
            Message(role="tool", content="1", tool_call_id="f"),
        ],
        "",
    ),
    "a batch ends at text, not at reasoning": (
        [called("f", "f"), thought("more"), called("g", "g"), said("assistant", "so"), called("h", "h")],
        [assistant("", "f", "g", reasoning="more"), assistant("so", "h")],
        "",
    ),
    "a batch ends at a result": (
        [called("f", "f"), answered("f", [{"type": "input_text", "text": "1"}]), called("g", "g")],
        [assistant("", "f"), Message(role="tool", content="1", tool_call_id="f"), assistant("", "g")],
        "",
    ),
    "reasoning alone, then at the end": (
        [thought("a"), said("user", "hm"), thought("b"), thought("c")],
        [assistant(reasoning="a"), Message(role="user", content="hm")],
        "b\n\nc",
    ),
    "encrypted reasoning": ([{"type": "reasoning", "encrypted_content": "x", "summary": []}], [], ""),
}


@pytest.mark.parametrize("case", CASES)
def test_items_become_messages(case: str) -> None:
    items, expected, pending = CASES[case]
    assert messages_of_items(items, "input") == (expected, pending)


@given(written=messages())
def test_messages_survive_as_items(written: tuple[Message, ...]) -> None:
    # is_error has no place in an item: rows keep it beside
    plain = [message.model_copy(update={"is_error": False}) for message in written]
    assert messages_of_items(items_of_messages(plain), "input") == (plain, "")


@given(written=messages())
def test_items_of_a_prefix_are_a_prefix_of_the_items(written: tuple[Message, ...]) -> None:
    whole = items_of_messages(written)
    for end in range(len(written) + 1):
        part = items_of_messages(written[:end])
        assert part == whole[: len(part)]


FAULTS = {
    "not an object": (5, "input[1]", "JSON object"),
    "unknown kind": ({"type": "web_search_call"}, "input[1].type", "'web_search_call' items are not read"),
    "no kind": ({"content": "x"}, "input[1].type", "None items are not read"),
    "unknown role": (said("tool", "x"), "input[1].role", "'developer'"),
    "image": (said("user", [{"type": "input_image"}]), "input[1].content", "part 0 is no text but 'input_image'"),
    "no arguments": ({"type": "function_call", "name": "f"}, "input[1].arguments", "required"),
    "no call id": ({"type": "function_call_output", "output": ""}, "input[1].call_id", "required"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_item(fault: str) -> None:
    item, field, reason = FAULTS[fault]
    with pytest.raises(FieldError) as caught:
        messages_of_items([said("user", "hi"), item], "input")
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_a_request_beside_its_response(tmp_path: Path) -> None:
    row = {
        "id": "r1",
        "task_id": 4,
        "responses_create_params": {
            "instructions": "be brief",
            "input": "what is it?",
            "tools": [{"type": "function", "name": "look", "parameters": None, "strict": True}],
            "temperature": 0.5,
            "metadata": None,
        },
        "response": {"id": "resp", "output": [thought("hm"), called("look", "c1"), answered("c1", "a cat")]},
        "failed_outputs": [3],
        "reward": 1,
        "split": "train",
    }
    told: list[str] = []
    [found] = read(write_json_lines(tmp_path / "rows.jsonl", row), on_format=lambda *what: told.append(what[1]))
    assert told == ["responses"]
    assert found.messages == (
        Message(role="system", content="be brief"),
        Message(role="user", content="what is it?"),
        Message(role="assistant", reasoning="hm", tool_calls=(ToolCall(name="look", id="c1"),)),
        Message(role="tool", content="a cat", tool_call_id="c1", is_error=True),
    )
    assert (found.task_id, found.tools, found.reward) == ("4", (Tool(name="look"),), 1.0)
    assert found.metadata == {"split": "train", "request": {"temperature": 0.5}}


HELLO = [said("user", "hi"), said("assistant", "hello")]
ROW_FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no input": ({}, "input", "required"),
    "two inputs": ({"input": HELLO, "responses_create_params": {"input": HELLO}}, "input", "keep one"),
    "in the output": ({"input": "hi", "output": [{"type": "x"}]}, "output[0].type", "not read"),
    "in the request": ({"responses_create_params": {"input": [1]}}, "responses_create_params.input[0]", "JSON object"),
    "no action": ({"input": "hi", "output": [thought("hm")]}, "input", "no action after it"),
    "no turn": ({"input": "hi"}, "input", "no turn"),
    "unasked answer": ({"input": [*HELLO, answered("c", "")]}, "input", "'c' answers no open call"),
    "failed user": ({"input": HELLO, "failed_outputs": [0]}, "failed_outputs", "not a tool message"),
    "tool": ({"input": HELLO, "tools": [{"type": "custom"}]}, "tools[0].type", "'function'"),
}


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_fault_names_the_field(fault: str, tmp_path: Path) -> None:
    row, field, reason = ROW_FAULTS[fault]
    file = write_json_lines(tmp_path / "rows.jsonl", row)
    with pytest.raises(DataError) as caught:
        list(read(file, "responses", options=ReadOptions(make_ids=True)))
    assert (caught.value.line, caught.value.field) == (1, field)
    assert reason in caught.value.reason


def test_ids_are_required_unless_made(tmp_path: Path) -> None:
    file = write_json_lines(tmp_path / "rows.jsonl", {"input": HELLO})
    with pytest.raises(DataError, match="field id: Field required; --make-ids"):
        list(read(file))
    assert [one.id for one in read(file, options=ReadOptions(make_ids=True))] == ["rows/1"]
