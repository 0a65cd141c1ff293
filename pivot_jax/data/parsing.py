"""Sampled text to an action: the formats a policy may write in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from pivot_jax.data.chat_template import opens_thinking
from pivot_jax.data.compact import parse_compact
from pivot_jax.data.hermes import parse_hermes, split_thinking
from pivot_jax.data.rendered import TokenIds
from pivot_jax.records import Action, Message, Tool

ActionFormat = Literal["compact", "hermes"]

CUT_OFF = "cut off by the length limit"
THINKING_CUT_OFF = "thinking cut off by the length limit"


@dataclass(frozen=True)
class Completion:
    """A completion read back: what it does, and the reasoning before that (as far as it goes, where it is cut off)."""

    action: Action
    reasoning: str = ""

    def message(self) -> Message:
        """This completion as an assistant message of the history, with its reasoning: a template decides whether later
        states show it."""
        return self.action.message().model_copy(update={"reasoning": self.reasoning})


def read_completion(
    text: str, tools: Sequence[Tool], action_format: ActionFormat, finished: bool, thinking_opened: bool = False
) -> Completion:
    """The completion that sampled text stands for; never raises on what a policy wrote.

    Args:
        text: everything after the generation prompt, with or without the end-of-turn token.
        tools: the tools of the state.
        action_format: how the policy's chat template writes calls; only "hermes" knows reasoning.
        finished: False when sampling stopped at the length limit, before the end-of-turn token.
        thinking_opened: the generation prompt has opened the thinking block (`opens_thinking`).
    """
    if action_format == "compact":
        return Completion(parse_compact(text, tools) if finished else Action(malformed=CUT_OFF))
    reasoning, said = split_thinking(text, thinking_opened=thinking_opened)
    if finished:
        return Completion(parse_hermes(text, thinking_opened=thinking_opened), reasoning)
    return Completion(Action(malformed=THINKING_CUT_OFF if said is None else CUT_OFF), reasoning)


def parse_action(
    text: str, tools: Sequence[Tool], action_format: ActionFormat, finished: bool, thinking_opened: bool = False
) -> Action:
    """The action of `read_completion`; one without a reading says why in `malformed`, and every verifier gives it 0."""
    return read_completion(text, tools, action_format, finished, thinking_opened).action


def read_ids(
    ids: TokenIds,
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[Tool],
    action_format: ActionFormat,
    *,
    finished: bool = True,
) -> Completion:
    """`read_completion` of an action's token ids, sampled or rendered, the end-of-turn token included."""
    text = str(tokenizer.decode(ids, skip_special_tokens=False))
    opened = action_format == "hermes" and opens_thinking(tokenizer)
    return read_completion(text, tools, action_format, finished, opened)
