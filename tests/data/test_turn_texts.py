"""When a template is proved to render message by message, and that the texts are the same either way."""

from __future__ import annotations

import pytest

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.data.compact import CHAT_TEMPLATE as COMPACT
from pivot_jax.data.turn_texts import renders_message_by_message, turn_texts
from tests.data.chatml import CHAT_TEMPLATE, chatml_tokenizer
from tests.data.episodes import shop_episode, thinking_episode

LOOP = "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}ask{% endif %}"

BY_MESSAGE = {
    "loop": LOOP,
    "prompt behind": LOOP + PROMPT,
    "macro": "{% macro say(text) %}[{{ text }}]{% endmacro %}{% for m in messages %}{{ say(m.content) }}{% endfor %}",
    "variable of the body": "{% for m in messages %}{% set said = m.content %}{{ said }}{% endfor %}" + PROMPT,
    "text around": "begin " + LOOP + " end",
}
TOGETHER = {
    "two loops": LOOP + LOOP,
    "index": "{{ messages[0].content }}",
    "first": "{% for m in messages %}{{ loop.index }}{% endfor %}",
    "length": LOOP + "{{ messages | length }}",
    "filtered": "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}",
    "slice": "{% for m in messages[1:] %}{{ m.content }}{% endfor %}",
    "nested": "{% if true %}" + LOOP + "{% endif %}",
    "prompt before": PROMPT + LOOP,
    "prompt inside": "{% for m in messages %}{{ m.content ~ add_generation_prompt }}{% endfor %}",
    "namespace": "{% set n = namespace(k=0) %}{% for m in messages %}{% set n.k = n.k + 1 %}{{ n.k }}{% endfor %}",
    "joiner": "{% set comma = joiner() %}{% for m in messages %}{{ comma() ~ m.content }}{% endfor %}",
    "tools": "{{ tools }}" + LOOP,
    "else": "{% for m in messages %}{{ m.content }}{% else %}none{% endfor %}",
    "set on some": "{% for m in messages %}{% if m.role == 'user' %}{% set x = 1 %}{% endif %}{{ x }}{% endfor %}",
    "break": "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}",
}


@pytest.mark.parametrize("name", BY_MESSAGE)
def test_proved(name: str) -> None:
    assert renders_message_by_message(BY_MESSAGE[name])


@pytest.mark.parametrize("name", TOGETHER)
def test_not_proved(name: str) -> None:
    assert not renders_message_by_message(TOGETHER[name])


def test_the_shipped_templates() -> None:
    assert renders_message_by_message(COMPACT.read_text(encoding="utf-8"))
    assert not renders_message_by_message(CHAT_TEMPLATE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [*BY_MESSAGE, *TOGETHER])
def test_texts_are_those_of_every_history_by_itself(name: str) -> None:
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    tokenizer.chat_template = {**BY_MESSAGE, **TOGETHER}[name]
    for trajectory, positions in ((shop_episode(), [2, 4, 7]), (thinking_episode(1), [2, 4, 6, 8])):
        messages, tools = template_messages(trajectory.messages), template_tools(trajectory.tools)

        def text(end: int, prompt: bool, messages=messages, tools=tools) -> str:
            shown = messages[:end]
            return str(tokenizer.apply_chat_template(shown, tools=tools, add_generation_prompt=prompt, tokenize=False))

        states, wholes = turn_texts(tokenizer, messages, tools, positions)
        assert states == [text(at, True) for at in positions]
        assert wholes == [text(at + 1, False) for at in positions]
