"""Low-rank adapters (LoRA, Hu et al. 2021): linears become W + scale · A B, and A and B alone are trained.

Adapters hang on the blocks of a policy (`params.blocks.lora`), so all that takes a policy takes one with adapters. They
are added to a block's weights when the scan comes to it. What that costs: one product [in, R] x [R, out] a linear (R
more tokens' worth of it), and in the backward pass the gradient of one block's whole W + scale · A B, which is
contracted to those of A and B at once. So memory is saved (gradients and moments of W), arithmetic is not.
"""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from pivot_jax.config import Architecture, LoraSection
from pivot_jax.policy.mesh import AnyMesh, Rules
from pivot_jax.policy.spec import Adapter, Adapters, Block, Parameters, ParamSpec, parameter_specs

IN_AXES = {"query": 1, "key": 1, "value": 1, "output": 3, "gate": 1, "up": 1, "down": 1}
"""How many axes of each linear are its input; those after are its output, those before layers and experts."""


def adapter_specs(arch: Architecture, section: LoraSection) -> Adapters[ParamSpec]:
    """The description of every array of the adapters."""
    blocks = parameter_specs(arch).blocks

    def pair(target: str) -> Adapter[ParamSpec]:
        spec: ParamSpec = getattr(blocks, target)
        first = 2 if "experts" in spec.axes else 1
        last, rank = first + IN_AXES[target], (section.rank,)
        return Adapter(
            a=ParamSpec(spec.shape[:last] + rank, (*spec.axes[:last], "rank"), math.prod(spec.shape[first:last])),
            b=ParamSpec(
                spec.shape[:first] + rank + spec.shape[last:], (*spec.axes[:first], "rank", *spec.axes[last:]), 0
            ),
        )

    return Adapters({target: pair(target) for target in section.targets}, section.alpha / section.rank)


def adapter_targets(
    arch: Architecture, section: LoraSection, mesh: AnyMesh, rules: Rules
) -> Adapters[jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings of the adapters."""

    def target(spec: ParamSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(spec.shape, jnp.float32, sharding=NamedSharding(mesh, rules.stored(*spec.axes)))

    specs = adapter_specs(arch, section)
    return jax.tree.map(target, specs, is_leaf=lambda leaf: isinstance(leaf, ParamSpec))


def initialise_adapters(
    key: jax.Array, arch: Architecture, section: LoraSection, mesh: jax.sharding.Mesh, rules: Rules
) -> Adapters[jax.Array]:
    """A uniform in ±1 / sqrt(fan_in), B zero: the policy is at first what it was. Values depend on the key alone."""
    specs, treedef = jax.tree.flatten(
        adapter_specs(arch, section), is_leaf=lambda leaf: isinstance(leaf, ParamSpec)
    )  # fmt: skip

    def draw(key: jax.Array) -> Adapters[jax.Array]:
        drawn = [
            jax.random.uniform(one, spec.shape, minval=-1.0, maxval=1.0) / math.sqrt(spec.fan_in)
            if spec.fan_in else jnp.zeros(spec.shape)
            for one, spec in zip(jax.random.split(key, len(specs)), specs, strict=True)
        ]  # fmt: skip
        return jax.tree.unflatten(treedef, drawn)

    placed = jax.tree.map(lambda target: target.sharding, adapter_targets(arch, section, mesh, rules))
    return jax.device_put(jax.jit(draw)(key), placed)


def attached(params: Parameters[jax.Array], adapters: Adapters[jax.Array] | None) -> Parameters[jax.Array]:
    """The policy with these adapters in place of its own; None: with none."""
    return replace(params, blocks=replace(params.blocks, lora=adapters))


def merged(params: Parameters[jax.Array]) -> Parameters[jax.Array]:
    """The policy as plain weights, the adapters added in; as it is if it has none."""
    return replace(params, blocks=merged_block(params.blocks))


def merged_block(block: Block[jax.Array]) -> Block[jax.Array]:
    """One block (or the stack of all), W + scale · A B in place of each W that has an adapter; float32, as stored."""
    if block.lora is None:
        return block
    sums = {
        target: getattr(block, target) + block.lora.scale * _product(getattr(block, target), pair)
        for target, pair in block.lora.pairs.items()
    }
    return replace(block, lora=None, **sums)


def trained_part(params: Parameters[jax.Array]) -> Parameters[jax.Array] | Adapters[jax.Array]:
    """What training changes of a policy: its adapters, or all of it if it has none."""
    return params if params.blocks.lora is None else params.blocks.lora


def frozen_part(params: Parameters[jax.Array]) -> Parameters[jax.Array] | None:
    """The rest of it; None if all of it is trained."""
    return None if params.blocks.lora is None else attached(params, None)


def whole(
    trained: Parameters[jax.Array] | Adapters[jax.Array], frozen: Parameters[jax.Array] | None
) -> Parameters[jax.Array]:
    """The policy of which these are the trained and the frozen part."""
    if isinstance(trained, Adapters):
        assert frozen is not None
        return attached(frozen, trained)
    return trained


def _product(weight: jax.Array, pair: Adapter[jax.Array]) -> jax.Array:
    """A B in the shape and the place of the weight."""
    # with n, i, o axes of layers and experts, of input and of output: n + i + 1, n + 1 + o and n + i + o of them
    lead = pair.a.ndim + pair.b.ndim - 2 - weight.ndim
    letters = "abcdefgh"[: weight.ndim]
    inner = pair.a.ndim - 1
    subscripts = f"{letters[:inner]}r,{letters[:lead]}r{letters[inner:]}->{letters}"
    # small, and rounded it would no longer be what is exported
    return jnp.einsum(
        subscripts, pair.a, pair.b,
        out_sharding=jax.typeof(weight).sharding.spec, precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip
