"""A whole run on recorded trajectories: a base of some tasks, arms on others, next actions at those that are left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_files import validate
from pivot_jax.data.chat_jsonl import read_trajectories, write_trajectories
from pivot_jax.data.turns import candidates, is_for_base
from pivot_jax.records import Action, Message, Trajectory
from tests.pipeline.small_run import do

pytestmark = pytest.mark.usefixtures("few_devices")

BASE_SHARE = 0.4


def episode(task: int, domain: str) -> Trajectory:
    call = Action.call("look", city=f"c{task}").message()
    return Trajectory(
        id=f"{domain}/{task}",
        domain=domain,
        task_id=str(task),
        messages=(
            Message(role="user", content=f"weather in c{task}"),
            call.model_copy(update={"tool_calls": (call.tool_calls[0].model_copy(update={"id": "1"}),)}),
            Message(role="tool", content="rain " * 20, tool_call_id="1"),
            Message(role="assistant", content="rain"),
        ),
    )


def recorded_config(root: Path, **sections: dict[str, Any]) -> Config:
    values: dict[str, dict[str, Any]] = {
        "run": {"dir": str(root / "run"), "stages": ["pretrain", "candidates", "profile", "select", "train", "evaluate",
                                                     "report"]},
        "policy": {"path": str(root / "run" / "policy")},
        "data": {"path": str(root / "recorded.jsonl"), "action_format": "hermes", "base_share": BASE_SHARE,
                 "held_out": 0.5, "tool_result": 20, "longest": 200},
        "verifier": {"name": "tool_call"},
        "sampling": {"max_new_tokens": 8},
        "profile": {"samples": 2, "chunk": 16, "branches_per_trunk": 8},
        # after three steps no sampled action passes, so there are no mixed groups
        "select": {"keep_all_zero": True},
        "sft": {"steps": 1, "trajectories_per_step": 2},
        "train": {"steps": 1, "pivots_per_step": 2, "group_size": 2},
        "evaluate": {"actions": 2},
        "pretrain": {"vocabulary": 300, "steps": 3, "episodes_per_step": 4,
                     "architecture": {"embed": 16, "layers": 1, "heads": 2, "kv_heads": 2, "head_dim": 8, "mlp": 32}},
        "arms": {"sft": {"method": "sft"}, "pivotrl": {"method": "pivot_rl"}},
    }  # fmt: skip
    return validate({name: {**values.get(name, {}), **sections.get(name, {})} for name in values}, "test")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the recording, and the finished run on it."""
    root = tmp_path_factory.mktemp("recorded")
    write_trajectories(root / "recorded.jsonl", [episode(task, domain) for task in range(20) for domain in ("a", "b")])
    do("run", recorded_config(root))
    return root


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_no_task_is_in_two_parts(root):
    names = ("recorded.jsonl", "run/trajectories.jsonl", "run/held_out.jsonl")
    every, training, held_out = ({item.id for item in read_trajectories(root / name)} for name in names)
    base = {item.id for item in read_trajectories(root / "recorded.jsonl") if is_for_base(item, BASE_SHARE)}
    assert base and training and held_out
    assert base | training | held_out == every and len(base) + len(training) + len(held_out) == len(every)
    shown = [
        message.content for item in read_trajectories(root / "run" / "held_out.jsonl") for message in item.messages
    ]
    assert "rain rain rain rain  ..." in shown and "rain " * 20 not in shown


def test_every_arm_is_evaluated_at_every_held_out_turn(root):
    held_out = [turn for item in read_trajectories(root / "run" / "held_out.jsonl") for turn in candidates(item)]
    for arm in ("base", "sft", "pivotrl"):
        found = read(root / "run" / "evaluation" / f"{arm}.json")
        assert sorted(turn["turn"] for turn in found["turns"]) == sorted(turn.id for turn in held_out)
        rewards = [turn["rewards"] for turn in found["turns"]]
        assert all(len(group) == 2 for row in rewards for group in row.values())
        assert found["cost"]["rollout_turns"] == found["cost"]["verifier_calls"] == 2 * len(held_out)
        assert 0 < found["cost"]["prompt_tokens_computed"] < found["cost"]["prompt_tokens_logical"]


def test_the_report_is_about_next_actions(root):
    report = read(root / "run" / "report" / "report.json")
    assert list(report["arms"]) == ["base", "sft", "pivotrl"] and report["arms"]["pivotrl"]["ledger"]["evaluation"]
    turns = read(root / "run" / "evaluation" / "sft.json")["turns"]
    judged = [reward for turn in turns for reward in turn["rewards"]["tool_name"]]
    assert report["arms"]["sft"]["next_action"]["tool_name"]["mean"] == pytest.approx(sum(judged) / len(judged))
    assert set(report["arms"]["sft"]["by_domain"]) == {"a", "b"}
    assert set(report["differences"]["pivotrl"]) == {"base", "sft"} and set(report["differences"]["sft"]) == {"base"}
    page = (root / "run" / "report" / "index.html").read_text()
    assert "Next-action accuracy at" in page and "Functional accuracy by domain" in page
    assert "Out-of-domain skills" not in page


def test_what_recordings_do_not_allow_is_refused(root, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.base_share: the stage 'pretrain' needs tasks of its own"):
        recorded_config(root, data={"base_share": 0.0})
    with pytest.raises(ConfigError, match=r"arms\.e: 'e2e_rl' plays episodes"):
        recorded_config(root, arms={"e": {"method": "e2e_rl"}})
    with pytest.raises(ConfigError, match=r"run\.stages: 'curve' plays episodes"):
        recorded_config(root, run={"stages": ["curve"]})
    none = recorded_config(root, run={"dir": str(tmp_path / "none")}, data={"held_out": 0.0})
    do("candidates", none)
    with pytest.raises(ConfigError, match=r"data\.held_out: no task is held out"):
        do("evaluate", none.model_copy(update={"run": none.run.model_copy(update={"arms": ()})}))
