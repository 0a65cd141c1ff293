"""What a block keeps of its forward pass for the backward pass, by name; what it does not keep is computed again.

Values and gradients are the same under every name. Memory and time are not (docs/memory.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from pivot_jax.config import Remat

BLOCK_INPUT = "block_input"
"""What a block's input is named for the policies; all that a block computes must come from the named value."""

policies = jax.checkpoint_policies


def _is_grouped_matmul(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name == "ragged_dot_general"


POLICIES: Mapping[Remat, Callable[..., Any]] = {
    "full": policies.nothing_saveable,
    # attention's own products have batch dimensions: its scores, which grow with the square of the length, are not kept
    "dots": policies.save_from_both_policies(policies.dots_with_no_batch_dims_saveable, _is_grouped_matmul),
    "offload": policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[BLOCK_INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


def named_input(x: jax.Array) -> jax.Array:
    """A block's input, as the policies know it."""
    return checkpoint_name(x, BLOCK_INPUT)


def rematerialised(block: Callable[..., Any], remat: Remat) -> Callable[..., Any]:
    """`block`, the body of a scan, keeping for its backward pass what `remat` says."""
    if remat == "none":
        return block
    # forward and backward are two loops, which XLA cannot merge: there is nothing to guard against
    return jax.checkpoint(block, policy=POLICIES[remat], prevent_cse=False)
