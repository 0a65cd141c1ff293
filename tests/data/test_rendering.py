"""Rendering: the ids of states and actions against the template's own text, and where it must refuse."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.data.failure import RenderError
from pivot_jax.data.rendering import render
from pivot_jax.records import Action, Message, Trajectory
from tests.data.chatml import chatml_tokenizer
from tests.data.episodes import thinking_episode
from tests.data.plain_rendering import plain_states_and_wholes


def test_actions_are_what_the_policy_would_have_sampled(
    shop: Trajectory, small_tokenizer: PreTrainedTokenizerFast
) -> None:
    rendered = render(shop, small_tokenizer)
    assert [small_tokenizer.decode(turn.action_ids) for turn in rendered.turns] == [
        "<|call|> order path= /a/b items= cup tea count= 3<|end|>",
        " one moment<|call|> order price= 1.5 gift= true<|call|> order path= sizes= 1 2<|end|>",
        " done<|end|>",
    ]
    assert (
        small_tokenizer.decode(rendered.turns[0].state_ids) == "<|system|> be brief<|user|> buy tea please<|assistant|>"
    )
    assert {turn.state_ids.dtype for turn in rendered.turns} == {np.dtype(np.int32)}
    assert {turn.action_ids.dtype for turn in rendered.turns} == {np.dtype(np.int32)}


def test_a_whole_trajectory_is_the_rendering_of_all_its_messages(
    shop: Trajectory, small_tokenizer: PreTrainedTokenizerFast
) -> None:
    rendered = render(shop, small_tokenizer)
    text = small_tokenizer.apply_chat_template(template_messages(shop.messages), tokenize=False)
    assert rendered.prefix_preserving
    assert rendered.ids.tolist() == small_tokenizer(text)["input_ids"]
    assert rendered.ids[rendered.action_mask].tolist() == [
        token for turn in rendered.turns for token in turn.action_ids.tolist()
    ]


@pytest.mark.parametrize("keep_reasoning", [True, False])
def test_an_action_is_exactly_the_assistant_turn(keep_reasoning: bool) -> None:
    trajectory = thinking_episode(thoughts=2)
    tokenizer = chatml_tokenizer(keep_reasoning=keep_reasoning)
    actions = [str(tokenizer.decode(turn.action_ids)) for turn in render(trajectory, tokenizer).turns]
    call = '<tool_call>\n{"name": "order", "arguments": {"path": "%s"}}\n</tool_call>'
    said = [call % "/tea", "bought", call % "/cup", "bought too"]
    assert actions == [
        f"<think>\n{f'thought {index} ' * 2}\n</think>\n\n{text}<|im_end|>" for index, text in enumerate(said)
    ]


def test_the_state_ends_in_the_generation_prompt_and_shows_the_tools() -> None:
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    trajectory = thinking_episode(thoughts=1)
    for turn in render(trajectory, tokenizer).turns:
        state = str(tokenizer.decode(turn.state_ids))
        assert state.endswith("<|im_start|>assistant\n")
        assert '"description": "Place an order."' in state
    assert template_tools(()) is None


def test_a_template_that_keeps_reasoning_preserves_prefixes() -> None:
    rendered = render(thinking_episode(), chatml_tokenizer(keep_reasoning=True))
    assert rendered.prefix_preserving
    assert len(rendered.sequences()) == 1
    for turn in rendered.turns:
        start = len(turn.state_ids)
        assert rendered.ids[start:][: len(turn.action_ids)].tolist() == turn.action_ids.tolist()
        assert not rendered.action_mask[start - 1]  # the generation prompt
        assert rendered.action_mask[start:][: len(turn.action_ids)].all()
    assert rendered.action_mask.sum() == sum(len(turn.action_ids) for turn in rendered.turns)


def test_a_template_that_strips_reasoning_gives_a_sequence_for_each_stretch() -> None:
    rendered = render(thinking_episode(), chatml_tokenizer(keep_reasoning=False))
    assert not rendered.prefix_preserving
    with pytest.raises(RenderError, match=r"'think/1'.* 2 sequences"):
        _ = rendered.ids
    with pytest.raises(RenderError, match="2 sequences"):
        _ = rendered.action_mask
    turns = rendered.turns
    for sequence, stretch in zip(rendered.sequences(), (turns[:2], turns[2:]), strict=True):
        last = stretch[-1]
        assert sequence.ids.tolist() == [*last.state_ids, *last.action_ids]
        assert sequence.ids[sequence.action_mask].tolist() == [*stretch[0].action_ids, *stretch[1].action_ids]


def test_an_opening_greeting_is_state_and_no_turn(shop: Trajectory, small_tokenizer: PreTrainedTokenizerFast) -> None:
    greeting = Message(role="assistant", content="buy tea")
    greeted = shop.model_copy(update={"messages": (greeting, *shop.messages)})
    plain, opened = render(shop, small_tokenizer), render(greeted, small_tokenizer)
    opening = small_tokenizer("<|assistant|> buy tea<|end|>")["input_ids"]
    assert [turn.index for turn in opened.turns] == [0, 1, 2]
    for turn, before in zip(opened.turns, plain.turns, strict=True):
        assert turn.state_ids.tolist() == [*opening, *before.state_ids.tolist()]
        assert turn.action_ids.tolist() == before.action_ids.tolist()
    assert opened.prefix_preserving
    assert not opened.action_mask[: len(opening)].any()


@pytest.mark.parametrize("keep_reasoning", [None, True, False])
def test_rendering_equals_every_history_by_itself(
    keep_reasoning: bool | None, shop: Trajectory, small_tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer = small_tokenizer if keep_reasoning is None else chatml_tokenizer(keep_reasoning=keep_reasoning)
    for trajectory in (shop, thinking_episode(2)):
        expected = plain_states_and_wholes(trajectory, tokenizer)
        for turn, (state, whole) in zip(render(trajectory, tokenizer).turns, expected, strict=True):
            assert turn.state_ids.tolist() == state
            action = whole[len(state) :]
            assert turn.action_ids.tolist() == action[: len(turn.action_ids)]
            assert tokenizer.eos_token_id not in action[len(turn.action_ids) :]


def test_a_token_across_the_border_leaves_the_action_by_itself() -> None:
    tokenizer = chatml_tokenizer(keep_reasoning=True, merge_newlines=True)
    messages = (Message(role="user", content="hi"), Message(role="assistant", content="\nyes"))
    [turn] = render(Trajectory(id="t", task_id="t", messages=messages), tokenizer).turns
    whole = str(tokenizer.apply_chat_template(template_messages(messages), tokenize=False))
    together = tokenizer(whole)["input_ids"]
    assert together[: len(turn.state_ids)] != turn.state_ids.tolist()  # the border really is inside a token
    assert tokenizer.decode(turn.state_ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(turn.action_ids) == "\nyes<|im_end|>"


def test_the_template_may_end_turns_with_a_token_that_is_not_end_of_sequence() -> None:
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    rendered = render(thinking_episode(thoughts=1), tokenizer)
    assert str(tokenizer.decode(rendered.turns[1].action_ids)).endswith("bought<|im_end|>")


def small(*messages: Message) -> Trajectory:
    return Trajectory(id="odd/1", task_id="t", messages=messages)


def refused(trajectory: Trajectory, template: str | None = None) -> RenderError:
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    tokenizer.chat_template = template or tokenizer.chat_template
    with pytest.raises(RenderError, match="trajectory 'odd/1'") as caught:
        render(trajectory, tokenizer)
    return caught.value


ASKED = Message(role="user", content="hi")
ANSWERED = Action.say("hello").message()


def test_what_cannot_be_rendered_is_named() -> None:
    for trajectory in (small(ASKED), small(ANSWERED), small(ANSWERED, ASKED)):
        error = refused(trajectory)
        assert (error.turn, "so no turn" in error.reason) == (None, True)
    diverging = "{% if add_generation_prompt %}<|im_start|>ask{% else %}<|im_start|>say<|im_end|>{% endif %}"
    error = refused(small(ASKED, ANSWERED), diverging)
    assert (error.turn, "does not follow" in error.reason) == (0, True)
    assert "end-of-turn" in refused(small(ASKED, ANSWERED), "{% for m in messages %}{{ m.content }}{% endfor %}").reason
    assert "no tools here" in refused(small(ASKED, ANSWERED), "{{ raise_exception('no tools here') }}").reason
