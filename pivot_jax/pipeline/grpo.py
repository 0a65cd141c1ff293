"""The GRPO update of Eq. 7 on groups of sampled actions: the step that applies the loss of `group_loss`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from pivot_jax.config import Architecture, LossSection, OptimizerSection
from pivot_jax.objective.aggregation import Weighted, divide
from pivot_jax.pipeline.action_loss import weight
from pivot_jax.pipeline.group_loss import GroupBatch, group_loss, loss_targets, summed_terms
from pivot_jax.pipeline.micro_batches import mapped, summed_gradients
from pivot_jax.pipeline.optimizer import TrainState, apply_gradients, trained_alone, with_frozen
from pivot_jax.policy.decoder import Branches
from pivot_jax.policy.logprobs import branch_logprobs, branch_logprobs_and_experts
from pivot_jax.policy.lora import whole
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.moe import expert_counts, load_metrics
from pivot_jax.policy.spec import Parameters


@partial(jax.jit, static_argnames=("arch", "rules", "micro_batches"))
def action_logprobs(
    params: Parameters[jax.Array], batch: GroupBatch, *, arch: Architecture, rules: Rules, micro_batches: int = 1
) -> Float[Array, "N G T"]:
    """Log-probs of the sampled tokens under a policy that is not trained on them: the reference policy π_0."""

    def part(batch: GroupBatch) -> jax.Array:
        return branch_logprobs(params, batch.trunks, Branches(batch.tokens, batch.start), arch, rules)

    return mapped(part, batch, micro_batches)


def grpo_step(
    state: TrainState,
    batch: GroupBatch,
    reference: Float[Array, "N G T"],
    *,
    loss: LossSection,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, Any]]:
    """One optimizer step on N groups: `state, metrics = grpo_step(state, ...)`.

    What is trained of the old state is donated; what adapters are added to is not, and may be shared.

    Args:
        state: before the step.
        batch: sampled by the policy of this state.
        reference: log-probs of its tokens under π_0 (`action_logprobs`).
        loss, optimizer: which.
        arch, rules: of the policy.
        micro_batches: parts that the batch is gone through in; they change memory, not the step.
    """
    trained, frozen = trained_alone(state)
    trained, metrics = grpo_update(
        trained, frozen, batch, reference,
        loss=loss, optimizer=optimizer, arch=arch, rules=rules, micro_batches=micro_batches,
    )  # fmt: skip
    return with_frozen(trained, frozen), metrics


@partial(jax.jit, static_argnames=("loss", "optimizer", "arch", "rules", "micro_batches"), donate_argnames=("state",))
def grpo_update(
    state: TrainState,
    frozen: Parameters[jax.Array] | None,
    batch: GroupBatch,
    reference: Float[Array, "N G T"],
    *,
    loss: LossSection,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The compiled part of `grpo_step`: `state` holds what is trained alone, and is donated."""
    targets = loss_targets(batch, loss)
    whole_weight = weight(targets.mask, loss)

    def objective(trained, part):
        batch, reference, targets = part
        params, branches = whole(trained, frozen), Branches(batch.tokens, batch.start)
        logprobs, experts = branch_logprobs_and_experts(params, batch.trunks, branches, arch, rules)
        # a batch is used for one update, so the policy before it is the one that is being differentiated
        old = jax.lax.stop_gradient(logprobs)
        terms = summed_terms(logprobs, old, reference, batch, targets, loss)
        value = divide(Weighted(terms.surrogate.sum + loss.kl_coef * terms.divergence.sum, whole_weight))
        counts = None if experts is None else expert_counts(experts, batch.sampled, arch)
        return value, (old, counts)

    gradients, logprobs, counts = summed_gradients(
        objective, state.params, (batch, reference, targets), micro_batches
    )  # fmt: skip
    state, norm = apply_gradients(state, gradients, optimizer, frozen_router=arch.frozen_router)
    _, metrics = group_loss(logprobs, logprobs, reference, batch, loss)
    load = {} if counts is None else load_metrics(counts)
    return state, {**metrics, **load, "train/gradient_norm": norm}
