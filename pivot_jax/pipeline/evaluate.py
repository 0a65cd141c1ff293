"""Stage `evaluate`: every arm plays held-out tasks to the end and answers the skills' questions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from rich.console import Console

from pivot_jax.domains.environment import Environment, Reset
from pivot_jax.domains.registry import DOMAINS, SKILLS
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.checkpoint import checkpoint_dir, final_policy
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.pipeline.sft import ARM_OF
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.rollout.actions import SampledAction, fetch
from pivot_jax.rollout.decode import sample_branches
from pivot_jax.rollout.episodes import Episode, play
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, state_uid

Suite = dict[str, list[int]]


def trained_arms(run: Run) -> list[str]:
    """`base`, and every arm that has a checkpoint in this run."""
    names = [*ARM_OF.values(), "pivotrl"]
    return ["base", *(arm for arm in names if checkpoint_dir(run.dir, arm).is_dir())]


def policy_of(run: Run, arm: str) -> Parameters[jax.Array]:
    """An arm's final parameters."""
    if arm == "base":
        return read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
    section = run.config.train if arm == "pivotrl" else run.config.sft
    return final_policy(run, arm, section.optimizer)


def evaluate(run: Run, console: Console) -> None:
    """Evaluate every arm on the same tasks; an arm that was evaluated before an interruption is not played again."""
    began = time.monotonic()
    ledger, counts = Ledger(), {}
    for arm in trained_arms(run):
        file = run.dir / "evaluation" / f"{arm}.json"
        if not file.exists():
            with jax.set_mesh(run.mesh):
                write_json(file, evaluate_arm(run, arm, policy_of(run, arm), console))
        result = read_json(file)
        ledger = ledger.charge(arm, "evaluation", Cost(**result["cost"]))
        counts[arm] = {name: sum(suite["outcomes"]) / len(suite["outcomes"])
                       for name, suite in {**result["in_domain"], **result["ood"]}.items()}  # fmt: skip
    complete(run, "evaluate", counts, ledger, began)


def evaluate_arm(run: Run, arm: str, params: Parameters[jax.Array], console: Console) -> dict[str, Any]:
    """Outcomes of one policy on every suite, with what it cost."""
    section, began = run.config.evaluate, time.monotonic()
    domains = {name: DOMAINS[name] for name in run.config.data.domains}
    games = _games(domains, section.episodes, section.first_seed) + _games(
        SKILLS, section.questions, section.first_seed
    )
    suites: dict[str, Suite] = {name: {"outcomes": [], "seeds": []} for name in [*domains, *SKILLS]}
    spent = [Cost.zero()]

    def sample(episodes: Sequence[Episode]) -> list[SampledAction]:
        actions, cost = sample_next(run, params, episodes)
        spent[0] = spent[0] + replace(cost, environment_steps=len(actions))
        return actions

    finished = play(
        games, sample, run.tokenizer, run.config.data.action_format, max_turns=section.max_turns, batch=section.batch
    )
    for episode in progress(finished, f"evaluate {arm}", console, unit="episodes", total=len(games)):
        name, seed = episode.name.rsplit("/", 1)
        suites[name]["outcomes"].append(int(episode.env.outcome()))
        suites[name]["seeds"].append(int(seed))
    cost = replace(spent[0], episodes=len(games), seconds=time.monotonic() - began)
    return {
        "arm": arm,
        "checkpoint": str(run.policy_dir.name if arm == "base" else f"checkpoints/{arm}"),
        "temperature": section.temperature,
        "in_domain": {name: suites[name] for name in domains},
        "ood": {name: suites[name] for name in SKILLS},
        "cost": vars(cost),
    }


def sample_next(
    run: Run, params: Parameters[jax.Array], episodes: Sequence[Episode]
) -> tuple[list[SampledAction], Cost]:
    """The next action of each episode."""
    section = run.config.evaluate
    rows = [_row(episode) for episode in episodes]
    points = lay_out(rows, run.mesh, run.rules, row_count=section.batch, branch_count=1)
    settings = run.config.sampling.model_copy(update={"temperature": section.temperature})
    sampled = sample_branches(
        params, points, run.key("evaluate"), settings=settings, stop=run.stop_ids, arch=run.arch, rules=run.rules
    )
    actions = [group[0] for group in fetch(sampled)[: len(rows)]]
    return actions, sampling_cost(run.arch, rows, [len(action.ids) for action in actions])


def _row(episode: Episode) -> Row:
    start = len(episode.ids) - 1
    return Row(episode.ids[:start], (BranchSlot(start, episode.ids[start:], state_uid(episode.name), episode.turns),))


def _games(suites: dict[str, Reset], count: int, first_seed: int) -> list[tuple[str, Environment]]:
    return [
        (f"{name}/{seed}", reset(seed))
        for name, reset in suites.items()
        for seed in range(first_seed, first_seed + count)
    ]
