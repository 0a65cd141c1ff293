"""Method `e2e_rl`: trajectory-level GRPO on the outcome reward. One training sample is one whole episode.

A group is G episodes of one task. Its trunk is the task's opening, which they share; each branch is the rest of an
episode, with the action mask on what the policy wrote. So the objective is that of PivotRL (Eq. 7), term for term, with
the outcome as the reward and the episode in place of the action.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from pivot_jax.config import Config, ConfigError
from pivot_jax.data.chat_jsonl import read_trajectories
from pivot_jax.pipeline.batches import index_batches
from pivot_jax.pipeline.candidates import TRAIN
from pivot_jax.pipeline.flops import episode_cost, sequence_flops
from pivot_jax.pipeline.group_loss import GroupBatch
from pivot_jax.pipeline.grpo import action_logprobs, grpo_step
from pivot_jax.pipeline.ledger import Cost, Ledger, backward_flops
from pivot_jax.pipeline.loop import Charges, train_arm
from pivot_jax.pipeline.optimizer import TrainState
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.sampling_mesh import Sampler, behavior_policy, sampler_of
from pivot_jax.policy.mesh import batch_multiple, to_mesh
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.burst_sampler import BurstSampler
from pivot_jax.rollout.episode import Episode, Game
from pivot_jax.rollout.episodes import play
from pivot_jax.rollout.layout import round_up, trunk_length

BRANCH_BUCKET = 64
"""Episode lengths are rounded up to a multiple of this."""


def train_e2e(run: Run, arm: str, config: Config, console: Console) -> Ledger:
    """Train one arm on whole episodes of its training tasks; `run` and `config` are the arm's own."""
    section = config.e2e
    tasks = training_tasks(run)
    with jax.set_mesh(run.mesh):
        reference = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        sampler = sampler_of(run, reference)

        def advance(state: TrainState, indices: Any, step: int) -> tuple[TrainState, Any, Charges]:
            return episode_step(run, sampler, state, reference, [tasks[i] for i in indices], step)

        return train_arm(
            run,
            arm,
            steps=section.steps,
            optimizer=section.optimizer,
            checkpoint_every=section.checkpoint_every,
            batches=index_batches(len(tasks), section.tasks_per_step, config.run.seed),
            params=reference,
            advance=advance,
            console=console,
        )


def training_tasks(run: Run) -> list[str]:
    """Names of the tasks to play: those of the demonstrations, or the first `e2e.tasks` seeds of each domain.

    Raises:
        ConfigError: the trajectories were recorded elsewhere, so no environment can play their tasks.
    """
    data, count = run.config.data, run.config.e2e.tasks
    if data.path:
        raise ConfigError("data.path: recorded trajectories bring no environment to play; E2E RL needs data.domains")
    if count:
        return [f"{name}/{seed}" for name in data.domains for seed in range(data.first_seed, data.first_seed + count)]
    return list(dict.fromkeys(trajectory.task_id for trajectory in read_trajectories(run.dir / TRAIN)))


def episode_step(
    run: Run,
    sampler: Sampler,
    state: TrainState,
    reference: Parameters[jax.Array],
    tasks: Sequence[str],
    step: int,
) -> tuple[TrainState, dict[str, jax.Array], Charges]:
    """Play a group of episodes of each task and update: one optimizer step, and what it cost by phase."""
    section, config = run.config.e2e, run.config
    params, moving = behavior_policy(run, sampler, state.params)
    began = time.monotonic()
    groups = play_groups(sampler.run, params, tasks, step)
    del params  # where it was moved to a mesh of its own, the update needs its room
    batch = episode_batch(run, groups)
    episodes = [episode for group in groups for episode in group]
    rollout = sum((episode_cost(run.arch, episode) for episode in episodes), Cost.zero())
    rollout = replace(rollout, verifier_calls=len(episodes), seconds=time.monotonic() - began)
    fixed: Any = {"arch": run.arch, "rules": run.rules, "micro_batches": section.micro_batches}
    state, metrics = grpo_step(
        state, batch, action_logprobs(reference, batch, **fixed),
        loss=config.loss, optimizer=section.optimizer, **fixed,
    )  # fmt: skip
    metrics["rollout/turns"] = np.float32(np.mean([episode.turns for episode in episodes]))
    forward = sequence_flops(run.arch, [len(episode.ids) for episode in episodes], rollout.sampled_tokens)
    charges: Charges = {
        **moving,
        "rollout": rollout,
        "reference": Cost(flops=forward),
        "update": Cost(trained_tokens=rollout.sampled_tokens, flops=forward + backward_flops(forward)),
    }
    return state, metrics, charges


def play_groups(run: Run, params: Parameters[jax.Array], tasks: Sequence[str], step: int) -> list[list[Episode]]:
    """G episodes of every task, in the order of the tasks. A task that stands there twice is played by two groups."""
    section = run.config.e2e
    games, groups = [], []
    for place, task in enumerate(tasks):
        domain, seed = task.rsplit("/", 1)
        first = tasks[:place].count(task) * section.group_size
        groups.append([(task, draw) for draw in range(first, first + section.group_size)])
        games += [Game(name, partial(run.domains[domain], int(seed)), draw) for name, draw in groups[-1]]
    with jax.set_mesh(run.mesh):
        sampler = BurstSampler(
            params, run.key("e2e", step), run.config.sampling, run.stop_ids, run.arch, run.mesh, run.rules
        )
        finished = play(
            games, sampler, run.tokenizer, run.config.data.action_format,
            max_turns=section.max_turns, batch=section.batch,
        )  # fmt: skip
        played = {(episode.name, episode.game.draw): episode for episode in finished}
    return [[played[name] for name in group] for group in groups]


def episode_batch(run: Run, groups: Sequence[Sequence[Episode]]) -> GroupBatch:
    """Groups of episodes as trunks (their opening, less its last token) and branches (the rest).

    Raises:
        ConfigError: the chat template rewrote earlier turns, so that an episode is no single token sequence.
    """
    if any(episode.rewritten for group in groups for episode in group):
        raise ConfigError("E2E RL needs a chat template that keeps earlier turns as they were; this one rewrites them")
    N, G = round_up(len(groups), batch_multiple(run.mesh, run.rules)), run.config.e2e.group_size
    starts = [group[0].places[0] - 1 for group in groups]
    S = trunk_length(max(starts), run.mesh, run.rules)
    longest = max(len(episode.ids) - start for group, start in zip(groups, starts, strict=True) for episode in group)
    T = round_up(longest, BRANCH_BUCKET)
    trunks, start = np.zeros((N, S), np.int32), np.zeros((N, G), np.int32)
    tokens, mask = np.zeros((N, G, T), np.int32), np.zeros((N, G, T), np.bool_)
    behavior_logprobs = np.zeros((N, G, T), np.float32)
    rewards, valid, finished = np.zeros((N, G), np.float32), np.zeros((N, G), np.bool_), np.zeros((N, G), np.bool_)
    for n, (group, opening) in enumerate(zip(groups, starts, strict=True)):
        trunks[n, :opening] = group[0].ids[:opening]
        for g, episode in enumerate(group):
            start[n, g] = opening
            tokens[n, g, : len(episode.ids) - opening] = episode.ids[opening:]
            rewards[n, g], valid[n, g] = episode.outcome, True
            finished[n, g] = all(action.finished for action in episode.actions)
            for place, action in zip(episode.places, episode.actions, strict=True):
                written = slice(place - opening, place - opening + len(action.ids))
                mask[n, g, written], behavior_logprobs[n, g, written] = True, action.behavior_logprobs
    pair = ("batch", "branch")
    return GroupBatch(
        trunks=to_mesh(trunks, run.mesh, run.rules, "batch", "seq"),
        tokens=to_mesh(tokens, run.mesh, run.rules, *pair, "token"),
        start=to_mesh(start, run.mesh, run.rules, *pair),
        action_mask=to_mesh(mask, run.mesh, run.rules, *pair, "token"),
        behavior_logprobs=to_mesh(behavior_logprobs, run.mesh, run.rules, *pair, "token"),
        rewards=to_mesh(rewards, run.mesh, run.rules, *pair),
        valid=to_mesh(valid, run.mesh, run.rules, *pair),
        finished=to_mesh(finished, run.mesh, run.rules, *pair),
        surplus_calls=to_mesh(np.zeros((N, G), np.int32), run.mesh, run.rules, *pair),
        is_message=to_mesh(np.zeros(N, np.bool_), run.mesh, run.rules, "batch"),
    )
