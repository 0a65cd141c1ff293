"""Sampling on a mesh of its own changes where the work is done, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_files import validate
from pivot_jax.pipeline import evaluate as evaluate_module
from pivot_jax.pipeline import train as train_module
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.checkpoint import Interrupted, starting_policy
from pivot_jax.pipeline.e2e import play_groups
from pivot_jax.pipeline.metrics import read_metrics
from pivot_jax.pipeline.profiling import open_store, profiled_points
from pivot_jax.pipeline.run import base_policy_dir, open_run
from pivot_jax.pipeline.sampling_mesh import behavior_policy, common_rows, sampler_of, sampling_run
from pivot_jax.policy.weights import read_weights
from tests.pipeline.small_run import SMALL, do

TRAINING, SAMPLING = {"data": 1, "fsdp": 4, "tensor": 2}, {"data": 4, "fsdp": 2}
STAGES = ("candidates", "profile", "select", "train", "export")
ARM = "pivotrl"


def config(run_dir: Path, **sections: Any) -> Config:
    """An arm that samples at pivots, and is re-profiled once."""
    values = {
        **SMALL,
        "run": {"dir": str(run_dir)},
        "data": {"tasks": 3, "domains": ["terminal"]},
        "mesh": TRAINING,
        "train": {
            **SMALL["train"],
            "steps": 3,
            "reprofile_below": 1.0,
            "reprofile_candidates": 8,
        },
        "e2e": {"group_size": 2, "max_turns": 1, "batch": 8},
        "arms": {ARM: {"method": "pivot_rl"}},
        "export": {"path": str(run_dir / "out")},
        **sections,
    }
    return validate(values, "test")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """The same run on one mesh and on two."""
    root = tmp_path_factory.mktemp("meshes")
    for name, sections in (("one", {}), ("two", {"sampling_mesh": SAMPLING})):
        for stage in STAGES:
            do(stage, config(root / name, **sections))
    return {name: root / name for name in ("one", "two")}


def profiled(run_dir: Path, **sections: Any) -> dict[str, np.ndarray]:
    run = open_run(config(run_dir, **sections), "test")
    store = open_store(run, profiled_points(load_prepared(run), 1.0))
    return {name: np.asarray(store.read(name)) for name in ("tokens", "behavior_logprobs", "rewards/functional")}


def test_what_is_sampled_and_what_is_learned_is_the_same(runs):
    one, two = profiled(runs["one"]), profiled(runs["two"], sampling_mesh=SAMPLING)
    np.testing.assert_array_equal(one["tokens"], two["tokens"])
    np.testing.assert_array_equal(one["rewards/functional"], two["rewards/functional"])
    np.testing.assert_allclose(one["behavior_logprobs"], two["behavior_logprobs"], atol=2e-5, rtol=0)
    assert (one["behavior_logprobs"] != 0).any()
    lines = [read_metrics(runs[name]) for name in ("one", "two")]
    assert [(a.stage, a.step) for a in lines[0]] == [(b.stage, b.step) for b in lines[1]] and len(lines[0]) == 3
    for ours, theirs in zip(*lines, strict=True):
        assert ours.metrics == pytest.approx(theirs.metrics, abs=1e-4, rel=1e-4)
    base = load_file(base_policy_dir() / "model.safetensors")
    one, two = (load_file(runs[name] / "out" / "model.safetensors") for name in ("one", "two"))
    change, apart = (
        np.sqrt(sum(float(np.sum((one[name] - other[name]) ** 2)) for name in one)) for other in (base, two)
    )
    # in norm: where a gradient is nearly zero, AdamW divides rounding by rounding
    assert change > 0.01 and apart < 0.01 * change


def test_the_ledger_tells_the_seconds_of_moving_the_policy_apart(runs):
    one, two = (read_json(runs[name] / "ledger.json")[ARM] for name in ("one", "two"))
    assert "reshard" not in one and two["reshard"]["seconds"] > 0
    assert {name for name, value in two["reshard"].items() if value} == {"seconds"}
    assert two["rollout"]["flops"] == one["rollout"]["flops"]


def test_a_resumed_run_on_two_meshes_equals_the_uninterrupted_one(runs, tmp_path, monkeypatch):
    run_dir = tmp_path / "resumed"
    shutil.copytree(runs["two"], run_dir)
    (run_dir / "config.json").unlink()
    for name in ("checkpoints", "reprofiles", "out"):
        shutil.rmtree(run_dir / name)
    (run_dir / "metrics.jsonl").unlink()
    manifest = read_json(run_dir / "manifest.json")
    write_json(run_dir / "manifest.json", {"stages": {name: manifest["stages"][name] for name in STAGES[:3]}})
    real = train_module.pivot_step

    def struck(*arguments):
        if arguments[-1] == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the step is finished and saved
        return real(*arguments)

    own = config(run_dir, sampling_mesh=SAMPLING)
    monkeypatch.setattr(train_module, "pivot_step", struck)
    with pytest.raises(Interrupted):
        do("train", own)
    monkeypatch.setattr(train_module, "pivot_step", real)
    for stage in ("train", "export"):
        do(stage, own)
    assert read_metrics(run_dir) == read_metrics(runs["two"])
    whole, resumed = (load_file(path / "out" / "model.safetensors") for path in (runs["two"], run_dir))
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole)


def test_episodes_are_the_same(tmp_path):
    """End-to-end RL plays them with the policy that was moved."""
    run = open_run(config(tmp_path, sampling_mesh=SAMPLING), "test")
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        sampler = sampler_of(run, params)
        moved, _ = behavior_policy(run, sampler, params)
        tasks = ["terminal/0", "terminal/1"]
        here, there = play_groups(run, params, tasks, 0), play_groups(sampler.run, moved, tasks, 0)
    for ours, theirs in zip(here, there, strict=True):
        assert [episode.ids.tolist() for episode in ours] == [episode.ids.tolist() for episode in theirs]


def test_evaluation_plays_on_the_sampling_mesh(runs, monkeypatch):
    played = {}

    def record(run, arm, params, console):
        played[arm] = {leaf.sharding.mesh for leaf in jax.tree.leaves(params)}, run.mesh
        return {"in_domain": {}, "ood": {}, "cost": {}}

    monkeypatch.setattr(evaluate_module, "evaluate_arm", record)
    do("evaluate", config(runs["two"], sampling_mesh=SAMPLING))
    assert set(played) == {"base", ARM}
    for of_arrays, of_run in played.values():
        assert of_arrays == {of_run} and of_run.shape["data"] == SAMPLING["data"]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_policy_moves_whole_or_by_its_adapters_alone(tmp_path, rank):
    run = open_run(config(tmp_path, sampling_mesh=SAMPLING, lora={"rank": rank}), "test")
    with jax.set_mesh(run.mesh):
        reference = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        params = starting_policy(run, reference)
        sampler = sampler_of(run, reference)
        there, cost = behavior_policy(run, sampler, params)
    assert set(cost) == {"reshard"} and sampler.run.mesh.shape["data"] == 4
    for ours, moved in zip(jax.tree.leaves(params), jax.tree.leaves(there), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(moved))
        assert ours.sharding.mesh == run.mesh and moved.sharding.mesh == sampler.run.mesh
    if rank:
        assert there.blocks.query is sampler.frozen.blocks.query  # it was there already


def test_one_mesh_moves_nothing(tmp_path):
    run = open_run(config(tmp_path), "test")
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        sampler = sampler_of(run, params)
        assert sampling_run(run) is run and behavior_policy(run, sampler, params) == (params, {})


def test_rows_are_padded_to_what_both_meshes_divide(tmp_path):
    run = open_run(config(tmp_path, sampling_mesh={"data": 8}), "test")
    with jax.set_mesh(run.mesh):
        sampler = sampler_of(run, read_weights(run.policy_dir, run.arch, run.mesh, run.rules))
    assert [common_rows(count, run, sampler) for count in (1, 8, 9)] == [8, 8, 16]


def test_a_sampling_mesh_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^sampling_mesh: .*8 devices"):
        open_run(config(tmp_path, sampling_mesh={"tensor": 3}), "test")
    with pytest.raises(ConfigError, match=r"^sampling_mesh\.rules\.embd: unknown logical axis"):
        open_run(config(tmp_path / "b", sampling_mesh={"rules": {"embd": [[], []]}}), "test")
