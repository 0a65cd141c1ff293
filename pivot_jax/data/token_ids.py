"""Token ids of many texts that repeat one another, as the states of a trajectory do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from transformers import PreTrainedTokenizerBase


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The ids that the tokenizer gives each text, without tokens of its own at the ends.

    A tokenizer cuts a text at its added tokens before anything else, so each distinct stretch between them is
    tokenised once. The longest text is tokenised whole as a check: a tokenizer that looks across its added tokens, and
    so gives other ids there, tokenises every text whole.
    """
    borders = _border_tokens(tokenizer)
    if not texts:
        return []
    if not borders:
        return _encoded(tokenizer, texts)
    cut = re.compile("(" + "|".join(map(re.escape, borders)) + ")")
    parts = [cut.split(text) for text in texts]
    stretches = list(dict.fromkeys(chain.from_iterable(parts)))
    longest = max(range(len(texts)), key=lambda index: len(texts[index]))
    *pieces, whole = _encoded(tokenizer, [*stretches, texts[longest]])
    ids_of = dict(zip(stretches, pieces, strict=True))
    joined = [list(chain.from_iterable(ids_of[part] for part in text_parts)) for text_parts in parts]
    return joined if joined[longest] == whole else _encoded(tokenizer, texts)


def _border_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Added tokens that are found as they are written; the longest first, as the tokenizer prefers them."""
    added = tokenizer.added_tokens_decoder.values()
    exact = [one for one in added if not (one.lstrip or one.rstrip or one.single_word or one.normalized)]
    return sorted((one.content for one in exact), key=lambda content: (-len(content), content))


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    # `verbose` would warn of texts longer than the model's context, which are no fault here.
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return encoded["input_ids"]  # pyright: ignore[reportReturnType]
