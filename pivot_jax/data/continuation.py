"""The next state's token ids after a sampled action: what the policy wrote is kept as it is, never re-tokenised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.data.rendered import TokenIds
from pivot_jax.data.turn_texts import joins_messages
from pivot_jax.records import Message, Tool


def opening_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool]) -> TokenIds:
    """The first state: the messages before the first turn, with the generation prompt."""
    return _ids(tokenizer, _text(tokenizer, messages, tools, prompt=True))


def continued_ids(
    tokenizer: PreTrainedTokenizerBase,
    written: TokenIds,
    before: Sequence[Message],
    answer: Sequence[Message],
    tools: Sequence[Tool],
    *,
    finished: bool,
) -> TokenIds:
    """`written`, then what the template puts between the end of that turn and the next generation prompt.

    Args:
        tokenizer: with the policy's chat template.
        written: ids of the history and of the sampled action.
        before: the messages up to and including that action.
        answer: the messages that follow it (tool results, the user).
        tools: the tools of the state.
        finished: False when the action was cut off; its end-of-turn token is then put in.

    A template that rewrites earlier turns (thinking stripped) has no such continuation: the state is rendered anew.
    """
    end = str(tokenizer.eos_token)
    if joins_messages(tokenizer, template_tools(tools)):
        before, tools = before[-1:], ()  # what came earlier changes nothing in the text of what is new
    past = _text(tokenizer, before, tools, prompt=False)
    whole = _text(tokenizer, [*before, *answer], tools, prompt=True)
    past = past[: past.rindex(end) + len(end)]
    if not whole.startswith(past):
        return _ids(tokenizer, whole)
    closing = [] if finished else [end_of_turn_id(tokenizer)]
    return np.concatenate([written, np.asarray(closing, np.int32), _ids(tokenizer, whole[len(past) :])])


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an action."""
    return int(np.asarray(tokenizer.convert_tokens_to_ids([str(tokenizer.eos_token)]))[0])


def _text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Sequence[Tool], *, prompt: bool
) -> str:
    rendered = tokenizer.apply_chat_template(
        template_messages(messages),
        tools=template_tools(tools),  # pyright: ignore[reportArgumentType]
        add_generation_prompt=prompt,
        tokenize=False,
    )
    return str(rendered)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> TokenIds:
    return np.asarray(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], np.int32)
