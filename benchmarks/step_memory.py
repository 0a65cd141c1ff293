"""What `policy.remat` and `train.micro_batches` do to the memory of a GRPO step, as the compiler plans it.

    python benchmarks/step_memory.py

Compiles `grpo_update` for one device without running it, and prints MiB of temporary memory (activations, gradients)
beside that of the donated state. A compiler for an accelerator plans other numbers in the same order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.config import Architecture, LossSection, OptimizerSection
from pivot_jax.pipeline.group_loss import GroupBatch
from pivot_jax.pipeline.grpo import grpo_update
from pivot_jax.pipeline.optimizer import initial_state
from pivot_jax.policy.mesh import Rules, make_mesh
from pivot_jax.policy.spec import count_parameters, restore_targets

ARCH = Architecture(vocab_size=4096, embed=128, layers=12, heads=4, kv_heads=2, head_dim=32, mlp=384)
RULES = Rules.make()
N, G, S, T = 16, 8, 128, 32


def planned(remat: str, parts: int) -> tuple[float, float]:
    """MiB of temporary memory and of donated state of one step."""
    arch = ARCH.model_copy(update={"remat": remat})
    mesh, optimizer = make_mesh(), OptimizerSection()

    def array(shape: tuple[int, ...], dtype: type, *axes: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.NamedSharding(mesh, RULES.computed(*axes)))

    pair = ("batch", "branch")
    with jax.set_mesh(mesh):
        state = jax.eval_shape(lambda params: initial_state(params, optimizer), restore_targets(arch, mesh, RULES))
        per_token = {name: array((N, G, T), dtype, *pair, "token") for name, dtype in [
            ("tokens", np.int32), ("action_mask", np.bool_), ("behavior_logprobs", np.float32)]}  # fmt: skip
        per_action = {name: array((N, G), dtype, *pair) for name, dtype in [
            ("start", np.int32), ("rewards", np.float32), ("valid", np.bool_), ("finished", np.bool_),
            ("surplus_calls", np.int32)]}  # fmt: skip
        batch = GroupBatch(
            trunks=array((N, S), np.int32, "batch", "seq"),
            is_message=array((N,), np.bool_, "batch"),
            **per_token,
            **per_action,
        )
        lowered = grpo_update.lower(
            state, None, batch, array((N, G, T), jnp.float32, *pair, "token"),
            loss=LossSection(), optimizer=optimizer, arch=arch, rules=RULES, micro_batches=parts,
        )  # fmt: skip
        plan = lowered.compile().memory_analysis()
    return plan.temp_size_in_bytes / 2**20, plan.alias_size_in_bytes / 2**20


def main() -> None:
    table = Table(
        "remat", "1 part MiB", "4 parts MiB", "donated state MiB",
        title=f"GRPO step, {count_parameters(ARCH):,} parameters, {N} pivots x {G} actions, one device "
        f"({jax.devices()[0].device_kind})",
    )  # fmt: skip
    for remat in ("none", "dots", "full"):
        whole, parts = planned(remat, 1), planned(remat, 4)
        table.add_row(remat, f"{whole[0]:.0f}", f"{parts[0]:.0f}", f"{whole[1]:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
