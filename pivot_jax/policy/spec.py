"""Parameters, described before they exist: one tree of `ParamSpec` gives shapes, shardings and initial values."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import NamedSharding

from pivot_jax.config import Architecture
from pivot_jax.policy.mesh import AnyMesh, Rules

Leaf = TypeVar("Leaf")


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """One array of the policy. `fan_in` scales the initial values (0: a norm's scale, which starts at one)."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    fan_in: int


@struct.dataclass
class Adapter(Generic[Leaf]):
    """The low-rank addition to one linear, A · B; E leads both where the linear is one of an expert."""

    a: Leaf  # [*in, R]
    b: Leaf  # [R, *out]


@struct.dataclass
class Adapters(Generic[Leaf]):
    """Low-rank additions to linears of a block, by the field of `Block` that they are added to, each times `scale`."""

    pairs: dict[str, Adapter[Leaf]]
    scale: float = struct.field(pytree_node=False)


@struct.dataclass
class Block(Generic[Leaf]):
    """One decoder block; in `Parameters` every array has a leading axis of layers.

    With experts, `gate`, `up` and `down` have another axis of experts before their own, and F is an expert's width.
    """

    attention_norm: Leaf  # [D]
    query: Leaf  # [D, M, Q/M, H]
    key: Leaf  # [D, M, H]
    value: Leaf  # [D, M, H]
    query_norm: Leaf  # [H]
    key_norm: Leaf  # [H]
    output: Leaf  # [M, Q/M, H, D]
    mlp_norm: Leaf  # [D]
    gate: Leaf  # [D, F], or [E, D, F]
    up: Leaf  # [D, F], or [E, D, F]
    down: Leaf  # [F, D], or [E, F, D]
    router: Leaf | None = None  # [D, E]; None: a dense MLP
    lora: Any = None  # Adapters[Leaf], or None: the weights as they are; Any, as Orbax maps None to a leaf of its own


@struct.dataclass
class Parameters(Generic[Leaf]):
    """A whole policy. `unembedding` is None when the embeddings are tied."""

    embedding: Leaf  # [V, D]
    blocks: Block[Leaf]
    final_norm: Leaf  # [D]
    unembedding: Leaf | None  # [D, V]


def parameter_specs(arch: Architecture) -> Parameters[ParamSpec]:
    """The description of every array of a Qwen3 policy (adapters apart, see `lora.adapter_specs`)."""
    D, M, H, L, E = arch.embed, arch.kv_heads, arch.head_dim, arch.layers, arch.experts
    G = arch.heads // arch.kv_heads

    def stacked(shape: tuple[int, ...], axes: tuple[str, ...], fan_in: int) -> ParamSpec:
        return ParamSpec((L, *shape), ("layers", *axes), fan_in)

    def mlp(shape: tuple[int, ...], axes: tuple[str, ...], fan_in: int) -> ParamSpec:
        return stacked((E, *shape), ("experts", *axes), fan_in) if E else stacked(shape, axes, fan_in)

    heads = ("kv_heads", "heads_per_kv", "head_dim")
    F, inner = (arch.expert_mlp, "expert_mlp") if E else (arch.mlp, "mlp")
    blocks = Block(
        attention_norm=stacked((D,), ("norm",), 0),
        query=stacked((D, M, G, H), ("embed", *heads), D),
        key=stacked((D, M, H), ("embed", "kv_heads", "head_dim"), D),
        value=stacked((D, M, H), ("embed", "kv_heads", "head_dim"), D),
        query_norm=stacked((H,), ("norm",), 0),
        key_norm=stacked((H,), ("norm",), 0),
        output=stacked((M, G, H, D), (*heads, "embed"), M * G * H),
        mlp_norm=stacked((D,), ("norm",), 0),
        gate=mlp((D, F), ("embed", inner), D),
        up=mlp((D, F), ("embed", inner), D),
        down=mlp((F, D), (inner, "embed"), F),
        router=stacked((D, E), ("embed", "routed"), D) if E else None,
    )
    return Parameters(
        embedding=ParamSpec((arch.vocab_size, D), ("vocab_in", "embed"), D),
        blocks=blocks,
        final_norm=ParamSpec((D,), ("norm",), 0),
        unembedding=None if arch.tie_embeddings else ParamSpec((D, arch.vocab_size), ("embed", "vocab"), D),
    )


def map_specs(function, arch: Architecture) -> Parameters[Any]:
    """Apply `function(ParamSpec)` to the whole tree."""
    return jax.tree.map(function, parameter_specs(arch), is_leaf=lambda leaf: isinstance(leaf, ParamSpec))


def shardings(arch: Architecture, mesh: AnyMesh, rules: Rules) -> Parameters[NamedSharding]:
    """Where each parameter is stored."""
    return map_specs(lambda spec: NamedSharding(mesh, rules.stored(*spec.axes)), arch)


def restore_targets(arch: Architecture, mesh: AnyMesh, rules: Rules) -> Parameters[jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings to restore a checkpoint into; float32, the master weights."""

    def target(spec: ParamSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(spec.shape, jnp.float32, sharding=NamedSharding(mesh, rules.stored(*spec.axes)))

    return map_specs(target, arch)


def initialise(key: jax.Array, arch: Architecture, mesh: jax.sharding.Mesh, rules: Rules) -> Parameters[jax.Array]:
    """Random float32 parameters, normal with variance 1 / fan_in, placed where they are stored.

    The values depend on the key alone, not on the mesh.
    """
    specs, treedef = jax.tree.flatten(parameter_specs(arch), is_leaf=lambda leaf: isinstance(leaf, ParamSpec))

    def draw(key: jax.Array) -> Parameters[jax.Array]:
        keys = jax.random.split(key, len(specs))
        arrays = [
            jax.random.normal(k, spec.shape) / math.sqrt(spec.fan_in) if spec.fan_in else jnp.ones(spec.shape)
            for k, spec in zip(keys, specs, strict=True)
        ]
        return jax.tree.unflatten(treedef, arrays)

    arrays = jax.jit(draw)(key)
    return jax.device_put(arrays, shardings(arch, mesh, rules))


def count_parameters(arch: Architecture) -> int:
    """Number of parameters, embeddings included."""
    leaves = jax.tree.leaves(parameter_specs(arch), is_leaf=lambda leaf: isinstance(leaf, ParamSpec))
    return sum(math.prod(spec.shape) for spec in leaves)


def count_active_parameters(arch: Architecture) -> int:
    """Number of parameters that one token meets: of the experts, only those that it is sent to."""
    idle = arch.experts - arch.experts_per_token if arch.experts else 0
    return count_parameters(arch) - arch.layers * idle * 3 * arch.embed * arch.expert_mlp
