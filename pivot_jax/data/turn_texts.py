"""The text of every state, and of every state with its action, through the tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes
from transformers import PreTrainedTokenizerBase

TemplateMessage = dict[str, Any]
TemplateTools = list[dict[str, Any]] | None


def turn_texts(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[TemplateMessage],
    tools: TemplateTools,
    positions: Sequence[int],
) -> tuple[list[str], list[str]]:
    """For the turn at each position, the messages before it with the generation prompt, and the messages up to it.

    A template is a program over the whole history, so in general it runs anew for every turn. Where its source shows
    that it writes each message by itself, every message is rendered once and the texts are joined.
    """
    if joins_messages(tokenizer, tools):
        pieces = _texts(tokenizer, [[message] for message in messages[: positions[-1] + 1]], None, prompt=False)
        [generation_prompt] = _texts(tokenizer, [[]], None, prompt=True)
        until = list(accumulate(pieces, initial=""))
        return [until[at] + generation_prompt for at in positions], [until[at + 1] for at in positions]
    return (
        _texts(tokenizer, [messages[:at] for at in positions], tools, prompt=True),
        _texts(tokenizer, [messages[: at + 1] for at in positions], tools, prompt=False),
    )


def joins_messages(tokenizer: PreTrainedTokenizerBase, tools: TemplateTools) -> bool:
    """Whether the text of a history is the texts of its messages, joined, and nothing else but a generation prompt."""
    if not renders_message_by_message(str(tokenizer.get_chat_template(tools=tools))):
        return False
    return _texts(tokenizer, [[]], None, prompt=False) == [""]


@lru_cache
def renders_message_by_message(template: str) -> bool:
    """Whether the source proves that what a message becomes depends on nothing but that message.

    It is proved when `messages` occurs once, as what one outermost loop runs over; `loop` does not occur;
    `add_generation_prompt` occurs behind that loop alone; and nothing else is read: no tools, no namespace.
    """
    plain_jinja = Environment()
    plain_jinja.globals.clear()  # so that `namespace`, `joiner` and the like count as names that are read
    try:
        tree = plain_jinja.parse(template)
    except TemplateSyntaxError:  # a tag that plain Jinja does not have, such as `break`: nothing is proved
        return False
    names = [name.name for name in tree.find_all(nodes.Name)]
    known = {"messages", "add_generation_prompt", "raise_exception"}
    if names.count("messages") != 1 or "loop" in names or not meta.find_undeclared_variables(tree) <= known:
        return False
    for place, node in enumerate(tree.body):
        if isinstance(node, nodes.For) and isinstance(node.iter, nodes.Name) and node.iter.name == "messages":
            plain = not (node.test or node.else_ or node.recursive)
            until = [name.name for part in tree.body[: place + 1] for name in part.find_all(nodes.Name)]
            return plain and "add_generation_prompt" not in until
    return False


def _texts(
    tokenizer: PreTrainedTokenizerBase,
    histories: Sequence[Sequence[TemplateMessage]],
    tools: TemplateTools,
    *,
    prompt: bool,
) -> list[str]:
    rendered = tokenizer.apply_chat_template(histories, tools=tools, add_generation_prompt=prompt, tokenize=False)  # pyright: ignore[reportArgumentType]
    return [str(text) for text in rendered]
