"""Trajectories to token ids, through the tokenizer's own chat template."""

from __future__ import annotations

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pivot_jax.data.chat_template import ends_in_thinking, opens_thinking, template_messages, template_tools
from pivot_jax.data.failure import RenderError
from pivot_jax.data.rendered import Rendered, RenderedTurn
from pivot_jax.data.token_ids import token_ids
from pivot_jax.data.turn_texts import turn_texts
from pivot_jax.data.turns import turns
from pivot_jax.records import Trajectory


def render(trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """The state and action of every turn as token ids. Reads no file and keeps nothing between calls.

    The action is cut from the tokens of history and action together, so that it is what a policy would have sampled.
    Where a token spans the border of the two, the action's text is tokenised by itself, as sampling would have done.

    A turn's own reasoning is part of its action wherever the template shows it, from the first token that the
    generation prompt leaves to the policy: `<think>` and the reasoning, or the reasoning alone where the prompt has
    opened the block. SFT trains on these tokens, so it teaches to think as the expert did; a turn without reasoning
    teaches an empty block under templates that write one (Qwen3). What later states show of it is up to the template.

    Args:
        trajectory: its tools are shown to the template in every state.
        tokenizer: a Hugging Face tokenizer with a chat template.

    Raises:
        RenderError: naming the trajectory and the turn, when there is no turn, the template refuses the messages, the
            action's text does not follow the state's, the action has no end-of-turn token, or the generation prompt
            opens a thinking block at some states only.
    """
    positions = [turn.position for turn in turns(trajectory)]
    if not positions:
        raise RenderError(trajectory.id, None, "no assistant message after the first message, so no turn")
    messages, tools = template_messages(trajectory.messages), template_tools(trajectory.tools)
    try:
        states, wholes = turn_texts(tokenizer, messages, tools, positions)
        opened = opens_thinking(tokenizer)
    except TemplateError as error:
        raise RenderError(trajectory.id, None, f"the chat template fails: {error}") from error
    ids = token_ids(tokenizer, [*states, *wholes])
    rendered: list[RenderedTurn] = []
    for index, (state, whole) in enumerate(zip(ids[: len(states)], ids[len(states) :], strict=True)):
        if ends_in_thinking(states[index]) != opened:
            raise RenderError(trajectory.id, index, "the generation prompt opens a thinking block at some states only")
        action = whole[len(state) :]
        if whole[: len(state)] != state:
            if not wholes[index].startswith(states[index]):
                raise RenderError(trajectory.id, index, "the rendered action does not follow the rendered state")
            [action] = token_ids(tokenizer, [wholes[index][len(states[index]) :]])
        length = _length_to_end(action, tokenizer)
        if length == 0:
            raise RenderError(trajectory.id, index, "the rendered action has no end-of-turn token")
        turn = RenderedTurn(index, np.asarray(state, dtype=np.int32), np.asarray(action[:length], dtype=np.int32))
        rendered.append(turn)
    return Rendered(trajectory_id=trajectory.id, turns=tuple(rendered))


def _length_to_end(action: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Length of the action up to and including its end of turn: the last end-of-sequence token, or for a template that
    ends turns with another token the last special one; 0 if there is neither."""
    for length in range(len(action), 0, -1):
        if action[length - 1] == tokenizer.eos_token_id:
            return length
    special = tokenizer.all_special_ids
    for length in range(len(action), 0, -1):
        if action[length - 1] in special:
            return length
    return 0
