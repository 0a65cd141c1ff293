"""Ids of texts that share stretches: always what the tokenizer gives each text by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.token_ids import token_ids
from tests.data.chatml import chatml_tokenizer

CHATML = chatml_tokenizer(keep_reasoning=True, merge_newlines=True)


def first_word_differs() -> PreTrainedTokenizerFast:
    """Marks the start of the text with a space of its own, but no later stretch: stretches cannot stand alone."""
    letters = {letter: index for index, letter in enumerate("▁abcdefgh")}
    backend = Tokenizer(models.BPE(letters, []))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


def eats_spaces() -> PreTrainedTokenizerFast:
    """Has one added token that takes the spaces beside it, and one that is the beginning of another."""
    tokenizer = chatml_tokenizer(keep_reasoning=True)
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False), AddedToken("<|im_end|>>")])
    return tokenizer


PARTS = ("<|im_start|>", "<|im_end|>", ">", "<|im_", "<tool_call>", "<mask>", "\n\n", "\n", " ", "a", "bcd", "é")
TEXTS = st.lists(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), min_size=1, max_size=5)


@pytest.mark.parametrize("tokenizer", [CHATML, eats_spaces()], ids=["chatml", "eats spaces"])
@settings(deadline=None)
@given(texts=TEXTS)
def test_ids_are_those_of_each_text(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    assert token_ids(tokenizer, texts) == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_a_tokenizer_that_looks_across_its_tokens_gets_whole_texts() -> None:
    tokenizer = first_word_differs()
    texts = ["ab", "ab<|end|>cd", "ab<|end|>cd<|end|>ab"]
    expected = [tokenizer(text)["input_ids"] for text in texts]
    assert expected[1] != [*expected[0], tokenizer.eos_token_id, *tokenizer("cd")["input_ids"]]
    assert token_ids(tokenizer, texts) == expected


def test_no_text_and_the_empty_text() -> None:
    assert token_ids(CHATML, []) == []
    assert token_ids(CHATML, [""]) == [[]]
