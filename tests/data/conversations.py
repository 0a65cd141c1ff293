"""Random conversations for property tests: reasoning, parallel calls, tool results, text of any kind."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from pivot_jax.data.bpe_tokenizer import MARKUP_TOKENS, SPECIAL_TOKENS
from pivot_jax.records import Message, ToolCall, Trajectory
from tests.data.episodes import ORDER_TOOL

_MARKUP = (*SPECIAL_TOKENS, *MARKUP_TOKENS, "<tool_response>", "</tool_response>")
_PIECES = st.sampled_from(("tea", " ", "\n", "\n\n", '"', "{}", "\\", "é", "茶", "👩‍🚀", "\u2028", "<", "think>", "0"))

TEXT = st.one_of(st.lists(_PIECES, max_size=6).map("".join), st.text(max_size=12)).filter(
    lambda text: not any(token in text for token in _MARKUP)
)
"""Any text without the markup of a template: that would be read as what it is."""

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXT, inner, max_size=2)),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=3)


@st.composite
def conversations(draw: st.DrawFn, *, reasoning: bool = True, unasked: bool = False) -> Trajectory:
    """One to five turns; each calls up to three tools, speaks, or both; users ask in between.

    Args:
        draw: hypothesis.
        reasoning: turns may carry reasoning.
        unasked: some have no user message at all.
    """
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message(role="system", content=draw(TEXT)))
    user = not unasked or draw(st.booleans())
    if user or not messages:
        messages.append(Message(role="user" if user else "system", content=draw(TEXT)))
    for _ in range(draw(st.integers(1, 5))):
        arguments: list[dict[str, Any]] = draw(st.lists(ARGUMENTS, max_size=3))
        calls = tuple(ToolCall(name="order", arguments=json.dumps(one), id=str(n)) for n, one in enumerate(arguments))
        thought = draw(TEXT).strip("\n") if reasoning and draw(st.booleans()) else ""
        messages.append(Message(role="assistant", content=draw(TEXT), tool_calls=calls, reasoning=thought))
        messages += [Message(role="tool", content=draw(TEXT), tool_call_id=call.id) for call in calls]
        if user and (not calls or draw(st.booleans())):
            messages.append(Message(role="user", content=draw(TEXT)))
    tools = (ORDER_TOOL,) if draw(st.booleans()) else ()
    return Trajectory(id="random", task_id="random", messages=tuple(messages), tools=tools)
