"""Templates that rewrite history: Qwen3's in its three modes, token for token against `apply_chat_template`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.chat_template import opens_thinking, template_messages, template_tools
from pivot_jax.data.continuation import continued_ids, opening_ids
from pivot_jax.data.failure import RenderError
from pivot_jax.data.parsing import read_ids
from pivot_jax.data.rendered import Rendered
from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import sharing, trunks
from pivot_jax.data.turns import turns
from pivot_jax.records import Action, Message, ToolCall, Trajectory
from tests.data.chatml import chatml_tokenizer, qwen3_tokenizer
from tests.data.conversations import conversations
from tests.data.episodes import shop_episode, thinking_episode

TOKENIZERS = {
    "chatml, kept": chatml_tokenizer(keep_reasoning=True),
    "chatml, stripped": chatml_tokenizer(keep_reasoning=False),
    "qwen3": qwen3_tokenizer("free"),
    "qwen3, not thinking": qwen3_tokenizer("off"),
    "qwen3, thinking 2507": qwen3_tokenizer("always"),
    "newlines merge": qwen3_tokenizer("always", merge_newlines=True),
}
EVERY = pytest.mark.parametrize("name", TOKENIZERS)


def drawn(name: str, data: st.DataObject) -> tuple[Trajectory, PreTrainedTokenizerFast]:
    """A conversation that this template can render: without thinking, nobody reasons."""
    return data.draw(conversations(reasoning="not thinking" not in name)), TOKENIZERS[name]


def reference(
    tokenizer: PreTrainedTokenizerFast, trajectory: Trajectory, end: int, *, prompt: bool
) -> tuple[list[int], str]:
    """Ids and text of the first `end` messages, by transformers alone."""
    messages, tools = template_messages(trajectory.messages[:end]), template_tools(trajectory.tools)
    ids = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=True)
    text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=False)
    return ids["input_ids"], str(text)


@EVERY
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_states_and_actions_are_those_of_apply_chat_template(name: str, data: st.DataObject) -> None:
    trajectory, tokenizer = drawn(name, data)
    for turn, rendered in zip(turns(trajectory), render(trajectory, tokenizer).turns, strict=True):
        state, state_text = reference(tokenizer, trajectory, turn.position, prompt=True)
        whole, whole_text = reference(tokenizer, trajectory, turn.position + 1, prompt=False)
        assert rendered.state_ids.tolist() == state
        assert state_text + str(tokenizer.decode(rendered.action_ids)) + "\n" == whole_text
        if whole[: len(state)] == state:
            assert [*state, *rendered.action_ids.tolist(), *tokenizer("\n")["input_ids"]] == whole
        else:  # a token spans the border: sampling starts behind the state, so the action stands by itself
            assert name == "newlines merge"
            assert rendered.action_ids.tolist() == tokenizer(whole_text[len(state_text) : -1])["input_ids"]


@EVERY
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_an_action_reads_back_as_what_the_message_records(name: str, data: st.DataObject) -> None:
    trajectory, tokenizer = drawn(name, data)
    for turn, rendered in zip(turns(trajectory), render(trajectory, tokenizer).turns, strict=True):
        message = trajectory.messages[turn.position]
        completion = read_ids(rendered.action_ids, tokenizer, trajectory.tools, "hermes")
        assert (completion.action.malformed, completion.reasoning) == ("", message.reasoning)
        assert completion.action.content == message.content.strip()
        assert said(completion.action.tool_calls) == said(message.tool_calls)


def said(calls: tuple[ToolCall, ...]) -> list[tuple[str, object]]:
    return [(call.name, call.parsed()) for call in calls]


@EVERY
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_action_is_in_one_mask_behind_its_own_state(name: str, data: st.DataObject) -> None:
    rendered = render(*drawn(name, data))
    waiting = list(rendered.turns)
    for sequence in rendered.sequences():
        masked = 0
        while masked < sequence.action_mask.sum():
            turn = waiting.pop(0)
            end = len(turn.state_ids) + len(turn.action_ids)
            assert sequence.ids[:end].tolist() == [*turn.state_ids, *turn.action_ids]
            assert sequence.action_mask[len(turn.state_ids) : end].all()
            masked += len(turn.action_ids)
        assert masked == sequence.action_mask.sum()
    assert waiting == []


@EVERY
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_trunks_restore_every_state(name: str, data: st.DataObject) -> None:
    rendered = render(*drawn(name, data))
    layout = trunks(rendered)
    restored = {
        branch.turn_index: [*trunk.ids[: branch.start], *branch.forced_ids]
        for trunk in layout
        for branch in trunk.branches
    }
    assert restored == {turn.index: turn.state_ids.tolist() for turn in rendered.turns}
    counts = sharing(layout)
    assert counts["computed_tokens"] <= counts["state_tokens"]
    assert counts["trunks"] <= max(1, len(rendered.sequences()))


@EVERY
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_sampled_action_is_continued_to_the_state_that_the_template_renders(name: str, data: st.DataObject) -> None:
    trajectory, tokenizer = drawn(name, data)
    rendered = render(trajectory, tokenizer)
    places = [turn.position for turn in turns(trajectory)]
    messages, tools = trajectory.messages, trajectory.tools
    assert opening_ids(tokenizer, messages[: places[0]], tools).tolist() == rendered.turns[0].state_ids.tolist()
    for turn, now, then in zip(rendered.turns, places, places[1:], strict=False):
        completion = read_ids(turn.action_ids, tokenizer, tools, "hermes")
        # content as it was recorded: a reader strips it
        acted = completion.message().model_copy(update={"content": messages[now].content})
        written = np.concatenate([turn.state_ids, turn.action_ids])
        before, answer = [*messages[:now], acted], messages[now + 1 : then]
        ids = continued_ids(tokenizer, written, before, answer, tools, finished=True)
        following = rendered.turns[turn.index + 1].state_ids
        assert tokenizer.decode(ids) == tokenizer.decode(following)
        if name != "newlines merge":
            assert ids.tolist() == following.tolist()


def test_the_prompt_opens_a_thinking_block_under_thinking_2507_alone() -> None:
    opened = {name for name, tokenizer in TOKENIZERS.items() if opens_thinking(tokenizer)}
    assert opened == {"qwen3, thinking 2507", "newlines merge"}


def texts(rendered: Rendered, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, str]]:
    prompt = "<|im_start|>assistant\n"
    return [
        (prompt + str(tokenizer.decode(turn.state_ids)).rpartition(prompt)[2], str(tokenizer.decode(turn.action_ids)))
        for turn in rendered.turns
    ]


@pytest.mark.parametrize(
    ("name", "prompt", "opening"),
    [("qwen3", "", "<think>\n"), ("qwen3, thinking 2507", "<think>\n", ""), ("newlines merge", "<think>\n", "")],
)
def test_an_action_is_trained_on_with_its_reasoning(name: str, prompt: str, opening: str) -> None:
    tokenizer = TOKENIZERS[name]
    [*_, (state, action)] = texts(render(thinking_episode(thoughts=1), tokenizer), tokenizer)
    assert state == "<|im_start|>assistant\n" + prompt
    assert action == f"{opening}thought 3 \n</think>\n\nbought too<|im_end|>"
    # without reasoning, the block is empty: imitation then teaches not to think
    [(_, unthinking), *_] = texts(render(shop_episode(), tokenizer), tokenizer)
    assert unthinking.startswith(f"{opening}\n</think>\n\n<tool_call>\n")


def test_without_thinking_the_prompt_closes_the_block_and_reasoning_cannot_be_rendered() -> None:
    tokenizer = TOKENIZERS["qwen3, not thinking"]
    [*_, (state, action)] = texts(render(shop_episode(), tokenizer), tokenizer)
    assert state == "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert action == "done<|im_end|>"
    with pytest.raises(RenderError, match=r"turn 0: the rendered action does not follow the rendered state"):
        render(thinking_episode(), tokenizer)


def test_qwen3_shows_reasoning_up_to_the_next_thing_that_the_user_says() -> None:
    for name in ("qwen3", "qwen3, thinking 2507"):
        tokenizer = TOKENIZERS[name]
        rendered = render(thinking_episode(thoughts=1), tokenizer)
        shown = [
            [number for number in range(4) if f"thought {number}" in str(tokenizer.decode(turn.state_ids))]
            for turn in rendered.turns
        ]
        assert shown == [[], [0], [], [2]]
        assert [int(one.action_mask.sum()) for one in rendered.sequences()] == [
            sum(len(turn.action_ids) for turn in stretch) for stretch in (rendered.turns[:2], rendered.turns[2:])
        ]


def test_qwen3_rewrites_every_turn_that_did_not_reason() -> None:
    # its template shows an empty block in the last turn only
    rendered = render(shop_episode(), TOKENIZERS["qwen3"])
    assert [len(one.ids) for one in rendered.sequences()] == [
        len(turn.state_ids) + len(turn.action_ids) for turn in rendered.turns
    ]
    assert len(trunks(rendered)) == 1


def test_tool_results_in_a_row_are_one_user_turn() -> None:
    tokenizer = TOKENIZERS["qwen3"]
    state = str(tokenizer.decode(render(shop_episode(), tokenizer).turns[2].state_ids))
    results = "<tool_response>\nno gift\n</tool_response>\n<tool_response>\n\n</tool_response>"
    assert f"<|im_start|>user\n{results}<|im_end|>\n<|im_start|>assistant\n" in state
    assert "one moment\n<tool_call>\n" in state
    assert "</tool_call>\n<tool_call>\n" in state
    assert "<|im_start|>system\nbe brief\nnot shown\n\n# Tools\n" in state


def test_a_template_that_opens_thinking_at_some_states_only_is_refused() -> None:
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    prompt = "{{ '<|im_start|>assistant\n' ~ ('<think>\n' if messages | length > 2 else '') }}"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}"
        "{{ '<think>\n' if m.role == 'assistant' and loop.index > 2 else '' }}"
        "{{ m.content ~ '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}" + prompt + "{% endif %}"
    )
    asked, answered = Message(role="user", content="hi"), Action.say("hello").message()
    render(Trajectory(id="t", task_id="t", messages=(asked, answered)), tokenizer)
    with pytest.raises(RenderError, match="turn 1: the generation prompt opens a thinking block at some states only"):
        render(Trajectory(id="t", task_id="t", messages=(asked, answered, asked, answered)), tokenizer)


def test_a_sampled_answer_keeps_its_own_tokens_and_its_reasoning() -> None:
    tokenizer = TOKENIZERS["qwen3, thinking 2507"]
    asked = Message(role="user", content="hi")
    state = opening_ids(tokenizer, [asked], ())
    # spacing that no template would write
    text = 'hm\n</think><tool_call>{"name":"look","arguments":{}}</tool_call>'
    action = np.asarray(tokenizer(text + "<|im_end|>")["input_ids"], np.int32)
    completion = read_ids(action, tokenizer, (), "hermes")
    assert (completion.reasoning, completion.action) == ("hm", Action.call("look"))
    written, result = np.concatenate([state, action]), Message(role="tool", content="a cup")
    before = [asked, completion.message()]
    ids = continued_ids(tokenizer, written, before, [result], (), finished=True)
    assert ids[: len(written)].tolist() == written.tolist()
    # the user's next words end the stretch: the template drops the reasoning, so the state is rendered anew
    ids = continued_ids(tokenizer, written, before, [Message(role="user", content="and?")], (), finished=True)
    assert "hm" not in str(tokenizer.decode(ids))
