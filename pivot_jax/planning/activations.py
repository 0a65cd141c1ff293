"""Bytes of activations on one device: what a block makes, what it keeps for the backward pass, logits, caches."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.planning.workload import Layout, Workload
from pivot_jax.policy.attention import ATTENTION_BLOCK
from pivot_jax.policy.mesh import mesh_axes
from pivot_jax.policy.project import token_axes


@dataclass(frozen=True)
class Tokens:
    """Token arrays of one kind: `[N, S]` of trunks or `[N, B, T]` of branches."""

    shape: tuple[int, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Logical axes."""
        return token_axes(len(self.shape))


@dataclass(frozen=True)
class BlockBytes:
    """What one block makes of some tokens, on one device."""

    input: int
    products: int
    """Results of matrix products, attention's own apart."""
    others: int
    """Norms, rotations, the activated gate, and what attention adds up."""
    attention: int
    """What attention makes beside its result: its scores and weights, or in blocks the float32 sums of them."""
    sorted_rows: int
    """Copies of the tokens in the order of their experts; 0 in a dense block."""

    def __add__(self, other: BlockBytes) -> BlockBytes:
        return BlockBytes(
            self.input + other.input,
            self.products + other.products,
            self.others + other.others,
            self.attention + other.attention,
            self.sorted_rows + other.sorted_rows,
        )

    @property
    def all(self) -> int:
        """Everything that a backward pass without recomputation reads."""
        return self.input + self.products + self.others + self.attention + self.sorted_rows


def block_bytes(work: Workload, place: Layout, tokens: Tokens) -> BlockBytes:
    """One block over these tokens, in the compute dtype."""
    arch, item = work.arch, work.itemsize

    def held(sizes: tuple[int, ...], *axes: str) -> int:
        return item * place.computed((*tokens.shape, *sizes), (*tokens.axes, *axes))

    embed = held((arch.embed,), "embed")
    queries = held((arch.kv_heads, arch.heads // arch.kv_heads, arch.head_dim), "kv_heads", "heads_per_kv", "head_dim")
    keys = held((arch.kv_heads, arch.head_dim), "kv_heads", "head_dim")
    # products: query, key, value, output; others: two norms, query and key rotated, what attention adds up
    attention = BlockBytes(
        embed, queries + 2 * keys + embed, 2 * embed + 2 * queries + keys, attention_bytes(work, place, tokens), 0
    )
    if not arch.experts:
        inner = held((arch.mlp,), "mlp")
        return attention + BlockBytes(0, 2 * inner + embed, inner, 0, 0)
    rows = tokens_at_experts(place, tokens) * arch.experts_per_token
    inner = rows * item * place.computed((arch.expert_mlp,), ("expert_mlp",))
    wide = rows * item * arch.embed
    # sorted tokens, and the experts' outputs sorted and put back
    return attention + BlockBytes(0, 2 * inner + wide, inner + embed, 0, 2 * wide)


def attention_bytes(work: Workload, place: Layout, tokens: Tokens) -> int:
    """Scores in float32 and weights of attention in one piece; in blocks, the float32 sums over trunk and branch."""
    arch, S = work.arch, work.trunk
    queries, keys = tokens.shape[-1], S if len(tokens.shape) == 2 else S + work.branch
    heads = ("kv_heads", "heads_per_kv")
    shape = (*tokens.shape, arch.kv_heads, arch.heads // arch.kv_heads)
    pairs = place.computed(shape, (*tokens.axes, *heads))
    if queries * max(S, work.branch) <= ATTENTION_BLOCK**2:
        return pairs * keys * (4 + work.itemsize)
    return pairs * (arch.head_dim + 1) * 4 * (1 if len(tokens.shape) == 2 else 2)


def tokens_at_experts(place: Layout, tokens: Tokens) -> int:
    """Tokens that one device sorts: its own, and where the axes of experts split tokens too, those of all of them."""
    rules = place.rules
    experts = mesh_axes(rules.computed("experts", "expert_mlp"))
    shared = [axis for axis in mesh_axes(rules.computed(*tokens.axes)) if axis in experts]
    gathered = place.computed(tokens.shape, tokens.axes)
    for axis in shared:
        gathered *= place.mesh.shape[axis]
    return gathered


def kept_bytes(work: Workload, block: BlockBytes) -> int:
    """What all blocks keep for the backward pass under the config's `policy.remat`."""
    layers = work.arch.layers
    match work.arch.remat:
        case "none":
            return layers * block.all
        case "dots":
            return layers * (block.input + block.products)
        case "offload":  # the inputs lie in the host's memory, but for the two that are being moved
            return 2 * block.input
        case _:
            return layers * block.input


def cache_bytes(work: Workload, place: Layout, tokens: Tokens) -> int:
    """Keys and values of all layers."""
    arch = work.arch
    shape = (arch.layers, *tokens.shape, arch.kv_heads, arch.head_dim)
    return 2 * work.itemsize * place.computed(shape, ("layers", *tokens.axes, "kv_heads", "head_dim"))
