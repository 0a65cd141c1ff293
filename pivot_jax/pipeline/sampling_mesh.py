"""Sampling on a mesh of its own: the same devices in another shape, with the policy moved there once a step.

Decoding is bound by reading weights and keys, a little for each token; the update by arithmetic over whole batches. The
mesh that suits one need not suit the other. Where a config has no `[sampling_mesh]`, nothing here moves anything.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import jax

from pivot_jax.pipeline.ledger import Cost, Phase
from pivot_jax.pipeline.run import Run, open_mesh
from pivot_jax.policy.lora import adapter_targets, attached
from pivot_jax.policy.mesh import batch_multiple
from pivot_jax.policy.spec import Parameters, shardings


@dataclass(frozen=True, eq=False)
class Sampler:
    """Where a training run samples: `run` is the run as it is there.

    `frozen` is what adapters are added to, moved there once and for all (None: the whole policy is trained, or there is
    but one mesh).
    """

    run: Run
    frozen: Parameters[jax.Array] | None


def sampling_run(run: Run) -> Run:
    """The run on the mesh that it samples on: its own, if the config names no other."""
    section = run.config.sampling_mesh
    if section is None:
        return run
    mesh, rules = open_mesh(section, "sampling_mesh")
    return replace(run, mesh=mesh, rules=rules)


def sampler_of(run: Run, reference: Parameters[jax.Array]) -> Sampler:
    """The sampler of a training run whose policy starts as `reference`."""
    there = sampling_run(run)
    if there is run or not run.config.lora.rank:
        return Sampler(there, None)
    return Sampler(there, moved(reference, there))


def behavior_policy(
    run: Run, sampler: Sampler, params: Parameters[jax.Array]
) -> tuple[Parameters[jax.Array], dict[Phase, Cost]]:
    """The policy where it samples, and what moving it there cost: of a policy with adapters, only these move."""
    if sampler.run is run:
        return params, {}
    began = time.monotonic()
    there = jax.block_until_ready(moved(params, sampler.run, sampler.frozen))
    return there, {"reshard": Cost(seconds=time.monotonic() - began)}


def moved(
    params: Parameters[jax.Array], run: Run, frozen: Parameters[jax.Array] | None = None
) -> Parameters[jax.Array]:
    """The policy as this run's mesh stores it; `frozen` is what is there already of one with adapters."""
    adapters = params.blocks.lora
    base = frozen
    if base is None:
        base = jax.device_put(attached(params, None), shardings(run.arch, run.mesh, run.rules))
    if adapters is None:
        return base
    targets = adapter_targets(run.arch, run.config.lora, run.mesh, run.rules)
    return attached(base, jax.device_put(adapters, jax.tree.map(lambda target: target.sharding, targets)))


def common_rows(count: int, run: Run, sampler: Sampler, micro_batches: int = 1) -> int:
    """The fewest rows, at least `count`, that the sampling mesh divides, and the training mesh in so many parts."""
    training, sampling = (batch_multiple(each.mesh, each.rules) for each in (run, sampler.run))
    multiple = math.lcm(training * micro_batches, sampling)
    return max(1, -(-count // multiple)) * multiple
