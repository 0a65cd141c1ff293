"""Gradient accumulation: a batch is gone through in parts inside one compiled step, and the sums are the whole batch's.

Memory for activations is that of a part. The gradients of the parts are added up in float32, stored as the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_arms import Method
from pivot_jax.policy.mesh import AnyMesh, Rules, batch_multiple

Tree = TypeVar("Tree")

Objective = Callable[[Any, Any], tuple[jax.Array, tuple[Any, Any]]]
"""(parameters, part of a batch) → what it adds to the loss, (arrays `[N / parts, ...]`, arrays that add up)."""


def check_parts(config: Config, mesh: AnyMesh, rules: Rules) -> None:
    """ConfigError unless the rows of each arm's step divide into its `micro_batches`, and each part over the mesh."""
    multiple = batch_multiple(mesh, rules)
    for arm in config.chosen_arms:
        section, option, rows, parts = _rows(config.for_arm(arm), config.arms[arm].method)
        if parts == 1 or rows % (parts * multiple) == 0:
            continue
        possible = [count for count in range(1, parts) if rows % (count * multiple) == 0]
        fewer = f"micro_batches = {possible[-1]} or " if possible else ""
        more = -(-rows // (parts * multiple)) * parts * multiple
        raise ConfigError(
            f"{section}.micro_batches: arm {arm!r} takes {option} = {rows} in {parts} parts, and {rows / parts:g} is "
            f"not a multiple of {multiple}, the parts that the mesh splits a batch into; use {fewer}{option} = {more}"
        )


def _rows(own: Config, method: Method) -> tuple[str, str, int, int]:
    """Section, name and value of the option that gives the rows of a step, and how many parts they are taken in."""
    match method:
        case "sft":
            return "sft", "trajectories_per_step", own.sft.trajectories_per_step, own.sft.micro_batches
        case "pivot_rl":
            return "train", "pivots_per_step", own.train.pivots_per_step, own.train.micro_batches
        case "e2e_rl":
            return "e2e", "tasks_per_step", own.e2e.tasks_per_step, own.e2e.micro_batches


def summed_gradients(objective: Objective, params: Any, batch: Any, parts: int) -> tuple[Any, Any, Any]:
    """Gradient of the sum of `objective` over the parts of a batch.

    The batch's loss is a sum over rows divided by a weight. The weight must be the whole batch's, which the masks give
    before the first part; then the parts' losses and gradients add up to those of the whole batch.

    Args:
        objective: of the parameters and one part.
        params: what to differentiate by; float32.
        batch: arrays `[N, ...]`.
        parts: how many.

    Returns:
        The gradients; the objective's row arrays, in the order of the batch's rows; the sums of the others.
    """
    gradient = jax.grad(objective, has_aux=True)
    if parts == 1:
        gradients, (rows, sums) = gradient(params, batch)
        return gradients, rows, sums

    def step(added, part):
        gradients, of_part = gradient(params, part)
        return jax.tree.map(jnp.add, added, gradients), of_part

    zeros = jax.tree.map(jnp.zeros_like, params)
    gradients, (rows, sums) = jax.lax.scan(step, zeros, in_parts(batch, parts))
    return gradients, joined(rows), jax.tree.map(lambda array: jnp.sum(array, axis=0), sums)


def mapped(function: Callable[[Any], Tree], batch: Any, parts: int) -> Tree:
    """`function` of each part of a batch, one after the other; arrays `[N, ...]` in the order of the batch's rows."""
    return function(batch) if parts == 1 else joined(jax.lax.map(function, in_parts(batch, parts)))


def in_parts(batch: Tree, parts: int) -> Tree:
    """Arrays `[N, ...]` as `[parts, N / parts, ...]`. Part i has the rows i, i + parts, ...: so no row changes device.

    Raises:
        ValueError: N is not a multiple of the parts.
    """

    def split(array: jax.Array) -> jax.Array:
        if array.shape[0] % parts:
            raise ValueError(f"{array.shape[0]} rows do not divide into micro_batches = {parts}")
        of_rows, *rest = jax.typeof(array).sharding.spec
        shape = (array.shape[0] // parts, parts, *array.shape[1:])
        return jnp.moveaxis(jax.lax.reshape(array, shape, out_sharding=PartitionSpec(of_rows, None, *rest)), 1, 0)

    return jax.tree.map(split, batch)


def joined(pieces: Tree) -> Tree:
    """The inverse of `in_parts`."""

    def join(array: jax.Array) -> jax.Array:
        _, of_rows, *rest = jax.typeof(array).sharding.spec
        shape = (array.shape[0] * array.shape[1], *array.shape[2:])
        return jax.lax.reshape(jnp.moveaxis(array, 0, 1), shape, out_sharding=PartitionSpec(of_rows, *rest))

    return jax.tree.map(join, pieces)
