"""Predicted seconds of a step: arithmetic, memory and network apart, from a chip's peaks and stated shares of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from pivot_jax.planning.activations import Tokens, cache_bytes
from pivot_jax.planning.chips import BANDWIDTH_SHARE, LINK_SHARE, MATMUL_SHARE, Chip
from pivot_jax.planning.compiled import Compiled
from pivot_jax.planning.memory import MASTER, gathered_bytes, stored_elements
from pivot_jax.planning.work import Phase
from pivot_jax.planning.workload import Layout, Workload
from pivot_jax.policy.mesh import mesh_axes
from pivot_jax.policy.spec import ParamSpec, parameter_specs

BLOCK_SUMS = {"reference": 2, "update": 6, "rollout: prefill": 2}
"""Sums over the tensor axis of one block's output: two forward, two backward, and two more where it is recomputed."""


@dataclass(frozen=True)
class Seconds:
    """Of one phase, on one device."""

    phase: str
    arithmetic: float
    memory: float
    network: float

    @property
    def overlapped(self) -> float:
        """If the three hide each other wholly."""
        return max(self.arithmetic, self.memory, self.network)

    @property
    def apart(self) -> float:
        """If nothing is hidden."""
        return self.arithmetic + self.memory + self.network


def step_seconds(
    work: Workload, chip: Chip, found: tuple[Phase, ...], compiled: Mapping[str, Compiled]
) -> tuple[Seconds, ...]:
    """The phases of a step, profile left out; nothing for a chip without published peaks.

    Args:
        work: the step.
        chip: of the mesh.
        found: its phases.
        compiled: program → what a compiler says of its collectives; without, they are estimated.
    """
    if not chip.known:
        return ()
    flops = {phase.name: phase.flops + phase.recomputed for phase in found}
    sent = bytes_sent(work, compiled)
    tokens = work.branch - 1
    return tuple(
        Seconds(
            name,
            flops[name] * idle_factor(work, place) / (place.devices * chip.matmul_flops * MATMUL_SHARE),
            decode_bytes(work) * tokens / (chip.bandwidth * BANDWIDTH_SHARE) if name == "rollout: decoding" else 0.0,
            sent[name] / (chip.link * LINK_SHARE),
        )
        for name, place in (
            ("rollout: prefill", work.sample),
            ("rollout: decoding", work.sample),
            ("reference", work.train),
            ("update", work.train),
        )
    )


def bytes_sent(work: Workload, compiled: Mapping[str, Compiled]) -> dict[str, float]:
    """Bytes that one device sends in each phase: as compiled, or else weights gathered and activations summed."""
    each_part = work.config.train.micro_batches
    sent = {
        "rollout: prefill": gather_sent(work, work.sample) + sums_sent(work, work.sample, "rollout: prefill"),
        "rollout: decoding": (work.branch - 1) * gather_sent(work, work.sample),
        "reference": each_part * gather_sent(work, work.train) + sums_sent(work, work.train, "reference"),
        # gathered for the forward and the backward pass, and the gradients scattered
        "update": 3 * each_part * gather_sent(work, work.train) + sums_sent(work, work.train, "update"),
    }
    if "update" in compiled:
        sent["update"] = sum(total.wire for total in compiled["update"].collectives.values())
    if "rollout" in compiled:
        told = compiled["rollout"]
        sent["rollout: prefill"] = sum(total.wire for total in told.collectives.values())
        sent["rollout: decoding"] = (work.branch - 1) * sum(total.wire for total in told.each_round.values())
    return sent


def gather_sent(work: Workload, place: Layout) -> int:
    """Bytes that a ring sends while every weight is gathered once, in the compute dtype."""
    specs = jax.tree.leaves(parameter_specs(work.arch), is_leaf=lambda leaf: isinstance(leaf, ParamSpec))
    missing = (place.computed(spec.shape, spec.axes) - place.stored(spec.shape, spec.axes) for spec in specs)
    return work.itemsize * sum(max(0, elements) for elements in missing)


def sums_sent(work: Workload, place: Layout, phase: str) -> float:
    """Bytes that a ring sends for the sums over the axes that split heads and the MLP."""
    ways = math.prod(place.mesh.shape[axis] for axis in mesh_axes(place.rules.computed("mlp")))
    token_kinds = [Tokens((work.rows, work.trunk))]
    if phase != "rollout: prefill":
        token_kinds.append(Tokens((work.rows, work.group, work.branch)))
    held = sum(
        work.itemsize * place.computed((*tokens.shape, work.arch.embed), (*tokens.axes, "embed"))
        for tokens in token_kinds
    )
    return BLOCK_SUMS[phase] * work.arch.layers * 2 * held * (ways - 1) / ways


def decode_bytes(work: Workload) -> int:
    """Bytes that one device moves for one token of every branch: weights read where they are stored, written and read
    again where they are gathered, and the keys and values; branches are on average half full."""
    place = work.sample
    block, _, unembedding = gathered_bytes(work, place)
    gathered = work.arch.layers * block + unembedding
    stored = MASTER * stored_elements(parameter_specs(work.arch), place)
    trunks = cache_bytes(work, place, Tokens((work.rows, work.trunk)))
    branches = cache_bytes(work, place, Tokens((work.rows, work.group, work.branch)))
    return stored + 2 * gathered + trunks + branches // 2


def idle_factor(work: Workload, place: Layout) -> float:
    """How many devices do the same arithmetic, times the rows that only pad the batch."""
    arch = work.arch
    inner = ("experts", "expert_mlp") if arch.experts else ("mlp",)
    used = {axis for spec in (("batch", "seq"), inner) for axis in mesh_axes(place.rules.computed(*spec))}
    apart = math.prod(place.mesh.shape[axis] for axis in used)
    return place.devices / apart * work.rows / work.pivots
