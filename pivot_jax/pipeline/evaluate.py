"""Stage `evaluate`: every arm plays held-out tasks to the end and answers the skills' questions.

Of recorded trajectories it samples the next action at held-out turns instead (`next_action`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
from rich.console import Console

from pivot_jax.domains.environment import Reset
from pivot_jax.domains.registry import SKILLS
from pivot_jax.hosts.exchange import first_says
from pivot_jax.pipeline.arms import policy_of, trained_arms
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.flops import episode_cost
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.next_action import evaluate_next_actions, mean_rewards
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.pipeline.sampling_mesh import sampling_run
from pivot_jax.policy.spec import Parameters
from pivot_jax.rollout.burst_sampler import BurstSampler
from pivot_jax.rollout.episode import Episode, Game
from pivot_jax.rollout.episodes import play


@dataclass
class Suite:
    """What became of one suite's episodes, in the order they ended."""

    outcomes: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    tool_errors: Counter[str] = field(default_factory=Counter)
    """How often tools answered with each error: refused and contained actions among them."""

    def add(self, seed: int, episode: Episode) -> None:
        self.outcomes.append(int(episode.outcome))
        self.seeds.append(seed)
        self.turns.append(episode.turns)
        self.tool_errors.update(episode.errors)

    def to_json(self) -> dict[str, Any]:
        """As `evaluation/ARM.json` holds it."""
        return {**vars(self), "tool_errors": dict(sorted(self.tool_errors.items()))}


def evaluate(run: Run, console: Console) -> None:
    """Evaluate every arm on the same tasks; an arm that was evaluated before an interruption is not played again."""
    began, run = time.monotonic(), sampling_run(run)
    ledger, counts = Ledger(), {}
    evaluated = evaluate_next_actions if run.config.data.path else evaluate_arm
    for arm in trained_arms(run):
        file = run.dir / "evaluation" / f"{arm}.json"
        if not first_says(f"evaluation of {arm}", file.exists()):
            with jax.set_mesh(run.mesh):
                write_json(file, evaluated(run, arm, policy_of(run, arm), console))
        result = read_json(file)
        ledger = ledger.charge(arm, "evaluation", Cost(**result["cost"]))
        counts[arm] = mean_rewards(result["turns"]) if run.config.data.path else _success(result)
    complete(run, "evaluate", counts, ledger, began)


def _success(result: Mapping[str, Any]) -> dict[str, float]:
    """Suite → share of successes."""
    suites = {**result["in_domain"], **result.get("other_domains", {}), **result["ood"]}
    return {name: sum(suite["outcomes"]) / len(suite["outcomes"]) for name, suite in suites.items()}


def evaluate_arm(run: Run, arm: str, params: Parameters[jax.Array], console: Console) -> dict[str, Any]:
    """Outcomes of one policy on every suite, with what it cost."""
    section = run.config.evaluate
    others = {name: run.domains[name] for name in section.other_domains}
    games = suite_games({**in_domain(run), **others}, section.episodes, section.first_seed)
    games += suite_games(SKILLS, section.questions, section.first_seed)
    suites, cost = play_suites(run, params, games, f"evaluate {arm}", console)
    return {
        "arm": arm,
        "checkpoint": str(run.policy_dir.name if arm == "base" else f"checkpoints/{arm}"),
        "temperature": section.temperature,
        "in_domain": {name: suites[name].to_json() for name in in_domain(run)},
        "other_domains": {name: suites[name].to_json() for name in others},
        "ood": {name: suites[name].to_json() for name in SKILLS},
        "cost": vars(cost),
    }


def play_suites(
    run: Run, params: Parameters[jax.Array], games: Sequence[Game], title: str, console: Console
) -> tuple[dict[str, Suite], Cost]:
    """Play games named `SUITE/SEED`: their outcomes by suite, and what all of them cost."""
    section, began = run.config.evaluate, time.monotonic()
    suites = {game.name.rsplit("/", 1)[0]: Suite() for game in games}
    settings = run.config.sampling.model_copy(update={"temperature": section.temperature})
    sampler = BurstSampler(params, run.key("evaluate"), settings, run.stop_ids, run.arch, run.mesh, run.rules)
    finished = play(
        games, sampler, run.tokenizer, run.config.data.action_format, max_turns=section.max_turns, batch=section.batch
    )
    cost = Cost.zero()
    for episode in progress(finished, title, console, unit="episodes", total=len(games)):
        name, seed = episode.name.rsplit("/", 1)
        suites[name].add(int(seed), episode)
        cost += episode_cost(run.arch, episode)
    return suites, replace(cost, seconds=time.monotonic() - began)


def in_domain(run: Run) -> dict[str, Reset]:
    """The domains that the run trains on."""
    return {name: run.domains[name] for name in run.config.data.domains}


def suite_games(suites: Mapping[str, Reset], count: int, first_seed: int) -> list[Game]:
    """The first `count` seeds of every suite."""
    return [
        Game(f"{name}/{seed}", partial(reset, seed))
        for name, reset in suites.items()
        for seed in range(first_seed, first_seed + count)
    ]
