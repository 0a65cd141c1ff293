"""The optimizer and the training state; parameters change in the two step functions and nowhere else."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from pivot_jax.config import OptimizerSection
from pivot_jax.policy.spec import Parameters


@struct.dataclass
class TrainState:
    """Everything that training changes: optimizer step, float32 master parameters, optimizer state."""

    step: jax.Array
    params: Parameters[jax.Array]
    moments: Any


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
    """Step 0; the optimizer's moments are stored as the parameters are."""
    return TrainState(jnp.int32(0), params, make_optimizer(section).init(cast(Any, params)))


def apply_gradients(
    state: TrainState, gradients: Parameters[jax.Array], section: OptimizerSection
) -> tuple[TrainState, jax.Array]:
    """The next state, and the gradients' global norm before clipping."""
    # optax raises a float to an integer count, which strict promotion refuses
    with jax.numpy_dtype_promotion("standard"):
        updates, moments = make_optimizer(section).update(cast(Any, gradients), state.moments, cast(Any, state.params))
    params = cast(Parameters[jax.Array], optax.apply_updates(cast(Any, state.params), updates))
    return TrainState(state.step + 1, params, moments), optax.tree.norm(gradients)
