"""A byte-level BPE tokenizer with a small ChatML template in the Hermes tool-call format, for tests."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEMPLATE = """
{%- set last = namespace(user=-1) -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if tools -%}
{{ '<|im_start|>system\\nTools:' }}{% for tool in tools %}{{ '\\n' ~ (tool | tojson) }}{% endfor %}{{ '<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {{ '<|im_start|>user\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response><|im_end|>\\n' }}
  {%- else -%}
    {{ '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.reasoning_content and (KEEP_REASONING or loop.index0 > last.user) -%}
      {{ '<think>\\n' ~ message.reasoning_content ~ '\\n</think>\\n\\n' }}
    {%- endif -%}
    {{ message.content }}
    {%- for call in message.tool_calls or [] -%}
      {%- if message.content or not loop.first -%}{{ '\\n' }}{%- endif -%}
      {{ '<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
      {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
      {{- '}\\n</tool_call>' }}
    {%- endfor -%}
    {{ '<|im_end|>\\n' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


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
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE.replace("KEEP_REASONING", str(keep_reasoning).lower()),
        clean_up_tokenization_spaces=False,
    )
