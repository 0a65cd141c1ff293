"""The programs that a run compiles, lowered from shapes alone: nothing is allocated and no weights are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from pivot_jax.pipeline.group_loss import GroupBatch
from pivot_jax.pipeline.grpo import grpo_update
from pivot_jax.pipeline.optimizer import initial_state, trained_alone
from pivot_jax.planning.workload import Workload
from pivot_jax.policy.lora import adapter_targets, attached
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.project import token_axes
from pivot_jax.policy.spec import Parameters, restore_targets
from pivot_jax.rollout.decode import BranchPoints, Sampled, sample_branches

PAIR, TOKENS = ("batch", "branch"), token_axes(3)


def update_program(work: Workload, mesh: Mesh) -> Any:
    """`grpo_update`, the train step, on this mesh, lowered."""
    config, rules = work.config, work.train.rules
    array = _describe(mesh, rules)
    N, G, T = work.rows, work.group, work.branch
    batch = GroupBatch(
        trunks=array((N, work.trunk), jnp.int32, "batch", "seq"),
        tokens=array((N, G, T), jnp.int32, *TOKENS),
        start=array((N, G), jnp.int32, *PAIR),
        action_mask=array((N, G, T), jnp.bool_, *TOKENS),
        behavior_logprobs=array((N, G, T), jnp.float32, *TOKENS),
        rewards=array((N, G), jnp.float32, *PAIR),
        valid=array((N, G), jnp.bool_, *PAIR),
        finished=array((N, G), jnp.bool_, *PAIR),
        surplus_calls=array((N, G), jnp.int32, *PAIR),
        is_message=array((N,), jnp.bool_, "batch"),
    )
    reference = array((N, G, T), jnp.float32, *TOKENS)
    with jax.set_mesh(mesh):
        whole = jax.eval_shape(lambda params: initial_state(params, config.train.optimizer), _policy(work, mesh, rules))
        state, frozen = trained_alone(whole)
        return grpo_update.lower(
            state, frozen, batch, reference,
            loss=config.loss, optimizer=config.train.optimizer, arch=work.arch, rules=rules,
            micro_batches=config.train.micro_batches,
        )  # fmt: skip


def rollout_program(work: Workload, mesh: Mesh) -> Any:
    """`sample_branches`, the prefill and the decode loop, on this mesh, lowered."""
    rules = work.sample.rules
    array = _describe(mesh, rules)
    N, G = work.rows, work.group
    arrays = {
        "trunks": array((N, work.trunk), jnp.int32, "batch", "seq"),
        "start": array((N, G), jnp.int32, *PAIR),
        "forced": array((N, G, work.forced), jnp.int32, *TOKENS),
        "forced_length": array((N, G), jnp.int32, *PAIR),
        "uid": array((N, G), jnp.uint32, *PAIR),
        "draw": array((N, G), jnp.uint32, *PAIR),
    }

    def sample(params: Parameters[jax.Array], key: jax.Array, arrays: dict[str, jax.Array]) -> Sampled:
        # made inside: its fields are checked to be arrays, which a description of one is not
        points = BranchPoints(**arrays)
        return sample_branches(
            params, points, key, settings=work.config.sampling, stop=(0,), arch=work.arch, rules=rules
        )  # fmt: skip

    with jax.set_mesh(mesh):
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.jit(sample).lower(_policy(work, mesh, rules), key, arrays)


PROGRAMS: Mapping[str, Callable[[Workload, Mesh], Any]] = {"update": update_program, "rollout": rollout_program}


def _policy(work: Workload, mesh: Mesh, rules: Rules) -> Any:
    """The policy as it is stored, with its adapters if it has any: descriptions in the place of arrays."""
    params: Any = restore_targets(work.arch, mesh, rules)
    lora = work.config.lora
    return attached(params, cast(Any, adapter_targets(work.arch, lora, mesh, rules))) if lora.rank else params


def _describe(mesh: Mesh, rules: Rules) -> Callable[..., Any]:
    """A constructor of arrays that are computed on, by shape, dtype and logical axes; it describes them alone."""

    def array(shape: tuple[int, ...], dtype: Any, *axes: str) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, rules.computed(*axes)))

    return array
