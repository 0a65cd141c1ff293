"""`--dry-run`: the resolved config and what the run will do, before anything is computed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from pivot_jax.config import Config, ConfigError
from pivot_jax.pipeline.arms import ways_to_profile
from pivot_jax.pipeline.micro_batches import check_parts
from pivot_jax.pipeline.run import base_policy_dir, check_layout, is_recorded, open_domains, open_mesh, read_manifest
from pivot_jax.policy.spec import ParamSpec, count_parameters, parameter_specs, shardings
from pivot_jax.policy.weights import read_architecture


def print_plan(config: Config, console: Console) -> None:
    """Print the config as JSON, then policy, mesh, bytes a device, and the work of each stage; writes nothing.

    Raises:
        ConfigError: a policy, a mesh or a domain's knobs that could not be used.
    """
    console.print_json(json.dumps(config.model_dump(mode="json")))
    open_domains(config)
    mesh, rules = open_mesh(config.mesh)
    check_parts(config, mesh, rules)
    if "pretrain" in config.run.stages:
        arch = config.pretrain.architecture
    else:
        policy_dir = base_policy_dir() if config.policy.path == "base" else Path(config.policy.path)
        try:
            arch = read_architecture(policy_dir, dtype=config.policy.dtype, remat=config.policy.remat)
        except (OSError, ValueError) as error:
            raise ConfigError(f"policy.path: {policy_dir}: {error}") from error
    check_layout(config, arch, mesh, rules)
    specs = jax.tree.leaves(parameter_specs(arch), is_leaf=lambda leaf: isinstance(leaf, ParamSpec))
    placed = jax.tree.leaves(shardings(arch, mesh, rules))
    held = sum(4 * math.prod(where.shard_shape(spec.shape)) for spec, where in zip(specs, placed, strict=True))
    manifest = read_manifest(Path(config.run.dir))
    table = Table("what", "value", title="Plan")
    table.add_row("policy", f"{count_parameters(arch):,} parameters, {arch.layers} layers, compute in {arch.dtype}")
    table.add_row("mesh", ", ".join(f"{name}={size}" for name, size in mesh.shape.items()))
    if config.sampling_mesh is not None:
        there, its_rules = open_mesh(config.sampling_mesh, "sampling_mesh")
        check_layout(config, arch, there, its_rules, "sampling_mesh")
        table.add_row("sampling mesh", ", ".join(f"{name}={size}" for name, size in there.shape.items()))
    table.add_row(
        "parameters a device", f"{held / 2**20:.1f} MiB (with AdamW's two moments {3 * held / 2**20:.1f} MiB)"
    )
    for stage in config.run.stages:
        done = is_recorded(manifest, config, stage)
        table.add_row(stage, "complete, will be skipped" if done else _work(config, stage))
    console.print(table)


def _work(config: Config, stage: str) -> str:
    """The size of a stage's work, as far as the config tells."""
    evaluate = config.evaluate
    demonstrated = f"{config.data.tasks} demonstrated tasks in each of {', '.join(config.data.domains)}"
    episodes = f"{evaluate.episodes} episodes a domain, {evaluate.questions} questions a skill"
    next_actions = f"{evaluate.actions} actions at {evaluate.turns or 'all'} held-out turns"
    return {
        "pretrain": f"{config.pretrain.steps} steps",
        "candidates": config.data.path or demonstrated,
        "profile": _profiling(config),
        "select": f"{config.select.rule}, threshold {config.select.threshold}",
        "train": "\n".join(f"{arm}: {_training(config, arm)}" for arm in config.chosen_arms),
        "evaluate": f"every arm: {next_actions if config.data.path else episodes}",
        "curve": f"every kept checkpoint: {evaluate.curve_episodes} episodes a domain",
        "report": "report/index.html and report/report.json",
        "export": config.export.path or f"{config.run.dir}/export/{config.export.arm}",
    }[stage]


def _profiling(config: Config) -> str:
    """How many actions are sampled at a candidate: as many as some arm asks for, which none may."""
    sampling = [own.profile for own in ways_to_profile(config) if own.select.rule != "unlikely"]
    where = f"{config.profile.share:.0%} of the trajectories"
    if not sampling:
        return f"no action sampled; demonstrated actions of {where}, one forward pass"
    decided = all(own.adaptive or own.screen_above < 1 for own in sampling)
    return f"{'up to ' if decided else ''}{config.profile.samples} actions a candidate, {where}"


def _training(config: Config, arm: str) -> str:
    own = config.for_arm(arm)
    sft, train, e2e = own.sft, own.train, own.e2e
    parts = {"sft": sft, "pivot_rl": train, "e2e_rl": e2e}[config.arms[arm].method].micro_batches
    turns = "turns" if own.select.rule in ("random", "unlikely") else "pivots"
    work = {
        "sft": f"{sft.steps} steps of {sft.trajectories_per_step} sequences ({sft.turns} turns)",
        "pivot_rl": f"{train.steps} steps of {train.pivots_per_step} {turns} x {train.group_size} actions",
        "e2e_rl": f"{e2e.steps} steps of {e2e.tasks_per_step} tasks x {e2e.group_size} episodes",
    }[config.arms[arm].method]
    return work if parts == 1 else f"{work}, in {parts} micro-batches"
