"""A byte-level BPE tokenizer with a ChatML template, for recorded trajectories without a policy's own tokenizer.

It behaves as Qwen3's does: Hermes tool calls, any text decodes to itself, and special tokens stand after the pieces.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.chat_template import template_messages, template_tools
from pivot_jax.data.hermes import CALL_CLOSE, CALL_OPEN, END, THINK_CLOSE, THINK_OPEN
from pivot_jax.records import Trajectory

PAD, START = "<|endoftext|>", "<|im_start|>"
SPECIAL_TOKENS = (PAD, START, END)
MARKUP_TOKENS = (CALL_OPEN, CALL_CLOSE, THINK_OPEN, THINK_CLOSE)
"""Tokens that are part of what an action says: not special, so that decoding never drops them."""

CHAT_TEMPLATE = Path(__file__).with_name("chatml.jinja")

_ADDED = re.compile("|".join(re.escape(token) for token in (*SPECIAL_TOKENS, *MARKUP_TOKENS)))
_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def build_bpe_tokenizer(
    texts: Iterable[str], directory: str | os.PathLike[str], vocab_size: int = 2048
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on `texts` and save it to `directory`; equal texts in any order give equal files.

    Args:
        texts: what to learn pieces from, such as `chatml_training_texts`.
        directory: becomes a Hugging Face tokenizer directory.
        vocab_size: most tokens it may have, all of them counted; few texts give fewer.
    """
    smallest = len(_ALPHABET) + len(SPECIAL_TOKENS) + len(MARKUP_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size={vocab_size} does not hold the bytes and the special tokens; use >= {smallest}")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(MARKUP_TOKENS),
        initial_alphabet=_ALPHABET,
        show_progress=False,
    )
    backend = byte_level(models.BPE())
    backend.train_from_iterator((stretch for text in texts for stretch in _ADDED.split(text)), trainer)
    tokenizer = with_chatml(backend)
    tokenizer.save_pretrained(os.fspath(directory))
    return tokenizer


def chatml_training_texts(trajectories: Iterable[Trajectory]) -> Iterator[str]:
    """The text of every trajectory as the ChatML template renders it, tools included."""
    renderer = with_chatml(byte_level(models.BPE()))
    for trajectory in trajectories:
        messages, tools = template_messages(trajectory.messages), template_tools(trajectory.tools)
        yield str(renderer.apply_chat_template(messages, tools=tools, tokenize=False))  # pyright: ignore[reportArgumentType]


def byte_level(model: models.BPE) -> Tokenizer:
    """A tokenizer of bytes around `model`. Digits stay apart, so that a policy can copy numbers it has never seen."""
    backend = Tokenizer(model)
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)  # pyright: ignore[reportArgumentType]
    backend.decoder = decoders.ByteLevel()
    return backend


def with_chatml(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """`backend` with the special tokens, the markup tokens and the chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
    )
    markup = [AddedToken(token, special=False, normalized=False) for token in MARKUP_TOKENS]
    tokenizer.add_tokens(markup)  # pyright: ignore[reportArgumentType]
    return tokenizer
