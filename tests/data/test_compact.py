"""Compact text back to actions: cases by hand, and the inverse of the template for any action it can express."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.data.compact import parse_compact
from pivot_jax.data.parsing import parse_action
from pivot_jax.data.rendering import render
from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.records import Action, Message, ToolCall, Trajectory
from tests.data.episodes import ORDER_TOOL


def calls(action: Action) -> list[tuple[str, dict[str, Any]]]:
    assert not action.malformed
    return [(call.name, call.parsed()) for call in action.tool_calls]


def test_text() -> None:
    assert parse_compact(" all done", ()) == Action.say("all done")
    assert parse_compact(" all done<|end|>", ()) == Action.say("all done")
    assert parse_compact("<|end|>", ()) == Action.say("")


def test_values_take_the_type_of_the_schema() -> None:
    text = "<|call|> order path= a b /c items= x 1 sizes= 2 3 count= 4 price= 5 gift= false<|end|>"
    expected = {"path": "a b /c", "items": ["x", "1"], "sizes": [2, 3], "count": 4, "price": 5, "gift": False}
    [(name, arguments)] = calls(parse_compact(text, (ORDER_TOOL,)))
    assert (name, arguments) == ("order", expected)
    assert type(arguments["gift"]) is bool


def test_empty_values_and_several_calls() -> None:
    action = parse_compact(" wait<|call|> order path= items=<|call|> order price= 2.5<|end|>", (ORDER_TOOL,))
    assert action.content == "wait"
    assert calls(action) == [("order", {"path": "", "items": []}), ("order", {"price": 2.5})]


def test_a_word_that_is_no_parameter_belongs_to_the_value() -> None:
    assert calls(parse_compact("<|call|> order path= a x= b<|end|>", (ORDER_TOOL,))) == [("order", {"path": "a x= b"})]


def test_an_unknown_tool_is_kept_for_the_environment_to_answer() -> None:
    assert calls(parse_compact("<|call|> fly to= 3 now<|end|>", (ORDER_TOOL,))) == [("fly", {"to": "3 now"})]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", " 1.5"),
        ("count", " true"),
        ("gift", " 1"),
        ("price", " true"),
        ("price", " one two"),
        ("count", ""),
        ("count", " " + "[" * 100_000),
    ],
)
def test_a_value_that_does_not_fit_stays_text(name: str, text: str) -> None:
    written = f"<|call|> order {name}={text}<|end|>"
    assert calls(parse_compact(written, (ORDER_TOOL,))) == [("order", {name: text.removeprefix(" ")})]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<|call|><|end|>", "without a tool name"),
        ("<|call|> order tea<|end|>", "'tea' where a parameter should start"),
        ("<|call|> order colour= red<|end|>", "'colour=' where a parameter should start"),
        ("<|call|> order path= a path= b<|end|>", "'path' twice"),
        (" hi<|user|> hi<|end|>", "<|user|> inside an action"),
        (" hi <|unk|><|end|>", "<|unk|> inside an action"),
        (" hi<|end|> there", "text after <|end|>"),
        ("<|call|> order price= 1e999<|end|>", "JSON compliant"),
    ],
)
def test_text_without_a_reading_is_malformed(text: str, reason: str) -> None:
    action = parse_compact(text, (ORDER_TOOL,))
    assert reason in action.malformed
    assert action.tool_calls == ()


MARKUP = st.sampled_from(("<|call|>", "<|end|>", " order", " count=", " items=", " 1e999", "[" * 9999))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(MARKUP, st.text(max_size=8)), max_size=8).map("".join))
def test_arbitrary_text_never_crashes(text: str) -> None:
    for finished in (True, False):
        action = parse_action(text, (ORDER_TOOL,), "compact", finished)
        assert not (action.malformed and action.tool_calls)


def test_a_completion_cut_off_is_malformed_whatever_it_says() -> None:
    assert parse_action(" done", (), "compact", finished=False).malformed == "cut off by the length limit"
    assert parse_action(" done<|end|>", (), "compact", finished=True) == Action.say("done")


WORD = st.text(alphabet="abc/.1=é", min_size=1, max_size=5).filter(
    lambda word: word.removesuffix("=") not in ORDER_TOOL.parameters["properties"]
)
PHRASE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
NUMBER = st.integers(-(10**6), 10**6)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "path": st.one_of(PHRASE, st.just("")),
        "items": st.lists(WORD, max_size=4),
        "sizes": st.lists(NUMBER, max_size=4),
        "count": NUMBER,
        "price": st.one_of(NUMBER, st.floats(allow_nan=False, allow_infinity=False)),
        "gift": st.booleans(),
    },
)
ACTION = st.builds(
    lambda content, arguments: Action(
        content=content, tool_calls=tuple(ToolCall(name="order", arguments=json.dumps(one)) for one in arguments)
    ),
    st.one_of(PHRASE, st.just("")),
    st.lists(ARGUMENTS, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(action=ACTION)
def test_parsing_inverts_rendering(action: Action, tmp_path_factory) -> None:
    asked = Message(role="user", content="a")
    trajectory = Trajectory(id="t", task_id="t", tools=(ORDER_TOOL,), messages=(asked, action.message()))
    tokenizer = build_small_tokenizer(training_texts([trajectory]), tmp_path_factory.mktemp("tokenizer"))
    [turn] = render(trajectory, tokenizer).turns
    parsed = parse_action(str(tokenizer.decode(turn.action_ids)), (ORDER_TOOL,), "compact", finished=True)
    assert parsed.content == action.content
    assert calls(parsed) == calls(action)
