"""How Hugging Face names and shapes a Qwen3 dense policy's tensors, leaf by leaf of our parameter tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pivot_jax.config import Architecture
from pivot_jax.policy.spec import Block, Parameters

Transform = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class TensorMap:
    """Where one leaf comes from: its names there (one a layer when `stacked`), and the change of shape both ways."""

    names: tuple[str, ...]
    to_ours: Transform
    to_theirs: Transform
    stacked: bool


def hf_layout(arch: Architecture) -> Parameters[TensorMap]:
    """The whole tree. A linear layer is stored there as [out, in] and here as [in, out...], heads apart."""
    D, M, H = arch.embed, arch.kv_heads, arch.head_dim
    G = arch.heads // M

    def layers(name: str, to_ours: Transform, to_theirs: Transform) -> TensorMap:
        names = tuple(f"model.layers.{layer}.{name}.weight" for layer in range(arch.layers))
        return TensorMap(names, to_ours, to_theirs, stacked=True)

    def heads(name: str, *shape: int) -> TensorMap:
        return layers(name, lambda a: a.T.reshape(D, *shape), lambda a: a.reshape(D, -1).T)

    def single(name: str, to_ours: Transform, to_theirs: Transform) -> TensorMap:
        return TensorMap((name,), to_ours, to_theirs, stacked=False)

    blocks = Block(
        attention_norm=layers("input_layernorm", _same, _same),
        query=heads("self_attn.q_proj", M, G, H),
        key=heads("self_attn.k_proj", M, H),
        value=heads("self_attn.v_proj", M, H),
        query_norm=layers("self_attn.q_norm", _same, _same),
        key_norm=layers("self_attn.k_norm", _same, _same),
        output=layers("self_attn.o_proj", lambda a: a.T.reshape(M, G, H, D), lambda a: a.reshape(-1, D).T),
        mlp_norm=layers("post_attention_layernorm", _same, _same),
        gate=layers("mlp.gate_proj", _transposed, _transposed),
        up=layers("mlp.up_proj", _transposed, _transposed),
        down=layers("mlp.down_proj", _transposed, _transposed),
    )
    return Parameters(
        embedding=single("model.embed_tokens.weight", _same, _same),
        blocks=blocks,
        final_norm=single("model.norm.weight", _same, _same),
        unembedding=None if arch.tie_embeddings else single("lm_head.weight", _transposed, _transposed),
    )


def layout_leaves(tree: Parameters[Any]) -> list[TensorMap]:
    """The entries in the order of the parameter tree's leaves."""
    return jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, TensorMap))


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _transposed(array: np.ndarray) -> np.ndarray:
    return array.T
