"""A run of the whole pipeline that is small enough for tests: the shipped base policy, a handful of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from pivot_jax.config import Config
from pivot_jax.config_files import validate
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.profile_store import ProfileStore
from pivot_jax.pipeline.profiling import open_store, profiled_points
from pivot_jax.pipeline.run import Run, open_run
from pivot_jax.pipeline.stages import run_stages

SMALL: dict[str, Any] = {
    "data": {"tasks": 6, "domains": ["retail", "terminal"]},
    "sampling": {"max_new_tokens": 16},
    "profile": {"samples": 4, "chunk": 64},
    "select": {"threshold": 1.0},
    "sft": {"steps": 3, "trajectories_per_step": 4, "checkpoint_every": 2},
    "train": {"steps": 5, "pivots_per_step": 4, "group_size": 4, "checkpoint_every": 2},
    "evaluate": {"episodes": 4, "questions": 2, "max_turns": 4, "batch": 16},
    "arms": {
        "sft": {"method": "sft"},
        "sft_pivots": {"method": "sft", "sft": {"turns": "pivots"}},
        "pivotrl": {"method": "pivot_rl"},
        "random_strict": {
            "method": "pivot_rl",
            "select": {"rule": "random"},
            "train": {"reward": "exact", "steps": 2},
        },
        "half_profile": {
            "method": "pivot_rl",
            "profile": {"samples": 2, "share": 0.5},
            "select": {"keep_all_zero": True},
            "train": {"steps": 1},
        },
    },
}


def small_config(run_dir: Path, **sections: dict[str, Any]) -> Config:
    """SMALL in this run directory, with sections overridden field by field."""
    values = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in SMALL.keys() | sections.keys()}
    values["run"] = {**values.get("run", {}), "dir": str(run_dir)}
    return validate(values, "test")


def do(stage: str, config: Config) -> None:
    """One stage, silently."""
    with open("/dev/null", "w") as nowhere:
        run_stages(stage, config, f"pivot-jax {stage} test", Console(file=nowhere))


def profiled(
    run_dir: Path, domains: list[str], tasks: int, profile: dict[str, Any], arms: dict[str, Any] | None = None
) -> tuple[Run, ProfileStore]:
    """A run of SMALL up to its selection, with these arms beside one that needs no profile, and its profile store."""
    values = {
        **SMALL,
        "run": {"dir": str(run_dir)},
        "data": {"tasks": tasks, "domains": domains},
        "profile": profile,
        "arms": {"sft": {"method": "sft"}, **(arms or {})},
    }
    own = validate(values, "test")
    for stage in ("candidates", "profile", "select"):
        do(stage, own)
    run = open_run(own, "test")
    return run, open_store(run, profiled_points(load_prepared(run), own.profile.share))
