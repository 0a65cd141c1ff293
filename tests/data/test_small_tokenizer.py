"""The word-level tokenizer and its compact chat template."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pivot_jax.data.compact import SPECIAL_TOKENS
from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.records import Trajectory

SHOP_TEXT = (
    "<|system|> be brief<|user|> buy tea please"
    "<|assistant|><|call|> order path= /a/b items= cup tea count= 3<|end|><|tool|> ok /a/b"
    "<|assistant|> one moment<|call|> order price= 1.5 gift= true<|call|> order path= sizes= 1 2<|end|>"
    "<|tool|> no gift<|tool|><|assistant|> done<|end|>"
)


def test_the_template_renders_the_compact_format(shop: Trajectory) -> None:
    assert list(training_texts([shop])) == [SHOP_TEXT]


def test_the_generation_prompt_and_unparsed_arguments(small_tokenizer: PreTrainedTokenizerFast) -> None:
    call = {"function": {"name": "order", "arguments": "{broken"}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    text = small_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|> hi<|assistant|><|call|> order {broken<|end|><|assistant|>"


def test_words_and_slashes_are_tokens(small_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = small_tokenizer.tokenize("<|tool|> ok /a/b<|end|>")
    assert tokens == ["<|tool|>", "▁ok", "▁/", "a", "/", "b", "<|end|>"]
    assert small_tokenizer.tokenize(" zebra") == ["<|unk|>"]


def test_the_vocabulary_is_the_special_tokens_then_the_sorted_words(small_tokenizer: PreTrainedTokenizerFast) -> None:
    vocabulary = sorted(small_tokenizer.get_vocab(), key=small_tokenizer.get_vocab().__getitem__)
    assert tuple(vocabulary[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS
    words = vocabulary[len(SPECIAL_TOKENS) :]
    assert words == sorted(words)
    assert not any("<|" in word or " " in word for word in words)
    assert (small_tokenizer.eos_token, small_tokenizer.pad_token_id) == ("<|end|>", 0)


def test_the_same_words_give_the_same_files(tmp_path: Path) -> None:
    build_small_tokenizer([" b a", "<|user|> c"], tmp_path / "one")
    build_small_tokenizer(["<|user|> c<|end|>", " a b b", " a"], tmp_path / "two")
    names = {file.name for file in (tmp_path / "one").iterdir()}
    assert names >= {"tokenizer.json", "tokenizer_config.json"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_saved_tokenizer_is_the_same_tokenizer(
    small_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, shop: Trajectory
) -> None:
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    ids = small_tokenizer(SHOP_TEXT)["input_ids"]
    assert loaded(SHOP_TEXT)["input_ids"] == ids
    assert loaded.decode(ids) == SHOP_TEXT
    assert loaded.chat_template == small_tokenizer.chat_template
    assert set(loaded.all_special_tokens) == set(SPECIAL_TOKENS)


@settings(max_examples=30, deadline=None)
@given(text=st.text(alphabet="ab/ =é\n.'", max_size=40))
def test_known_text_decodes_to_itself(text: str, tmp_path_factory) -> None:
    tokenizer = build_small_tokenizer([text], tmp_path_factory.mktemp("tokenizer"))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
