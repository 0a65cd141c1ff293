"""What `pivot-jax equivalence` gives to every mesh: one policy, one batch of pivots from the config's own data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from pivot_jax.config import Architecture, Config, ConfigError, MeshSection
from pivot_jax.pipeline.candidates import demonstrated, prepare
from pivot_jax.pipeline.groups import Judged, judge_groups, pivot_row
from pivot_jax.pipeline.pretrain import VOCABULARY_MULTIPLE
from pivot_jax.pipeline.profiling import ProfiledPoint, profiled_points
from pivot_jax.pipeline.recorded import recorded
from pivot_jax.pipeline.run import (
    RANDOM,
    Run,
    base_policy_dir,
    check_layout,
    open_domains,
    open_mesh,
    open_policy,
    open_tokenizer,
)
from pivot_jax.pipeline.scoring import verifiers
from pivot_jax.policy.lora import attached, initialise_adapters
from pivot_jax.policy.mesh import batch_multiple
from pivot_jax.policy.spec import Adapters, Parameters, initialise
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.actions import fetch
from pivot_jax.rollout.decode import Sampled
from pivot_jax.rollout.layout import Row, round_up


@dataclass(frozen=True, eq=False)
class Pivots:
    """The pivots that groups are sampled at, as rows; `row_count` of them is what every mesh divides."""

    points: Sequence[ProfiledPoint]
    rows: Sequence[Row]
    row_count: int


def open_runs(config: Config, meshes: Mapping[str, MeshSection], directory: Path) -> dict[str, Run]:
    """The config's run on each mesh, by the mesh's name; what it writes goes to `directory`.

    A mesh that is smaller than the machine takes the first of its devices.

    Raises:
        ConfigError: a mesh that does not fit, a policy that cannot be read, a tokenizer with more tokens than it.
    """
    config = config.model_copy(update={"run": config.run.model_copy(update={"dir": str(directory)})})
    known = open_domains(config)
    policy_dir, arch = (base_policy_dir(), None) if config.policy.path == RANDOM else open_policy(config)
    tokenizer = open_tokenizer(config, policy_dir)
    arch = arch or _random_architecture(config, len(tokenizer))
    if len(tokenizer) > arch.vocab_size:
        raise ConfigError(f"data.tokenizer: it has {len(tokenizer)} tokens, the policy {arch.vocab_size}")
    runs = {}
    for name, section in meshes.items():
        devices = jax.devices() if section.data == -1 else jax.devices()[: math.prod(section.sizes())]
        mesh, rules = open_mesh(section, f"{name}: mesh", devices)
        check_layout(config, arch, mesh, rules, f"{name}: mesh")
        runs[name] = Run(config, directory, policy_dir, arch, tokenizer, mesh, rules, known)
    return runs


def _random_architecture(config: Config, tokens: int) -> Architecture:
    """The shape of the policy to draw; the vocabulary is the tokenizer's, as in pre-training."""
    vocabulary = round_up(tokens, VOCABULARY_MULTIPLE)
    same = {"vocab_size": vocabulary, "dtype": config.policy.dtype, "remat": config.policy.remat}
    return config.pretrain.architecture.model_copy(update=same)


def starting_parameters(run: Run) -> tuple[Parameters[jax.Array], Parameters[jax.Array]]:
    """The reference policy pi_0, and the policy that starts: the same, with adapters if the config trains any.

    Both matrices of an adapter are drawn. As training begins with them, one is zero, and with it the other's gradient.
    """
    if run.config.policy.path == RANDOM:
        reference = initialise(run.key("pretrain"), run.arch, run.mesh, run.rules)
    else:
        reference = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
    if not run.config.lora.rank:
        return reference, reference
    adapters = initialise_adapters(run.key("lora"), run.arch, run.config.lora, run.mesh, run.rules)
    return reference, attached(reference, _both_drawn(adapters, run.config.run.seed))


def _both_drawn(adapters: Adapters[jax.Array], seed: int) -> Adapters[jax.Array]:
    draw = np.random.default_rng(seed)
    pairs = {}
    for target, pair in adapters.pairs.items():
        values = draw.normal(scale=0.02, size=pair.b.shape).astype(np.float32)
        pairs[target] = replace(pair, b=jax.device_put(values, pair.b.sharding))
    return replace(adapters, pairs=pairs)


def choose_pivots(runs: Mapping[str, Run]) -> Pivots:
    """`train.pivots_per_step` turns of the config's trajectories, spread evenly from short trunks to long ones."""
    run = next(iter(runs.values()))
    data, section = run.config.data, run.config.train
    few = data.model_copy(update={"tasks": min(data.tasks, section.pivots_per_step)})
    found = recorded(data, run.dir) if data.path else demonstrated(few, run.domains)
    points = profiled_points([prepare(run, trajectory) for trajectory in found], share=1.0)
    if not points:
        raise ConfigError("data: no trajectory has a turn to sample at")
    places = np.linspace(0, len(points) - 1, section.pivots_per_step).astype(int)
    chosen = [points[place] for place in places]
    parts = [section.micro_batches * batch_multiple(each.mesh, each.rules) for each in runs.values()]
    rows = [pivot_row(point, section.group_size) for point in chosen]
    return Pivots(chosen, rows, round_up(len(rows), math.lcm(*parts)))


def judge_once(run: Run, pivots: Pivots, sampled: Sampled) -> Judged:
    """The rewards that every mesh trains on. A random policy earns none: for one they are drawn.

    Raises:
        ConfigError: every group agrees, so there is no gradient to compare.
    """
    groups = fetch(sampled)[: len(pivots.points)]
    judges = verifiers(run.config.verifier, run.domains)
    judged = judge_groups(run, judges, pivots.points, groups, pivots.row_count)
    if run.config.policy.path == RANDOM:
        drawn = np.random.default_rng(run.config.run.seed).integers(0, 2, judged.rewards.shape)
        judged = replace(judged, rewards=np.where(judged.valid, drawn, 0).astype(np.float32))
    rewards = [row[valid] for row, valid in zip(judged.rewards, judged.valid, strict=True)]
    if not any(len(set(row.tolist())) > 1 for row in rewards):
        raise ConfigError(
            "equivalence: the actions of every group earn the same, so all gradients are zero; "
            "raise train.pivots_per_step or train.group_size, or change run.seed"
        )
    return judged
