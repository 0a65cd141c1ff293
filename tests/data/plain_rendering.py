"""Rendering written out the slow way: every history through the template and the tokenizer by itself."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.records import Trajectory


def plain_states_and_wholes(
    trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[list[int], list[int]]]:
    """For each assistant message after the first message, the ids of the messages before it, and up to it."""
    messages, tools = template_messages(trajectory.messages), template_tools(trajectory.tools)

    def ids(end: int, prompt: bool) -> list[int]:
        text = tokenizer.apply_chat_template(messages[:end], tools=tools, add_generation_prompt=prompt, tokenize=False)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    spoken = [at for at in range(1, len(messages)) if messages[at]["role"] == "assistant"]
    return [(ids(at, True), ids(at + 1, False)) for at in spoken]
