"""The optimizer and the training state; parameters change in the step functions and nowhere else.

Of a policy with adapters, only these are trained: a step takes its state apart (`trained_alone`), so that gradients,
moments, donation and checkpoints know of nothing but them, and puts it together again (`with_frozen`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from pivot_jax.config import OptimizerSection
from pivot_jax.policy.lora import frozen_part, trained_part, whole
from pivot_jax.policy.spec import Adapters, Parameters


@struct.dataclass
class TrainState:
    """Everything that training changes: optimizer step, float32 master parameters, optimizer state.

    `params` are the whole policy outside of a step, and what is trained of it inside (and in a checkpoint).
    """

    step: jax.Array
    params: Any
    moments: Any


def trained_alone(state: TrainState) -> tuple[TrainState, Parameters[jax.Array] | None]:
    """The state with what is trained of the policy, and the rest (None: all is trained)."""
    return replace(state, params=trained_part(state.params)), frozen_part(state.params)


def with_frozen(state: TrainState, frozen: Parameters[jax.Array] | None) -> TrainState:
    """The state with the whole policy."""
    return replace(state, params=whole(state.params, frozen))


def make_optimizer(section: OptimizerSection) -> optax.GradientTransformation:
    """AdamW after clipping the global gradient norm; the rate warms up linearly, then stays or decays linearly."""
    rate = section.learning_rate
    warmup = optax.linear_schedule(0.0, rate, section.warmup_steps + 1)
    after = (
        optax.linear_schedule(rate, 0.0, section.decay_steps) if section.decay_steps else optax.constant_schedule(rate)
    )
    schedule = optax.join_schedules([lambda step: warmup(step + 1), after], [section.warmup_steps])
    return optax.chain(
        optax.clip_by_global_norm(section.max_grad_norm),
        optax.adamw(schedule, b1=section.b1, b2=section.b2, weight_decay=section.weight_decay),
    )


def initial_state(params: Parameters[jax.Array], section: OptimizerSection) -> TrainState:
    """Step 0; the optimizer has moments of what is trained, stored as the parameters are."""
    return with_frozen(initial_alone(trained_part(params), section), frozen_part(params))


def initial_alone(trained: Parameters[jax.Array] | Adapters[jax.Array], section: OptimizerSection) -> TrainState:
    """Step 0 of what is trained alone, as a step and a checkpoint have it."""
    return TrainState(jnp.int32(0), trained, make_optimizer(section).init(cast(Any, trained)))


def apply_gradients(
    state: TrainState,
    gradients: Parameters[jax.Array] | Adapters[jax.Array],
    section: OptimizerSection,
    *,
    frozen_router: bool = False,
) -> tuple[TrainState, jax.Array]:
    """The next state, and the gradients' global norm before clipping.

    Args:
        state: with what is trained of the policy as its parameters.
        gradients: with respect to these.
        section: the optimizer.
        frozen_router: routers stay as they are; without a gradient they would still decay.
    """
    # optax raises a float to an integer count, which strict promotion refuses
    with jax.numpy_dtype_promotion("standard"):
        updates, moments = make_optimizer(section).update(cast(Any, gradients), state.moments, cast(Any, state.params))
    params: Any = optax.apply_updates(state.params, updates)
    if frozen_router and isinstance(params, Parameters):
        params = replace(params, blocks=replace(params.blocks, router=state.params.blocks.router))
    return TrainState(state.step + 1, params, moments), optax.tree.norm(gradients)
