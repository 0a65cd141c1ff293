"""Natural gradients of policies that are too large for a Fisher matrix: conjugate gradient on Fisher-vector products.

A policy is a function from parameters (any pytree) to the log-probabilities of all A actions, at one state or at many.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Tree = Any
LogProbs = Callable[[Tree], Float[Array, "*states A"]]


class Solution(NamedTuple):
    """What conjugate gradient found: the vector, and `‖F x - b‖/‖b‖` where it stopped."""

    vector: Tree
    residual: Float[Array, ""]


def fisher_product(logprobs: LogProbs, params: Tree, vector: Tree) -> Tree:
    """`F v` with `F = mean_s E_{a~π(.|s)} [∇log π(a|s) ∇log π(a|s)ᵀ]`, the mean over the states of `logprobs`."""
    values, pull = jax.vjp(logprobs, params)
    _, slopes = jax.jvp(logprobs, (params,), (vector,))
    states = values.size // values.shape[-1]
    return pull(jnp.exp(values) * slopes / states)[0]


def natural_gradient(
    logprobs: LogProbs, params: Tree, gradient: Tree, *, damping: float = 0.0, tolerance: float = 1e-5, steps: int = 200
) -> Solution:
    """`(F + damping I)⁺ gradient` by conjugate gradient from 0.

    Without damping the gradient must lie in the range of F, as the gradient of any function of the same policy does;
    the null space of F is then never entered.

    Args:
        logprobs: the policy.
        params: where F is taken.
        gradient: the Euclidean gradient, a tree like `params`.
        damping: added to the diagonal of F.
        tolerance: relative residual at which to stop. Float32 reaches about 1e-5; asked for less, it wanders off.
        steps: most Fisher-vector products.
    """

    def operator(vector: Tree) -> Tree:
        return _axpy(damping, vector, fisher_product(logprobs, params, vector))

    target = jnp.square(tolerance) * inner(gradient, gradient)

    def unfinished(loop: tuple[Array, Tree, Tree, Tree, Array]) -> Array:
        step, _, _, _, squared = loop
        return (step < steps) & (squared > target)

    def advance(loop: tuple[Array, Tree, Tree, Tree, Array]) -> tuple[Array, Tree, Tree, Tree, Array]:
        step, solution, residual, direction, squared = loop
        image = operator(direction)
        length = squared / inner(direction, image)
        solution, residual = _axpy(length, direction, solution), _axpy(-length, image, residual)
        left = inner(residual, residual)
        return step + 1, solution, residual, _axpy(left / squared, direction, residual), left

    zero = jax.tree.map(jnp.zeros_like, gradient)
    start = jnp.int32(0), zero, gradient, gradient, inner(gradient, gradient)
    _, solution, *_ = jax.lax.while_loop(unfinished, advance, start)
    # measured anew: the residual that the loop carries drifts away from the true one in float32
    error = _axpy(-1.0, operator(solution), gradient)
    size = inner(gradient, gradient)
    return Solution(solution, jnp.sqrt(inner(error, error) / jnp.where(size > 0, size, 1.0)))


def natural_norm(gradient: Tree, solution: Solution) -> Float[Array, ""]:
    """Fisher norm of the natural gradient, `sqrt(gᵀ F⁺ g)` (Theorem 3.2)."""
    return jnp.sqrt(jnp.maximum(inner(gradient, solution.vector), 0.0))


def inner(left: Tree, right: Tree) -> Float[Array, ""]:
    """Euclidean inner product of two trees."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda a, b: jnp.sum(a * b), left, right))


def _axpy(scale: float | Array, left: Tree, right: Tree) -> Tree:
    """`scale · left + right`."""
    return jax.tree.map(lambda a, b: scale * a + b, left, right)
