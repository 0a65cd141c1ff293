"""Device arrays onto the host, when other processes hold parts of them."""

from __future__ import annotations

from typing import Any

import jax

from pivot_jax.hosts import processes


def on_host(tree: Any) -> Any:
    """The arrays of a tree as whole numpy arrays, on every process; all must call it.

    What is spread over the devices of several processes is gathered on all devices first, so it must fit on one.
    """
    if processes.count() == 1:
        return jax.device_get(tree)
    return jax.device_get(jax.tree.map(_gathered, tree))


def _gathered(array: Any) -> Any:
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return array
    whole = jax.sharding.NamedSharding(array.sharding.mesh, jax.sharding.PartitionSpec())  # pyright: ignore
    return jax.jit(_same, out_shardings=whole)(array)


def _same(array: jax.Array) -> jax.Array:
    return array
