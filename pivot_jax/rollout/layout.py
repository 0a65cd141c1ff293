"""From host-side rows (a trunk and its branches) to the padded arrays that are sampled or trained on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from pivot_jax.policy.mesh import Rules, batch_multiple, parts, to_mesh
from pivot_jax.rollout.decode import BranchPoints

TokenIds = NDArray[np.int32]

TRUNK_BUCKET = 64
"""Trunk lengths are rounded up to a multiple of this, so that few shapes are ever compiled."""


@dataclass(frozen=True, eq=False)
class BranchSlot:
    """One action to sample: it sees `start` trunk tokens and begins with `forced`; (uid, draw) names its key."""

    start: int
    forced: TokenIds
    uid: int
    draw: int


@dataclass(frozen=True, eq=False)
class Row:
    """A trunk and the branches that hang off it."""

    trunk: TokenIds
    branches: tuple[BranchSlot, ...]


def state_uid(name: str) -> int:
    """A 32-bit name of a state for the random keys, the same on every machine."""
    return zlib.crc32(name.encode())


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`, and at least one of it."""
    return max(1, -(-value // multiple)) * multiple


def power_of_two(value: int) -> int:
    """The smallest power of two that is at least `value`."""
    return 1 << max(0, value - 1).bit_length()


def trunk_length(tokens: int, mesh: jax.sharding.Mesh, rules: Rules, bucket: int = TRUNK_BUCKET) -> int:
    """Tokens that a trunk is padded to: whole buckets, and as many parts as the mesh splits trunks into."""
    return round_up(tokens, math.lcm(bucket, parts(mesh, rules, "seq")))


def lay_out(
    rows: Sequence[Row], mesh: jax.sharding.Mesh, rules: Rules, *, row_count: int, branch_count: int
) -> BranchPoints:
    """Rows as device arrays `[N, S]`, `[N, B]`, `[N, B, F]`; S, F and N are bucketed, absent branches have length 0.

    Args:
        rows: at most `row_count`, each with at most `branch_count` branches.
        mesh, rules: where to put them.
        row_count: N before it is rounded up to what the mesh divides.
        branch_count: B.
    """
    N = round_up(max(row_count, len(rows)), batch_multiple(mesh, rules))
    S = trunk_length(max(len(row.trunk) for row in rows), mesh, rules)
    F = power_of_two(max(len(slot.forced) for row in rows for slot in row.branches))
    trunks = np.zeros((N, S), np.int32)
    start, length = np.zeros((N, branch_count), np.int32), np.zeros((N, branch_count), np.int32)
    uid, draw = np.zeros((N, branch_count), np.uint32), np.zeros((N, branch_count), np.uint32)
    forced = np.zeros((N, branch_count, F), np.int32)
    for n, row in enumerate(rows):
        trunks[n, : len(row.trunk)] = row.trunk
        for b, slot in enumerate(row.branches):
            start[n, b], length[n, b] = slot.start, len(slot.forced)
            uid[n, b], draw[n, b] = slot.uid, slot.draw
            forced[n, b, : len(slot.forced)] = slot.forced
    pair = ("batch", "branch")
    return BranchPoints(
        trunks=to_mesh(trunks, mesh, rules, "batch", "seq"),
        start=to_mesh(start, mesh, rules, *pair),
        forced=to_mesh(forced, mesh, rules, *pair, "token"),
        forced_length=to_mesh(length, mesh, rules, *pair),
        uid=to_mesh(uid, mesh, rules, *pair),
        draw=to_mesh(draw, mesh, rules, *pair),
    )
