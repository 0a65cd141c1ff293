"""A small transformer whose actions are single tokens, so that every expectation over actions is an exact sum.

The world has two languages over one vocabulary, told apart by the first token of a state. The policy learns both;
then only states of the first are trained on, and those of the second show what was kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray

from pivot_jax.config import Architecture
from pivot_jax.objective import theory
from pivot_jax.policy.decoder import forward, unembed
from pivot_jax.policy.logprobs import trunk_logprobs
from pivot_jax.policy.mesh import DEFAULT_RULES, Rules
from pivot_jax.policy.spec import Parameters, initialise

ACTIONS, LENGTH, STATES = 32, 8, 32
"""A, tokens of a state, states of each language."""
ARCH = Architecture(vocab_size=ACTIONS, embed=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp=64)
RULES = Rules.make(dict.fromkeys(DEFAULT_RULES, ((), ())))
"""Nothing is split over devices: the policy is tiny, and states are taken one at a time too."""

Arm = Literal["pivotrl", "sft"]
Loss = Callable[[Parameters[jax.Array], Any], jax.Array]


@dataclass(frozen=True, eq=False)
class World:
    """A policy π_0 and where it acts.

    Attributes:
        params: π_0.
        task, unrelated: states of the two languages.
        acceptable: M(s) of the task states.
        expert: the demonstrated action of each task state, in M(s).
    """

    params: Parameters[jax.Array]
    task: Int[Array, "N S"]
    unrelated: Int[Array, "N S"]
    acceptable: Bool[Array, "N A"]
    expert: Int[Array, " N"]


@jax.jit
def action_logprobs(params: Parameters[jax.Array], states: Int[Array, "N S"]) -> Float[Array, "N A"]:
    """log π(a|s) of every action at every state."""
    hidden = forward(params, states, None, ARCH, RULES).trunk[:, -1]
    return jax.nn.log_softmax(unembed(params, hidden, ARCH, RULES))


def make_world(mesh: jax.sharding.Mesh, seed: int, steps: int = 300) -> World:
    """Two languages (sharp random bigram tables), a policy trained on both, and the task: three of the ten likeliest
    actions of π_0 are acceptable at each task state. Call it under `jax.set_mesh(mesh)`."""
    rng = np.random.default_rng(seed)
    tables = rng.dirichlet(np.full(ACTIONS, 0.2), (2, ACTIONS))
    start = initialise(jax.random.key(seed), ARCH, mesh, RULES)
    corpora = (sentences(rng, tables, np.arange(64) % 2) for _ in range(steps))
    params = descend(lambda params, batch: -jnp.mean(trunk_logprobs(params, batch, ARCH, RULES)), start, corpora)
    task, unrelated = (sentences(rng, tables, np.full(STATES, language)) for language in (0, 1))
    likeliest = np.argsort(-np.asarray(action_logprobs(params, task)), axis=1)[:, :10]
    chosen = rng.permuted(likeliest, axis=1)[:, :3]
    acceptable = np.zeros((STATES, ACTIONS), np.bool_)
    np.put_along_axis(acceptable, chosen, True, axis=1)
    return World(params, task, unrelated, jnp.asarray(acceptable), jnp.asarray(chosen[:, 0]))


def sentences(rng: np.random.Generator, tables: NDArray[Any], languages: NDArray[Any]) -> Int[Array, "N S"]:
    """Sentences of the two languages; the first token names the language."""
    tokens = np.zeros((len(languages), LENGTH), np.int32)
    tokens[:, 0] = languages
    tokens[:, 1] = rng.integers(2, ACTIONS, len(languages))
    for place in range(2, LENGTH):
        rows = tables[languages, tokens[:, place - 1]]
        tokens[:, place] = (rows.cumsum(axis=1) > rng.random((len(rows), 1))).argmax(axis=1)
    return jnp.asarray(tokens)


def arm_loss(world: World, arm: Arm, beta: float) -> Loss:
    """What an arm minimises over the task states, as a function of the parameters and of a batch that is not used.

    `pivotrl`: `mean_s [-E_{a~π} r_func + β KL(π ‖ π_0)]`, exact expectations. `sft`: `-mean_s log π(a*|s)`.
    """
    reference = action_logprobs(world.params, world.task)
    demonstrated = jax.nn.one_hot(world.expert, ACTIONS)

    def pivotrl(params: Parameters[jax.Array], _: Any) -> jax.Array:
        policy = action_logprobs(params, world.task)
        rewards = jax.vmap(theory.expected_reward)(policy, world.acceptable.astype(policy.dtype))
        return jnp.mean(beta * jax.vmap(theory.divergence)(policy, reference) - rewards)

    def sft(params: Parameters[jax.Array], _: Any) -> jax.Array:
        return -jnp.mean(jnp.sum(action_logprobs(params, world.task) * demonstrated, axis=1))

    return pivotrl if arm == "pivotrl" else sft


def acceptable_mass(world: World, params: Parameters[jax.Array]) -> Float[Array, " N"]:
    """π(M(s)|s) at the task states; its mean is the in-domain score."""
    return jnp.sum(jnp.exp(action_logprobs(params, world.task)), axis=1, where=world.acceptable)


def descend(
    loss: Loss,
    params: Parameters[jax.Array],
    batches: Any,
    *,
    learning_rate: float = 3e-3,
    done: Callable[[Parameters[jax.Array]], bool] = lambda params: False,
) -> Parameters[jax.Array]:
    """Adam on `loss(params, batch)` for each batch, or until `done`."""
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def step(params: Any, state: optax.OptState, batch: Any) -> tuple[Any, optax.OptState]:
        gradient = jax.grad(loss)(params, batch)
        # optax raises a float to an integer count, which strict promotion refuses
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    tree: Any = params  # a pytree to optax, whose types know no dataclasses
    state = optimizer.init(tree)
    for batch in batches:
        if done(tree):
            break
        tree, state = step(tree, state, batch)
    return tree
