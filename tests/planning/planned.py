"""Small steps to plan, on eight devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivot_jax.config import Architecture, Config, MeshSection
from pivot_jax.planning.workload import Workload, workload
from pivot_jax.policy.hf_config import hf_config
from tests.policy.tiny import MIXED


def planned(
    folder: Path, arch: Architecture, mesh: MeshSection = MIXED, *, state_tokens: int = 100, **tables: Any
) -> Workload:
    """8 pivots of 3 actions: trunks of 128 tokens, branches of 4 + 12; `tables` are merged over that by section."""
    hf_config(arch, 0, "float32").save_pretrained(folder)
    values: dict[str, Any] = {
        "policy": {"path": str(folder), "remat": "full"},
        "mesh": mesh.model_dump(),
        "train": {"pivots_per_step": 8, "group_size": 3},
        "sampling": {"max_new_tokens": 12},
        "plan": {"state_tokens": state_tokens, "forced_tokens": 3, "turns": 5},
        "arms": {"pivotrl": {"method": "pivot_rl"}},
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table}
    return workload(Config.model_validate(values).for_arm("pivotrl"))
