"""Theorems 3.2 and 3.3 on one state with finitely many actions, computed from their definitions.

A policy is a vector of A log-probabilities (or logits). Nothing here takes part in training: the notebooks and tests
use it to show what the theorems say, and where cross-entropy does not have the property.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def expected_reward(logits: Float[Array, " A"], rewards: Float[Array, " A"]) -> Float[Array, ""]:
    """`J_s(π) = E_{a~π} r(a)` of the softmax policy."""
    return jnp.sum(jax.nn.softmax(logits) * rewards)


def reward_std(logits: Float[Array, " A"], rewards: Float[Array, " A"]) -> Float[Array, ""]:
    """`sqrt(Var_{a~π} r(a))`; `sqrt(p(1-p))` for a binary reward with pass probability p."""
    deviations = rewards - expected_reward(logits, rewards)
    return jnp.sqrt(jnp.sum(jax.nn.softmax(logits) * jnp.square(deviations)))


def divergence(logits: Float[Array, " A"], reference_logits: Float[Array, " A"]) -> Float[Array, ""]:
    """`KL(π ‖ π_0)` of two softmax policies, summed over all actions."""
    logprobs = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(logprobs) * (logprobs - jax.nn.log_softmax(reference_logits)))


def regularised_path(
    reference_logits: Float[Array, " A"], rewards: Float[Array, " A"], beta: Float[Array, ""]
) -> Float[Array, " A"]:
    """log π_{s,β} with `π_{s,β}(a) = π_0(a) exp(r(a)/β) / Z`: the minimiser of `-E_π r + β KL(π ‖ π_0)`."""
    return jax.nn.log_softmax(jax.nn.log_softmax(reference_logits) + rewards / beta)


def fisher_matrix(logits: Float[Array, " A"]) -> Float[Array, "A A"]:
    """`F = E_{a~π} [∇log π(a) ∇log π(a)ᵀ]`, the gradients taken in the logits."""
    scores = jax.jacobian(jax.nn.log_softmax)(logits)
    return jnp.einsum("a,ai,aj->ij", jax.nn.softmax(logits), scores, scores)


def natural_gradient(logits: Float[Array, " A"], gradient: Float[Array, " A"]) -> Float[Array, " A"]:
    """`F⁺ gradient`, for the Euclidean gradient (in the logits) of a function of the policy."""
    # A shift of all logits changes nothing: the ones vector spans the null space of F, and a gradient is orthogonal to
    # it. There F⁺ equals (F + projection on ones)⁻¹, which needs no cut-off between small eigenvalues and zero.
    projection = jnp.full((logits.size, logits.size), 1 / logits.size, logits.dtype)
    return jnp.linalg.solve(fisher_matrix(logits) + projection, gradient)


def natural_gradient_norm(logits: Float[Array, " A"], rewards: Float[Array, " A"]) -> Float[Array, ""]:
    """Fisher norm `‖∇^nat J_s‖_F = sqrt(gᵀ F⁺ g)`, with g the Euclidean gradient of J_s.

    Theorem 3.2 says that it equals `reward_std`.
    """
    gradient = jax.grad(expected_reward)(logits, rewards)
    return jnp.sqrt(jnp.sum(gradient * natural_gradient(logits, gradient)))


def signal_strength(
    reference_logits: Float[Array, " A"], rewards: Float[Array, " A"], beta: Float[Array, ""]
) -> Float[Array, ""]:
    """`γ_{s,β} = ‖∇^nat J_s(π_{s,β})‖_F / β²` (Theorem 3.2)."""
    return natural_gradient_norm(regularised_path(reference_logits, rewards, beta), rewards) / jnp.square(beta)


def path_speed(
    reference_logits: Float[Array, " A"], rewards: Float[Array, " A"], beta: Float[Array, ""]
) -> Float[Array, ""]:
    """Fisher norm of `d/dβ log π_{s,β}`: how fast the policy moves along the path. It equals γ_{s,β}."""
    logprobs = regularised_path(reference_logits, rewards, beta)
    velocity = jax.jacfwd(regularised_path, argnums=2)(reference_logits, rewards, beta)
    return jnp.sqrt(jnp.sum(jnp.exp(logprobs) * jnp.square(velocity)))


def acceptable_mass(reference_mass: Float[Array, "*batch"], beta: Float[Array, ""]) -> Float[Array, "*batch"]:
    """`q_β = ρ e^{1/β} / (ρ e^{1/β} + 1 - ρ)`: mass of the acceptable actions M(s) at the minimiser (Theorem 3.3 i).

    Args:
        reference_mass: ρ = π_0(M(s)|s), in [0, 1].
        beta: weight of the KL.
    """
    return jax.nn.sigmoid(jnp.log(reference_mass) - jnp.log1p(-reference_mass) + 1 / beta)


def minimise_regularised(
    reference_logits: Float[Array, " A"], rewards: Float[Array, " A"], beta: Float[Array, ""], steps: int = 60
) -> Float[Array, " A"]:
    """log-probabilities of the numerical minimiser of `-E_π r + β KL(π ‖ π_0)`, without using its closed form.

    Natural gradient descent from π_0 with step 1/(2β), which halves the distance to the minimiser at each step.
    """

    def loss(logits: Float[Array, " A"]) -> Float[Array, ""]:
        return beta * divergence(logits, reference_logits) - expected_reward(logits, rewards)

    def step(logits: Float[Array, " A"]) -> Float[Array, " A"]:
        # Logits drift by a shift that means nothing; normalising keeps them small and their differences exact.
        return jax.nn.log_softmax(logits - natural_gradient(logits, jax.grad(loss)(logits)) / (2 * beta))

    return _iterate(step, jax.nn.log_softmax(reference_logits), steps)


def fit_demonstration(
    reference_logits: Float[Array, " A"], expert: Float[Array, " A"], learning_rate: float, steps: int
) -> Float[Array, " A"]:
    """log-probabilities after gradient descent, in the logits from π_0, on the SFT loss `-Σ_a expert(a) log π(a)`.

    Args:
        reference_logits: π_0.
        expert: distribution of the expert action; one-hot for one demonstration.
        learning_rate: of plain gradient descent.
        steps: number of updates.
    """

    def loss(logits: Float[Array, " A"]) -> Float[Array, ""]:
        return -jnp.sum(expert * jax.nn.log_softmax(logits))

    def step(logits: Float[Array, " A"]) -> Float[Array, " A"]:
        return logits - learning_rate * jax.grad(loss)(logits)

    return jax.nn.log_softmax(_iterate(step, reference_logits, steps))


def order_distortion(
    logprobs: Float[Array, " A"], reference_logprobs: Float[Array, " A"], acceptable: Bool[Array, " A"]
) -> Float[Array, ""]:
    """Largest `|log π(a)/π(b) - log π_0(a)/π_0(b)|` over pairs both inside M(s) or both outside.

    Theorem 3.3 (ii) says that it is 0 at the regularised minimiser.
    """
    change = logprobs - reference_logprobs

    def spread(side: Bool[Array, " A"]) -> Float[Array, ""]:
        highest = jnp.max(change, where=side, initial=-jnp.inf)
        lowest = jnp.min(change, where=side, initial=jnp.inf)
        return jnp.where(jnp.any(side), highest - lowest, 0.0)

    return jnp.maximum(spread(acceptable), spread(~acceptable))


def pairs_kept(
    logprobs: Float[Array, " A"], reference_logprobs: Float[Array, " A"], where: Bool[Array, " A"]
) -> Float[Array, ""]:
    """Share of the pairs of actions inside `where` that stand in the same order as under π_0, 1 without a pair.

    It is (1 + Kendall's τ)/2: 1 when the order is kept, 1/2 for an order drawn anew. A pair that was tied counts as
    kept only if it still is.
    """
    pairs = where[:, None] & where[None, :] & ~jnp.eye(where.size, dtype=bool)
    signs = [jnp.sign(values[:, None] - values[None, :]) for values in (logprobs, reference_logprobs)]
    kept = jnp.sum(signs[0] == signs[1], where=pairs, dtype=logprobs.dtype)
    return jnp.where(jnp.any(pairs), kept / jnp.maximum(jnp.sum(pairs, dtype=logprobs.dtype), 1.0), 1.0)


def _iterate(
    step: Callable[[Float[Array, " A"]], Float[Array, " A"]], start: Float[Array, " A"], steps: int
) -> Float[Array, " A"]:
    return jax.lax.fori_loop(0, steps, lambda _, logits: step(logits), start)
