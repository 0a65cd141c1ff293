"""Theorems 3.2 and 3.3 measured on a transformer: where its shared parameters depart from the tabular statement."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from pivot_jax.objective import natural, theory
from pivot_jax.pipeline.one_token_actions import (
    ACTIONS,
    Arm,
    World,
    acceptable_mass,
    action_logprobs,
    arm_loss,
    descend,
)
from pivot_jax.policy.spec import Parameters


@dataclass(frozen=True, eq=False)
class SignalNorms:
    """Sizes of the policy gradient at N states, arrays `[N]`, beside the standard deviation of the reward.

    Attributes:
        std: `sqrt(Var_{a~π} r)`, what Theorem 3.2 predicts.
        own: Fisher norm of the natural gradient, F taken at the state itself.
        shared: the same with one damped F, the mean over all N states, as an optimizer of shared parameters has it;
            divided by sqrt(N), which is what N states without shared parameters would give.
        plain: Euclidean norm of the gradient.
        residual: relative residual where conjugate gradient stopped, for `own`.
    """

    std: NDArray[np.float32]
    own: NDArray[np.float32]
    shared: NDArray[np.float32]
    plain: NDArray[np.float32]
    residual: NDArray[np.float32]

    def correlation(self, name: str) -> float:
        """Pearson correlation of one of the norms with `std`."""
        return float(np.corrcoef(self.std, {"own": self.own, "shared": self.shared, "plain": self.plain}[name])[0, 1])


def random_rewards(seed: int, states: int) -> Float[Array, "N A"]:
    """Binary rewards; the share of rewarded actions differs from state to state and is 0 or 1 at some."""
    rng = np.random.default_rng(seed)
    shares = rng.uniform(-0.1, 1.1, (states, 1))
    return jnp.asarray(rng.random((states, ACTIONS)) < shares, jnp.float32)


def signal_norms(world: World, rewards: Float[Array, "N A"], *, damping: float = 1e-3, steps: int = 100) -> SignalNorms:
    """The norms at every task state for these rewards.

    Args:
        world: policy and states.
        rewards: of every action.
        damping: of the shared Fisher matrix.
        steps: most Fisher-vector products of one solution.
    """

    def everywhere(params: Parameters[jax.Array]) -> Float[Array, "N A"]:
        return action_logprobs(params, world.task)

    def at_state(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        state, reward = inputs

        def here(params: Parameters[jax.Array]) -> Float[Array, " A"]:
            return action_logprobs(params, state[None])[0]

        gradient = jax.grad(lambda params: theory.expected_reward(here(params), reward))(world.params)
        own = natural.natural_gradient(here, world.params, gradient, steps=steps)
        shared = natural.natural_gradient(
            everywhere, world.params, gradient, damping=damping, tolerance=1e-3, steps=steps
        )
        return (
            theory.reward_std(here(world.params), reward),
            natural.natural_norm(gradient, own),
            natural.natural_norm(gradient, shared) / jnp.sqrt(jnp.float32(len(world.task))),
            jnp.sqrt(natural.inner(gradient, gradient)),
            own.residual,
        )

    measured = jax.jit(lambda states, rewards: jax.lax.map(at_state, (states, rewards)))(world.task, rewards)
    return SignalNorms(*(np.asarray(values) for values in measured))


@dataclass(frozen=True)
class Kept:
    """What an update did, at the in-domain score it reached.

    Attributes:
        mass: mean π(M(s)|s) at the task states.
        outside, inside: share of pairs of actions in their old order, outside and inside M(s).
        unrelated: the same over all actions at the states of the other language.
        distortion: mean over task states of the largest change of a log-ratio that Theorem 3.3 keeps, in nats.
        drift: mean KL(π ‖ π_0) at the states of the other language, in nats.
    """

    mass: float
    outside: float
    inside: float
    unrelated: float
    distortion: float
    drift: float


def train_to(world: World, arm: Arm, target: float, *, beta: float, learning_rate: float) -> Parameters[jax.Array]:
    """π_0 trained by one arm until the in-domain score is `target`.

    Raises:
        ValueError: 2000 steps did not reach it.
    """

    def score(params: Parameters[jax.Array]) -> float:
        return float(jnp.mean(acceptable_mass(world, params)))

    params = descend(
        arm_loss(world, arm, beta),
        world.params,
        repeat(None, 2000),
        learning_rate=learning_rate,
        done=lambda params: score(params) >= target,
    )
    if score(params) < target:
        raise ValueError(f"{arm}: score {score(params):.3f} after 2000 steps, below target={target}")
    return params


def train_long(world: World, arm: Arm, *, beta: float, steps: int = 1000) -> Parameters[jax.Array]:
    """π_0 trained by one arm for three times `steps`, at falling learning rates: for `pivotrl`, to its minimiser."""
    params = world.params
    for learning_rate in (3e-3, 1e-3, 3e-4):
        params = descend(arm_loss(world, arm, beta), params, repeat(None, steps), learning_rate=learning_rate)
    return params


def kept(world: World, params: Parameters[jax.Array]) -> Kept:
    """Order and divergence of `params` against π_0."""
    task, task_before = (action_logprobs(p, world.task) for p in (params, world.params))
    other, other_before = (action_logprobs(p, world.unrelated) for p in (params, world.params))
    everywhere = jnp.ones_like(world.acceptable)

    def order(after: Any, before: Any, where: Any) -> float:
        return float(jnp.mean(jax.vmap(theory.pairs_kept)(after, before, where)))

    return Kept(
        mass=float(jnp.mean(acceptable_mass(world, params))),
        outside=order(task, task_before, ~world.acceptable),
        inside=order(task, task_before, world.acceptable),
        unrelated=order(other, other_before, everywhere),
        distortion=float(jnp.mean(jax.vmap(theory.order_distortion)(task, task_before, world.acceptable))),
        drift=float(jnp.mean(jax.vmap(theory.divergence)(other, other_before))),
    )
