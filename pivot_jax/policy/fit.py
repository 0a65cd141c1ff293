"""Whether a policy fits a mesh: every array of it checked against the rule table before any of them exists."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from pivot_jax.config import Architecture, LoraSection
from pivot_jax.policy.lora import adapter_specs
from pivot_jax.policy.mesh import AnyMesh, MeshAxes, Rules
from pivot_jax.policy.spec import ParamSpec, parameter_specs

HEADS = ("kv_heads", "heads_per_kv", "head_dim")
ACTIVATIONS = {
    "hidden states of trunks": ("batch", "seq", "embed"),
    "hidden states of branches": ("batch", "branch", "token", "embed"),
    "queries of trunks": ("batch", "seq", *HEADS),
    "queries of branches": ("batch", "branch", "token", *HEADS),
    "keys of trunks": ("batch", "seq", "kv_heads", "head_dim"),
    "logits of trunks": ("batch", "seq", "vocab"),
    "logits of branches": ("batch", "branch", "token", "vocab"),
    "MLPs of trunks": ("batch", "seq", "mlp"),
    "MLPs of branches": ("batch", "branch", "token", "mlp"),
}
"""What the forward pass makes, by its logical axes."""

NAMES = {"heads_per_kv": "heads / kv_heads", "vocab": "vocab_size", "vocab_in": "vocab_size", "routed": "experts",
         "norm": "embed", "rank": "lora.rank"}  # fmt: skip
"""Logical axes of parameters that have another name in a policy's config."""


def check_fit(
    arch: Architecture,
    mesh: AnyMesh,
    rules: Rules,
    lora: LoraSection | None = None,
    groups: Mapping[str, int] | None = None,
    name: str = "mesh",
) -> None:
    """Check that every array of the policy can be laid out on the mesh.

    Args:
        arch: the policy.
        mesh: with or without devices.
        rules: the rule table.
        lora: adapters, if there are any.
        groups: branches to a trunk, by the option that sets their number.
        name: the section that describes the mesh and the rules; every message begins with it.

    Raises:
        ValueError: a mesh axis that would split one array twice, a dimension that the mesh does not divide, or an axis
            that must stay whole and is split; every fault with what to change, a line each.
    """
    faults = dict.fromkeys(
        [*_whole_faults(arch, rules), *_collisions(arch, rules, lora), *_remainders(arch, mesh, rules, lora, groups)]
    )
    if faults:
        raise ValueError("\n".join(f"{name}: {fault}" for fault in faults))


def _arrays(arch: Architecture, lora: LoraSection | None) -> Iterator[tuple[str, ParamSpec]]:
    """Every parameter with its name, such as `blocks.gate`."""
    trees: list[tuple[str, Any]] = [("", parameter_specs(arch))]
    if lora is not None and lora.rank:
        trees.append(("lora.", adapter_specs(arch, lora)))
    for prefix, tree in trees:
        for path, spec in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, ParamSpec)):
            yield prefix + jax.tree_util.keystr(path, simple=True, separator="."), spec


def _whole_faults(arch: Architecture, rules: Rules) -> Iterator[str]:
    """Axes that the code needs whole while it computes."""
    reasons = {"token": "a query sees all keys of its branch", "embed": "logits are products of whole embeddings"}
    if arch.experts:
        reasons |= {"routed": "a token chooses among all experts"}
    for axis, reason in reasons.items():
        if over := rules.mesh_axes(axis, stored=False):
            yield (
                f"rules.{axis} is split over {_listed(over)} while computed on, but {reason}; "
                "its second list must be empty"
            )


def _collisions(arch: Architecture, rules: Rules, lora: LoraSection | None) -> Iterator[str]:
    """Arrays that would be split twice over the same mesh axis."""
    arrays = [(name, spec.axes, (True, False)) for name, spec in _arrays(arch, lora)]
    arrays += [(name, axes, (False,)) for name, axes in ACTIVATIONS.items()]
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, axes, ways in arrays:
        for stored in ways:
            placed: dict[str, str] = {}
            for axis in axes:
                for over in rules.mesh_axes(axis, stored=stored):
                    if over in placed:
                        one, other = sorted((placed[over], axis))
                        found.setdefault((over, one, other), []).append(name)
                    placed[over] = axis
    for (over, one, other), names in found.items():
        names = list(dict.fromkeys(names))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        remedy = f"name it once in rules.{one}" if one == other else (
            f"take {over!r} out of rules.{one} or rules.{other}"
        )  # fmt: skip
        yield f"{over!r} would split {names[0]}{more} twice, by {one} and by {other}; {remedy}"


def _remainders(
    arch: Architecture, mesh: AnyMesh, rules: Rules, lora: LoraSection | None, groups: Mapping[str, int] | None
) -> Iterator[str]:
    """Dimensions that the mesh axes they are split over do not divide."""
    sizes = [
        (NAMES.get(axis, axis), axis, size)
        for _, spec in _arrays(arch, lora)
        for axis, size in zip(spec.axes, spec.shape, strict=True)
    ]
    sizes += [("vocab_size", "vocab", arch.vocab_size)]
    sizes += [(option, "branch", size) for option, size in (groups or {}).items()]
    for name, axis, size in sizes:
        for stored in (True, False):
            over = rules.mesh_axes(axis, stored=stored)
            split = math.prod(mesh.shape[each] for each in over)
            if size % split:
                yield f"{name}={size} does not divide by {_product(over, mesh)}; {_remedy(axis, size, over, mesh)}"


def _remedy(axis: str, size: int, over: MeshAxes, mesh: AnyMesh) -> str:
    """What to change so that the dimension divides."""
    split = math.prod(mesh.shape[each] for each in over)
    sizes = f"{over[0]} = {math.gcd(size, split)}" if len(over) == 1 else f"sizes whose product divides {size}"
    moved = " (kv_heads may stay whole where rules.heads_per_kv takes its place)" if axis == "kv_heads" else ""
    return f"use {sizes}, or leave {over[-1]!r} out of rules.{axis}{moved}"


def _product(over: MeshAxes, mesh: AnyMesh) -> str:
    return f"{'*'.join(over)}={math.prod(mesh.shape[each] for each in over)}"


def _listed(over: MeshAxes) -> str:
    return ", ".join(repr(each) for each in over)
