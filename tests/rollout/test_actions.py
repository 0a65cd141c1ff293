"""Sampled tokens read as actions and as messages, with thinking opened by the policy or by the prompt."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.data.parsing import CUT_OFF, THINKING_CUT_OFF
from pivot_jax.records import Action
from pivot_jax.rollout.actions import SampledAction
from tests.data.chatml import Thinking, qwen3_tokenizer


def sampled(text: str, thinking: Thinking, *, finished: bool = True) -> tuple[Action, str]:
    """What is read of sampled text, and its reasoning."""
    tokenizer = qwen3_tokenizer(thinking)
    ids = np.asarray(tokenizer(text)["input_ids"], np.int32)
    action = SampledAction(ids, np.zeros(len(ids), np.float32), finished)
    return action.read(tokenizer, (), "hermes"), action.completion(tokenizer, (), "hermes").message().reasoning


@pytest.mark.parametrize("thinking", ["free", "always"])
def test_the_template_tells_whether_the_text_starts_inside_the_reasoning(thinking: Thinking) -> None:
    opening = "<think>\n" if thinking == "free" else ""
    assert sampled(f"{opening}hm\n</think>\n\nHi.<|im_end|>", thinking) == (Action.say("Hi."), "hm")
    cut = sampled(f"{opening}hm", thinking, finished=False)
    assert cut == (Action(malformed=THINKING_CUT_OFF), "hm")
    cut = sampled(f"{opening}hm\n</think>\n\nHi", thinking, finished=False)
    assert cut == (Action(malformed=CUT_OFF), "hm")


def test_text_that_never_thinks() -> None:
    assert sampled("Hi.<|im_end|>", "free") == (Action.say("Hi."), "")
    assert sampled("Hi.<|im_end|>", "off") == (Action.say("Hi."), "")
    assert sampled("Hi", "off", finished=False) == (Action(malformed=CUT_OFF), "")
    unclosed, _ = sampled("Hi.<|im_end|>", "always")
    assert unclosed.malformed.startswith("thinking not closed")
