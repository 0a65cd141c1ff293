"""How Hugging Face names and shapes a Qwen3 policy's tensors, leaf by leaf of our parameter tree.

Shapes are told in letters: D embed, F mlp, M kv heads, G query heads a kv head, H head dim, V vocabulary, E experts.
A linear layer is stored there as [out, in], heads folded together, one tensor a layer (and expert); here as [in,
out...], heads apart, all layers (and experts) in one array.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from pivot_jax.config import Architecture
from pivot_jax.policy.spec import Block, Parameters, parameter_specs

Index = tuple[slice, ...]


@dataclasses.dataclass(frozen=True)
class TensorMap:
    """Where one leaf comes from.

    `names` has the leaf's leading axes: none, [L], or [L, E]; each is one tensor there. `ours` names the axes of one
    tensor here, of sizes `shape`; `theirs` the axes there, each of which may fold several of ours.
    """

    names: np.ndarray
    ours: str
    shape: tuple[int, ...]
    theirs: tuple[str, ...]

    @property
    def hf_shape(self) -> tuple[int, ...]:
        """The shape of each tensor there."""
        size = dict(zip(self.ours, self.shape, strict=True))
        return tuple(math.prod(size[letter] for letter in folded) for folded in self.theirs)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """One tensor of ours in their shape."""
        return array.transpose([self.ours.index(letter) for letter in "".join(self.theirs)]).reshape(self.hf_shape)

    def their_slices(self, index: Index) -> tuple[Index, Index]:
        """What to read there for `index` of one tensor here, and what of it (unfolded, in our order) is wanted.

        Of axes folded together, only a range of the first one, with the others whole, is a range there; otherwise the
        whole fold is read.
        """
        size = dict(zip(self.ours, self.shape, strict=True))
        wanted = dict(zip(self.ours, (range(size[a])[s] for a, s in zip(self.ours, index, strict=True)), strict=True))
        read, rest = [], dict.fromkeys(self.ours, slice(None))
        for folded in self.theirs:
            first, inner = wanted[folded[0]], math.prod(size[letter] for letter in folded[1:])
            if all(len(wanted[letter]) == size[letter] for letter in folded[1:]):
                read.append(slice(first.start * inner, first.stop * inner))
            else:
                read.append(slice(0, size[folded[0]] * inner))
                rest.update({a: slice(wanted[a].start, wanted[a].stop) for a in folded})
        return tuple(read), tuple(rest[letter] for letter in self.ours)

    def to_ours(self, array: np.ndarray, rest: Index) -> np.ndarray:
        """What `their_slices` said to read, unfolded to our axes, and of it what is wanted."""
        size = dict(zip(self.ours, self.shape, strict=True))
        unfolded: list[int] = []
        for folded, length in zip(self.theirs, array.shape, strict=True):
            inner = [size[letter] for letter in folded[1:]]
            unfolded += [length // math.prod(inner), *inner]
        order = "".join(self.theirs)
        return array.reshape(unfolded).transpose([order.index(letter) for letter in self.ours])[rest]


def hf_layout(arch: Architecture) -> Parameters[TensorMap]:
    """The whole tree."""
    D, M, H, L, E = arch.embed, arch.kv_heads, arch.head_dim, arch.layers, arch.experts
    sizes = {"D": D, "M": M, "H": H, "G": arch.heads // M, "V": arch.vocab_size, "E": E,
             "F": arch.expert_mlp if E else arch.mlp}  # fmt: skip

    def tensor(names: Any, ours: str, *theirs: str) -> TensorMap:
        return TensorMap(np.array(names, object), ours, tuple(sizes[letter] for letter in ours), theirs)

    def layers(name: str, ours: str, *theirs: str) -> TensorMap:
        return tensor([f"model.layers.{layer}.{name}.weight" for layer in range(L)], ours, *theirs)

    def mlp(name: str, ours: str, *theirs: str) -> TensorMap:
        if not E:
            return layers(f"mlp.{name}", ours, *theirs)
        experts = [[f"model.layers.{layer}.mlp.experts.{e}.{name}.weight" for e in range(E)] for layer in range(L)]
        return tensor(experts, ours, *theirs)

    blocks = Block(
        attention_norm=layers("input_layernorm", "D", "D"),
        query=layers("self_attn.q_proj", "DMGH", "MGH", "D"),
        key=layers("self_attn.k_proj", "DMH", "MH", "D"),
        value=layers("self_attn.v_proj", "DMH", "MH", "D"),
        query_norm=layers("self_attn.q_norm", "H", "H"),
        key_norm=layers("self_attn.k_norm", "H", "H"),
        output=layers("self_attn.o_proj", "MGHD", "D", "MGH"),
        mlp_norm=layers("post_attention_layernorm", "D", "D"),
        gate=mlp("gate_proj", "DF", "F", "D"),
        up=mlp("up_proj", "DF", "F", "D"),
        down=mlp("down_proj", "FD", "D", "F"),
        router=layers("mlp.gate", "DE", "E", "D") if E else None,
    )
    return Parameters(
        embedding=tensor("model.embed_tokens.weight", "VD", "V", "D"),
        blocks=blocks,
        final_norm=tensor("model.norm.weight", "D", "D"),
        unembedding=None if arch.tie_embeddings else tensor("lm_head.weight", "DV", "V", "D"),
    )


def layout_leaves(arch: Architecture) -> list[TensorMap]:
    """The entries of `hf_layout` in the order of the parameter tree's leaves."""
    tree = hf_layout(arch)
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, TensorMap))
    assert len(leaves) == len(jax.tree.leaves(parameter_specs(arch)))
    return leaves
