"""Hermes text back to actions: cases by hand, and the inverse of a ChatML template."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.data.hermes import parse_hermes
from pivot_jax.data.parsing import CUT_OFF, THINKING_CUT_OFF, Completion, parse_action, read_completion
from pivot_jax.data.rendering import render
from pivot_jax.records import Action, Message, ToolCall, Trajectory
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.tool_call import ToolCallMatch
from pivot_jax.verify.tool_name import ToolName
from tests.data.chatml import chatml_tokenizer
from tests.verify.candidates import candidate

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
        ("<think>\nhm", "thinking not closed"),
        (f"<think>\nhm {CALL}<|im_end|>", "thinking not closed"),
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
        ('<tool_call>\n{"name": "look", "arguments": {"x": "\\ud800"}}\n</tool_call>', "surrogate"),
        ('<tool_call>\n{"name": "\\udfff", "arguments": {}}\n</tool_call>', "surrogate"),
        (f'<tool_call>{{"name": "look", "arguments": {{"x": {"[" * 64 + "]" * 64}}}}}</tool_call>', "64 levels"),
        (f'<tool_call>{{"name": "look", "arguments": {{"x": {"9" * 5000}}}}}</tool_call>', "not JSON"),
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


@pytest.mark.parametrize(
    ("text", "opened", "reason"),
    [
        ("<think>\nhm", False, THINKING_CUT_OFF),
        ("<think>", False, THINKING_CUT_OFF),
        ("hm", True, THINKING_CUT_OFF),
        ("", True, THINKING_CUT_OFF),
        (CALL, True, THINKING_CUT_OFF),
        ("hm", False, CUT_OFF),
        ("", False, CUT_OFF),
        ("<think>\nhm\n</think>\n\nHel", False, CUT_OFF),
        ("hm\n</think>\n\nHel", True, CUT_OFF),
    ],
)
def test_thinking_that_is_cut_off_is_told_apart_and_scores_nothing(text: str, opened: bool, reason: str) -> None:
    action = parse_action(text, (), "hermes", finished=False, thinking_opened=opened)
    assert action == Action(malformed=reason)
    state = candidate(Action.say("Hello."))
    for verifier in (ToolName(), ToolCallMatch(), Exact()):
        verdict = verifier(state, action)
        assert (verdict.status, verdict.reward, verdict.reason) == ("judged", 0.0, reason)


def test_text_that_starts_inside_the_reasoning() -> None:
    said = read_completion(f"hm {CALL}\n</think>\n\n{CALL}<|im_end|>", (), "hermes", True, thinking_opened=True)
    assert said == Completion(LOOK, f"hm {CALL}")
    assert said.message().reasoning == f"hm {CALL}"
    unclosed = parse_action("Hello.<|im_end|>", (), "hermes", True, thinking_opened=True)
    assert unclosed.malformed == "thinking not closed: no </think>"
    again = read_completion("<think>\nhm\n</think>\n\nHello.", (), "hermes", True, thinking_opened=True)
    assert again == Completion(Action.say("Hello."), "hm")


def test_reasoning_is_split_off() -> None:
    assert read_completion("<think>\na\n\nb\n</think>\n\nHello.", (), "hermes", True).reasoning == "a\n\nb"
    assert read_completion("Hello.", (), "hermes", True).reasoning == ""
    assert read_completion("<think>\nso far", (), "hermes", False).reasoning == "so far"
    # a closing tag inside an argument ends nothing
    inside = '<tool_call>{"name": "say", "arguments": {"t": "</think>"}}</tool_call>'
    assert read_completion(inside, (), "hermes", True) == Completion(Action.call("say", t="</think>"))


def read_as_anything(text: str) -> None:
    """Every reading is an action or says why there is none, and a verifier judges it."""
    for opened, finished in product((True, False), repeat=2):
        action = parse_action(text, (), "hermes", finished, opened)
        assert not (action.malformed and (action.tool_calls or action.content))
        for call in action.tool_calls:
            assert call.parsed() is not None
        for verifier in (ToolName(), ToolCallMatch(), Exact()):
            verdict = verifier(candidate(LOOK), action)
            assert verdict.status == "judged"
            assert verdict.reward == 0.0 or not action.malformed


MARKUP = st.sampled_from(
    ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", '{"name": ', '"look"', ', "arguments": ', "{}",
     "}", '"', "\\ud800", "[" * 2000, "1e999", "NaN", "\n", " ", "\ud800")
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(MARKUP, st.text(max_size=8)), max_size=10).map("".join))
def test_arbitrary_text_never_crashes(text: str) -> None:
    read_as_anything(text)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_completions_never_crash(data: st.DataObject) -> None:
    text = f"<think>\nhm\n</think>\n\nLet me look.\n{CALL}\n{CALL}<|im_end|>"
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(st.one_of(st.just(""), MARKUP, st.text(max_size=3))) + text[end:]
    read_as_anything(text)


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
