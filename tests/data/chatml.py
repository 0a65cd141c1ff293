"""The shipped ChatML template on a tokenizer of one token a byte, for tests."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.bpe_tokenizer import CHAT_TEMPLATE, with_chatml


def chatml_tokenizer(*, keep_reasoning: bool, merge_newlines: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte.

    Args:
        keep_reasoning: False drops the reasoning of every turn before the last user message.
        merge_newlines: make two newlines one token, which can then span the border of state and action.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ")] if merge_newlines else []  # Ċ stands for the newline byte
    vocabulary = {piece: index for index, piece in enumerate([*alphabet, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = with_chatml(backend)
    if keep_reasoning:
        tokenizer.chat_template = "{%- set keep_reasoning = true -%}" + CHAT_TEMPLATE.read_text(encoding="utf-8")
    return tokenizer
