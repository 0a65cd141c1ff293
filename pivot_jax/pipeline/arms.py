"""The arms of a run: the config of each, whether it needs a profile, whether it is trained, and its policy."""

from __future__ import annotations

from dataclasses import replace

import jax

from pivot_jax.config import Config, ConfigError, E2eSection, SftSection, TrainSection
from pivot_jax.pipeline.checkpoint import Checkpoints, final_policy, newest_step
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.run import Run
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights


def arm_run(run: Run, arm: str) -> Run:
    """The run as one arm sees it: its config is `config.for_arm(arm)`."""
    return replace(run, config=run.config.for_arm(arm))


def training_section(config: Config, arm: str) -> SftSection | TrainSection | E2eSection:
    """Steps, optimizer and checkpoints of an arm, from its own config."""
    own = config.for_arm(arm)
    match config.arms[arm].method:
        case "sft":
            return own.sft
        case "pivot_rl":
            return own.train
        case "e2e_rl":
            return own.e2e


def needs_profile(config: Config, arm: str) -> bool:
    """Whether the arm trains on turns that profiling chose, and so has to pay for a profile."""
    own, method = config.for_arm(arm), config.arms[arm].method
    on_pivots = method == "pivot_rl" or (method == "sft" and own.sft.turns == "pivots")
    return on_pivots and own.select.rule != "random"


def ways_to_profile(config: Config) -> list[Config]:
    """Each distinct way in which the run and its arms profile and select."""
    users = [config, *(config.for_arm(arm) for arm in config.arms if needs_profile(config, arm))]
    return list({(own.profile, own.select): own for own in users}.values())


def is_trained(run: Run, arm: str) -> bool:
    """Whether the arm's newest checkpoint is at its last step."""
    return newest_step(run.dir, arm) == training_section(run.config, arm).steps


def spent(run: Run, arm: str) -> Ledger:
    """What the training of an arm has cost up to its newest checkpoint."""
    with Checkpoints(run, arm) as checkpoints:
        return Ledger.from_json(checkpoints.resumed().ledger)


def trained_arms(run: Run) -> list[str]:
    """`base`, and every arm that is trained to the end.

    Raises:
        ConfigError: training has begun, and some arm of this command is not trained to the end.
    """
    done = [arm for arm in run.config.arms if is_trained(run, arm)]
    unfinished = [arm for arm in run.config.chosen_arms if arm not in done]
    if unfinished and any(newest_step(run.dir, arm) for arm in run.config.arms):
        raise ConfigError(
            f"not trained to the end: {', '.join(unfinished)}; run the stage 'train' first, or name others in run.arms"
        )
    return ["base", *done]


def policy_of(run: Run, arm: str) -> Parameters[jax.Array]:
    """An arm's final parameters."""
    if arm == "base":
        return read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
    return final_policy(run, arm, training_section(run.config, arm).optimizer)
