"""The byte-level BPE tokenizer and its ChatML template."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pivot_jax.data.bpe_tokenizer import MARKUP_TOKENS, SPECIAL_TOKENS, build_bpe_tokenizer, chatml_training_texts
from pivot_jax.data.parsing import parse_action
from pivot_jax.data.rendering import render
from pivot_jax.records import Trajectory
from tests.data.episodes import shop_episode, thinking_episode

SHOP_TEXT = """<|im_start|>user
buy tea please<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "order", "arguments": {"path": "/a/b", "items": ["cup", "tea"], "count": 3}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
ok /a/b
</tool_response><|im_end|>
<|im_start|>assistant
one moment
<tool_call>
{"name": "order", "arguments": {"price": 1.5, "gift": true}}
</tool_call>
<tool_call>
{"name": "order", "arguments": {"path": "", "sizes": [1, 2]}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
no gift
</tool_response>
<tool_response>

</tool_response><|im_end|>
<|im_start|>assistant
done<|im_end|>
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bpe")


@pytest.fixture(scope="module")
def bpe(directory: Path) -> PreTrainedTokenizerFast:
    return build_bpe_tokenizer(chatml_training_texts([shop_episode(), thinking_episode(2)]), directory, vocab_size=400)


def test_the_template_writes_tools_calls_and_results(shop: Trajectory) -> None:
    [text] = chatml_training_texts([shop])
    system, rest = text.split("<|im_end|>\n", maxsplit=1)
    assert rest == SHOP_TEXT
    assert system.startswith("<|im_start|>system\nbe brief\nnot shown\n\n")
    assert '<tools>\n{"type": "function", "function": {"name": "order", ' in system
    [bare] = chatml_training_texts([shop.model_copy(update={"tools": ()})])
    assert bare == "<|im_start|>system\nbe brief\nnot shown<|im_end|>\n" + SHOP_TEXT
    [unasked] = chatml_training_texts([shop.model_copy(update={"tools": (), "messages": shop.messages[1:]})])
    assert unasked == SHOP_TEXT


def test_arguments_that_do_not_parse_are_written_as_they_are(bpe: PreTrainedTokenizerFast) -> None:
    call = {"function": {"name": "order", "arguments": "{broken"}}
    text = bpe.apply_chat_template([{"role": "assistant", "content": None, "tool_calls": [call]}], tokenize=False)
    written = '<tool_call>\n{"name": "order", "arguments": {broken}\n</tool_call>'
    assert text == f"<|im_start|>assistant\n{written}<|im_end|>\n"


def test_it_preserves_prefixes_without_reasoning_and_actions_read_back(
    bpe: PreTrainedTokenizerFast, shop: Trajectory
) -> None:
    rendered = render(shop, bpe)
    assert rendered.prefix_preserving
    assert not render(thinking_episode(2), bpe).prefix_preserving
    said = [message for message in shop.messages if message.role == "assistant"]
    for turn, message in zip(rendered.turns, said, strict=True):
        assert str(bpe.decode(turn.state_ids)).endswith("<|im_start|>assistant\n")
        for text in (bpe.decode(turn.action_ids), bpe.decode(turn.action_ids, skip_special_tokens=True)):
            action = parse_action(str(text), shop.tools, "hermes", finished=True)
            assert (action.malformed, action.content) == ("", message.content)
            assert [call.parsed() for call in action.tool_calls] == [call.parsed() for call in message.tool_calls]


def test_special_tokens_are_special_and_markup_is_one_token_each(bpe: PreTrainedTokenizerFast) -> None:
    assert (bpe.pad_token, bpe.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert set(bpe.all_special_tokens) == set(SPECIAL_TOKENS)
    for token in (*SPECIAL_TOKENS, *MARKUP_TOKENS):
        ids = bpe(f"a{token}b")["input_ids"]
        assert (len(ids), bpe.decode(ids[1:2])) == (3, token)
    assert bpe.decode(bpe("<think>a</think>b<|im_end|>")["input_ids"], skip_special_tokens=True) == "<think>a</think>b"


def test_it_has_learnt_words_but_no_numbers_and_keeps_to_its_size(bpe: PreTrainedTokenizerFast) -> None:
    assert 300 < len(bpe) <= 400
    assert len(bpe(' "arguments"')["input_ids"]) < 5
    assert len(bpe("2024")["input_ids"]) == 4
    assert not any(token in piece for piece in bpe.get_vocab() if "<|" in piece for token in ("x<|", "|>x"))


def test_equal_texts_in_any_order_give_equal_files(tmp_path: Path) -> None:
    texts = ["buy tea", "buy a cup of tea<|im_end|>", "three cups, Ünal", "tea tea tea"] * 5
    build_bpe_tokenizer(texts, tmp_path / "one", vocab_size=300)
    build_bpe_tokenizer(random.Random(0).sample(texts, len(texts)), tmp_path / "two", vocab_size=300)
    names = {file.name for file in (tmp_path / "one").iterdir()}
    assert names >= {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_training_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build_bpe_tokenizer(["buy tea"] * 3, tmp_path, vocab_size=270)
    assert capfd.readouterr() == ("", "")


def test_a_vocabulary_too_small_is_refused(tmp_path: Path) -> None:
    build_bpe_tokenizer(["a"], tmp_path, vocab_size=263)
    with pytest.raises(ValueError, match=r"vocab_size=262 .* use >= 263"):
        build_bpe_tokenizer(["a"], tmp_path, vocab_size=262)


def test_a_saved_tokenizer_is_the_same_tokenizer(bpe: PreTrainedTokenizerFast, directory: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(directory)
    ids = bpe(SHOP_TEXT)["input_ids"]
    assert loaded(SHOP_TEXT)["input_ids"] == ids
    assert loaded.decode(ids, skip_special_tokens=True) == bpe.decode(ids, skip_special_tokens=True)
    assert loaded.chat_template == bpe.chat_template
    assert (loaded.eos_token_id, loaded.pad_token_id) == (bpe.eos_token_id, bpe.pad_token_id)
    assert set(loaded.all_special_tokens) == set(SPECIAL_TOKENS)


PART = st.one_of(st.text(), st.sampled_from((*SPECIAL_TOKENS, *MARKUP_TOKENS, "\r\n", " \u200d", "1")))


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(PART))
def test_any_text_decodes_to_itself(bpe: PreTrainedTokenizerFast, parts: list[str]) -> None:
    text = "".join(parts)
    assert bpe.decode(bpe(text)["input_ids"]) == text
