"""Whole sequences to imitate: their batches, and the loss on the tokens that the policy should have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from pivot_jax.config import Architecture
from pivot_jax.data.rendered import TokenSequence
from pivot_jax.objective.aggregation import Weighted, token_mean
from pivot_jax.pipeline.action_loss import total
from pivot_jax.pipeline.run import Run
from pivot_jax.policy.logprobs import logprobs_at
from pivot_jax.policy.mesh import Rules, batch_multiple, to_mesh
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.layout import round_up, trunk_length


@struct.dataclass
class SequenceBatch:
    """Sequences, and where their action tokens stand: most tokens are states, whose logits nobody needs."""

    tokens: Int[Array, "N S"]
    places: Int[Array, "N A"]
    """In order; 0 where a sequence has fewer than A: nothing predicts the token there."""

    @property
    def count(self) -> Float[Array, ""]:
        """Number of action tokens."""
        return jnp.sum(self.places > 0, dtype=jnp.float32)


@dataclass(frozen=True)
class SequenceShape:
    """S and A of a batch."""

    tokens: int
    actions: int

    @classmethod
    def holding(cls, sequences: Sequence[TokenSequence], run: Run, bucket: int) -> SequenceShape:
        """The smallest multiples of `bucket`, and of the parts of a trunk on the mesh, that hold each of these."""
        tokens = max(len(sequence.ids) for sequence in sequences)
        actions = max(int(sequence.action_mask.sum()) for sequence in sequences)
        return cls(*(trunk_length(length, run.mesh, run.rules, bucket) for length in (tokens, actions)))

    def halved(self, sequences: Sequence[TokenSequence], run: Run, bucket: int) -> SequenceShape:
        """This shape, halved as often as it still holds each of these: few shapes are ever compiled."""
        need = SequenceShape.holding(sequences, run, bucket)

        def smallest(size: int, held: int) -> int:
            half = trunk_length(-(-size // 2), run.mesh, run.rules, bucket)
            return smallest(half, held) if held <= half < size else size

        return SequenceShape(smallest(self.tokens, need.tokens), smallest(self.actions, need.actions))


def imitation_loss(params: Parameters[jax.Array], batch: SequenceBatch, arch: Architecture, rules: Rules) -> Weighted:
    """Sum of -log pi over the action tokens of a batch, and their number."""
    logprobs = logprobs_at(params, batch.tokens, batch.places, arch, rules)
    return total(jax.vmap(token_mean)(-logprobs, batch.places > 0))


def batches_by_length(
    run: Run, sequences: Sequence[TokenSequence], shape: SequenceShape, parts: int, bucket: int
) -> list[SequenceBatch]:
    """The sequences in `parts` batches, short ones apart from long ones, so that less is padding.

    Args:
        run: its mesh divides the rows; a part holds no fewer rows than that asks for.
        sequences: of one step, in any order.
        shape: holds each of them.
        parts: most batches.
        bucket: of the shapes (`SequenceShape.holding`).
    """
    size = round_up(-(-len(sequences) // parts), batch_multiple(run.mesh, run.rules))
    ordered = sorted(sequences, key=lambda sequence: len(sequence.ids))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [sequence_batch(run, group, shape.halved(group, run, bucket)) for group in groups]


def sequence_batch(run: Run, sequences: Sequence[TokenSequence], shape: SequenceShape) -> SequenceBatch:
    """Sequences padded on the right to one shape, and to as many rows as the mesh divides."""
    rows = round_up(len(sequences), batch_multiple(run.mesh, run.rules))
    tokens, places = np.zeros((rows, shape.tokens), np.int32), np.zeros((rows, shape.actions), np.int32)
    for n, sequence in enumerate(sequences):
        predicted = np.flatnonzero(sequence.action_mask)
        tokens[n, : len(sequence.ids)] = sequence.ids
        places[n, : len(predicted)] = predicted
    return SequenceBatch(
        to_mesh(tokens, run.mesh, run.rules, "batch", "seq"), to_mesh(places, run.mesh, run.rules, "batch", "seq")
    )
