"""ChatML templates on a tokenizer of one token a byte, for tests: the shipped one, and the behaviour of Qwen3's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.bpe_tokenizer import CHAT_TEMPLATE, with_chatml

QWEN3 = Path(__file__).with_name("qwen3.jinja")

Thinking = Literal["free", "off", "always"]
"""Modes of the Qwen3 template: the policy opens its own block, `enable_thinking=false`, or Thinking-2507."""


def chatml_tokenizer(*, keep_reasoning: bool, merge_newlines: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte.

    Args:
        keep_reasoning: False drops the reasoning of every turn before the last user message.
        merge_newlines: make two newlines one token, which can then span the border of state and action.
    """
    tokenizer = _byte_tokenizer(merge_newlines)
    if keep_reasoning:
        tokenizer.chat_template = "{%- set keep_reasoning = true -%}" + CHAT_TEMPLATE.read_text(encoding="utf-8")
    return tokenizer


def qwen3_tokenizer(thinking: Thinking, *, merge_newlines: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte, with a template that behaves as Qwen3's in this mode."""
    tokenizer = _byte_tokenizer(merge_newlines)
    tokenizer.chat_template = f"{{%- set thinking = '{thinking}' -%}}" + QWEN3.read_text(encoding="utf-8")
    return tokenizer


def _byte_tokenizer(merge_newlines: bool) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ")] if merge_newlines else []  # Ċ stands for the newline byte
    vocabulary = {piece: index for index, piece in enumerate([*alphabet, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return with_chatml(backend)
