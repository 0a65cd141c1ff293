"""Hermes text back to actions: cases by hand, and the inverse of a ChatML template."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.data.hermes import parse_hermes
from pivot_jax.data.parsing import parse_action
from pivot_jax.data.rendering import render
from pivot_jax.records import Action, Message, ToolCall, Trajectory
from tests.data.chatml import chatml_tokenizer

CALL = '<tool_call>\n{"name": "look", "arguments": {"at": [1, "x"]}}\n</tool_call>'
LOOK = Action.call("look", at=[1, "x"])


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Hello.<|im_end|>", Action.say("Hello.")),
        ("", Action.say("")),
        (CALL, LOOK),
        (f"<think>\nhm {CALL}\n</think>\n\n{CALL}<|im_end|>", LOOK),
        (f"reasoning that the prompt opened\n</think>\n\n{CALL}", LOOK),
        (f"Let me look.\n{CALL}\n{CALL}", Action(content="Let me look.", tool_calls=LOOK.tool_calls * 2)),
        ('<tool_call>{"name": "say", "arguments": {"t": "</tool_call></think>"}}</tool_call>',
         Action.call("say", t="</tool_call></think>")),
    ],
)  # fmt: skip
def test_well_formed(text: str, action: Action) -> None:
    assert parse_hermes(text) == action


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>\nhm", "thinking cut off"),
        (f"<think>\nhm {CALL}", "thinking cut off"),
        ("<tool_call>\nlook\n</tool_call>", "not JSON"),
        ("<tool_call>\n" + "[" * 100_000, "not JSON"),
        ('<tool_call>\n{"name": "look", "arguments": {}}', "without </tool_call>"),
        ('<tool_call>\n{"name": "look", "arguments": {}} {}\n</tool_call>', "without </tool_call>"),
        ("hm</tool_call>", "without <tool_call>"),
        ('<tool_call>\n{"name": "look"}\n</tool_call>', "is not {"),
        ('<tool_call>\n{"name": "", "arguments": {}}\n</tool_call>', "is not {"),
        ('<tool_call>\n{"name": "look", "arguments": "{}"}\n</tool_call>', "is not {"),
        ('<tool_call>\n["look"]\n</tool_call>', "is not {"),
        ('<tool_call>\n{"name": "look", "arguments": {"x": NaN}}\n</tool_call>', "JSON compliant"),
    ],
)
def test_text_without_a_reading_is_malformed(text: str, reason: str) -> None:
    action = parse_hermes(text)
    assert reason in action.malformed
    assert action.tool_calls == ()
    assert action.content == ""


def test_a_completion_cut_off_is_malformed() -> None:
    assert parse_action(CALL, (), "hermes", finished=False).malformed == "cut off by the length limit"
    assert parse_action(CALL, (), "hermes", finished=True) == LOOK


JSON_VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
CONTENT = st.text(max_size=30).map(str.strip).filter(lambda text: "<|" not in text and "tool_call>" not in text)
TOKENIZER = chatml_tokenizer(keep_reasoning=True)


@settings(max_examples=80, deadline=None)
@given(
    content=CONTENT.filter(lambda text: "think>" not in text),
    arguments=st.lists(st.dictionaries(st.text(), JSON_VALUE, max_size=3), max_size=2),
    reasoning=CONTENT.filter(lambda text: "</think>" not in text),
)
def test_parsing_inverts_rendering(content: str, arguments: list[dict[str, object]], reasoning: str) -> None:
    calls = tuple(ToolCall(name="look", arguments=json.dumps(one)) for one in arguments)
    action = Action(content=content, tool_calls=calls)
    answer = action.message().model_copy(update={"reasoning": reasoning})
    trajectory = Trajectory(id="t", task_id="t", messages=(Message(role="user", content="hi"), answer))
    [turn] = render(trajectory, TOKENIZER).turns
    parsed = parse_action(str(TOKENIZER.decode(turn.action_ids)), (), "hermes", finished=True)
    assert (parsed.malformed, parsed.content) == ("", content)
    assert [(call.name, call.parsed()) for call in parsed.tool_calls] == [("look", one) for one in arguments]
