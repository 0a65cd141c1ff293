"""A word-level Hugging Face tokenizer for policies trained from scratch on small domains.

A word carries the space before it (`▁word`), so it has one form wherever it stands, and `/` is a token of its own, so
that paths share their parts. Text made of known words decodes to itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.chat_template import template_messages
from pivot_jax.data.compact import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS, UNKNOWN
from pivot_jax.records import Trajectory

SPACE = "▁"
_SPECIAL = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))


def build_small_tokenizer(texts: Iterable[str], directory: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows every word of `texts`, saved to `directory` with the compact chat template.

    Ids are the special tokens, then the words in sorted order: the same set of words gives the same files, whatever the
    order or the number of the texts.
    """
    pieces = _pre_tokenizer()
    plain = (stretch for text in texts for stretch in _SPECIAL.split(text))
    words = {word for stretch in plain for word, _ in pieces.pre_tokenize_str(stretch)}
    tokenizer = _with_words(sorted(words))
    tokenizer.save_pretrained(os.fspath(directory))
    return tokenizer


def training_texts(trajectories: Iterable[Trajectory]) -> Iterator[str]:
    """Every trajectory as the compact template renders it: the texts whose words a tokenizer must know."""
    renderer = _with_words([])
    for trajectory in trajectories:
        yield str(renderer.apply_chat_template(template_messages(trajectory.messages), tokenize=False))


def _with_words(words: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = _pre_tokenizer()
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="never", split=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in (PAD, UNKNOWN, END)],
        chat_template=CHAT_TEMPLATE.read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    steps = [
        pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False),
        pre_tokenizers.Split(Regex(f"{SPACE}?/|{SPACE}?[^{SPACE}/]+"), behavior="isolated"),
    ]
    return pre_tokenizers.Sequence(steps)  # pyright: ignore[reportArgumentType, reportReturnType]
