"""E2E RL: groups of whole episodes become the same batch that pivots are trained on."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from pivot_jax.config import ConfigError
from pivot_jax.pipeline.arms import arm_run
from pivot_jax.pipeline.e2e import episode_batch, play_groups, training_tasks
from pivot_jax.pipeline.grpo import action_logprobs
from pivot_jax.pipeline.run import open_run
from pivot_jax.policy.weights import read_weights
from tests.pipeline.small_run import do, small_config

pytestmark = pytest.mark.usefixtures("few_devices")

E2E_ARM = {"arms": ["e2e"]}
ARMS = {"e2e": {"method": "e2e_rl"}}
E2E = {"steps": 3, "tasks_per_step": 2, "group_size": 4, "max_turns": 5, "batch": 8, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = small_config(tmp_path_factory.mktemp("e2e"), run=E2E_ARM, arms=ARMS, e2e=E2E)
    do("candidates", config)
    return arm_run(open_run(config, "test"), "e2e")


@pytest.fixture(scope="module")
def played(run):
    tasks = [training_tasks(run)[0], training_tasks(run)[-1], training_tasks(run)[0]]
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        groups = play_groups(run, params, tasks, step=0)
        return params, tasks, groups, episode_batch(run, groups)


def test_tasks_are_those_of_the_demonstrations(run):
    tasks = training_tasks(run)
    assert len(tasks) == 12 and {task.split("/")[0] for task in tasks} == {"retail", "terminal"}


def test_groups_hold_one_task_each_and_episodes_differ(played):
    _, tasks, groups, _ = played
    for task, group in zip(tasks, groups, strict=True):
        assert len(group) == 4
        assert {episode.name for episode in group} == {task}
        assert len({episode.ids.tobytes() for episode in group}) > 1
    assert [[episode.game.draw for episode in group] for group in groups] == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_trunk_and_branch_are_the_episode_and_the_mask_is_what_the_policy_wrote(run, played):
    _, _, groups, on_devices = played
    batch = jax.device_get(on_devices)
    for n, group in enumerate(groups):
        for g, episode in enumerate(group):
            start = int(batch.start[n, g])
            whole = np.concatenate([batch.trunks[n, :start], batch.tokens[n, g]])
            np.testing.assert_array_equal(whole[: len(episode.ids)], episode.ids)
            written = np.concatenate([action.ids for action in episode.actions])
            mask = batch.action_mask[n, g]
            np.testing.assert_array_equal(batch.tokens[n, g][mask], written)
            # the tokens before each action end with the generation prompt: no environment token is trained on
            prompt = run.tokenizer.convert_tokens_to_ids("<|assistant|>")
            assert all(episode.ids[place - 1] == prompt for place in episode.places)
            assert float(batch.rewards[n, g]) == episode.env.outcome()
    assert not batch.valid[len(groups) :].any()


def test_behavior_logprobs_equal_the_trainers(run, played):
    """The growing cache samples what the trainer's one pass over the episode says, over all turns."""
    params, _, _, batch = played
    with jax.set_mesh(run.mesh):
        logprobs = action_logprobs(params, batch, arch=run.arch, rules=run.rules)
    mask = np.asarray(batch.action_mask)
    assert mask.sum() > 50
    np.testing.assert_allclose(np.asarray(logprobs)[mask], np.asarray(batch.behavior_logprobs)[mask], atol=5e-5)


def test_the_arm_trains_resumes_and_is_charged(tmp_path):
    config = small_config(tmp_path / "whole", run=E2E_ARM, arms=ARMS, e2e=E2E)
    do("candidates", config)
    do("train", config)
    ledger = json.loads((tmp_path / "whole" / "ledger.json").read_text())["e2e"]
    assert ledger["rollout"]["episodes"] == 3 * 2 * 4 and "profile" not in ledger
    assert ledger["rollout"]["rollout_turns"] > 24 and ledger["update"]["trained_tokens"] > 100


def test_recorded_trajectories_cannot_be_played(run):
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"path": "x.jsonl"})})
    with pytest.raises(ConfigError, match="no environment"):
        training_tasks(type(run)(**{**vars(run), "config": config}))
