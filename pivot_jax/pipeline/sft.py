"""Method `sft`: supervised fine-tuning on the same trajectories, on all turns or on the pivots alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from pivot_jax.config import Architecture, Config, OptimizerSection
from pivot_jax.data.rendered import TokenSequence
from pivot_jax.objective.aggregation import Weighted, divide
from pivot_jax.pipeline.batches import index_batches
from pivot_jax.pipeline.candidates import Prepared, load_prepared
from pivot_jax.pipeline.flops import sequence_flops
from pivot_jax.pipeline.ledger import Cost, Ledger, backward_flops
from pivot_jax.pipeline.loop import Charges, train_arm
from pivot_jax.pipeline.micro_batches import summed_gradients
from pivot_jax.pipeline.optimizer import TrainState, apply_gradients, trained_alone, with_frozen
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.selection import load_pivots
from pivot_jax.pipeline.sequence_batches import SequenceBatch, SequenceShape, imitation_loss, sequence_batch
from pivot_jax.policy.lora import whole
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.layout import TRUNK_BUCKET


def sft_step(
    state: TrainState,
    batch: SequenceBatch,
    *,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of `-E log pi(a*|s)`, the mean over action tokens; what is trained of the old state is donated.

    `micro_batches` are the parts that the batch is gone through in; they change memory, not the step.
    """
    trained, frozen = trained_alone(state)
    trained, metrics = sft_update(
        trained, frozen, batch, optimizer=optimizer, arch=arch, rules=rules, micro_batches=micro_batches
    )
    return with_frozen(trained, frozen), metrics


@partial(jax.jit, static_argnames=("optimizer", "arch", "rules", "micro_batches"), donate_argnames=("state",))
def sft_update(
    state: TrainState,
    frozen: Parameters[jax.Array] | None,
    batch: SequenceBatch,
    *,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The compiled part of `sft_step`: `state` holds what is trained alone, and is donated."""
    whole_weight = batch.count

    def objective(trained, part: SequenceBatch):
        share = divide(Weighted(imitation_loss(whole(trained, frozen), part, arch, rules).sum, whole_weight))
        return share, (None, share)

    gradients, _, loss = summed_gradients(objective, state.params, batch, micro_batches)
    state, norm = apply_gradients(state, gradients, optimizer, frozen_router=arch.frozen_router)
    return state, {"sft/loss": loss, "train/gradient_norm": norm}


def train_sft(run: Run, arm: str, config: Config, console: Console) -> Ledger:
    """Train one arm by imitation; `run` and `config` are the arm's own."""
    section = config.sft
    prepared = load_prepared(run)
    if section.turns == "pivots":
        sequences = pivot_sequences(prepared, {point.candidate.id for point in load_pivots(run, arm)})
    else:
        sequences = [sequence for item in prepared for sequence in item.rendered.sequences()]
    shape = SequenceShape.holding(sequences, run, TRUNK_BUCKET)
    with jax.set_mesh(run.mesh):

        def advance(state: TrainState, indices: Any, step: int) -> tuple[TrainState, Any, Charges]:
            chosen = [sequences[i] for i in indices]
            batch = sequence_batch(run, chosen, shape)
            state, metrics = sft_step(
                state, batch, optimizer=section.optimizer,
                arch=run.arch, rules=run.rules, micro_batches=section.micro_batches,
            )  # fmt: skip
            logits = sum(int(sequence.action_mask.sum()) for sequence in chosen)
            forward = sequence_flops(run.arch, [len(sequence.ids) for sequence in chosen], logits)
            return state, metrics, {"update": Cost(trained_tokens=logits, flops=forward + backward_flops(forward))}

        return train_arm(
            run,
            arm,
            steps=section.steps,
            optimizer=section.optimizer,
            checkpoint_every=section.checkpoint_every,
            batches=index_batches(len(sequences), section.trajectories_per_step, config.run.seed),
            params=read_weights(run.policy_dir, run.arch, run.mesh, run.rules),
            advance=advance,
            console=console,
        )


def pivot_sequences(prepared: Sequence[Prepared], pivots: set[str]) -> list[TokenSequence]:
    """One sequence a pivot: its state, and its expert action under the mask."""
    chosen = []
    for item in prepared:
        for turn, candidate in zip(item.rendered.turns, item.candidates, strict=True):
            if candidate.id in pivots:
                ids = np.concatenate([turn.state_ids, turn.action_ids])
                mask = np.arange(len(ids)) >= len(turn.state_ids)
                chosen.append(TokenSequence(ids=ids, action_mask=mask))
    return chosen
