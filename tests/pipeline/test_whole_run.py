"""The whole method on a handful of tasks: the contracts of the run directory, resumption, and honest selection."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pivot_jax.config import ConfigError
from pivot_jax.pipeline import train as train_module
from pivot_jax.pipeline.checkpoint import Interrupted
from pivot_jax.pipeline.metrics import read_metrics
from tests.pipeline.small_run import do, small_config

pytestmark = pytest.mark.usefixtures("few_devices")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One uninterrupted run of all stages."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    do("run", small_config(run_dir))
    return run_dir


def read(path: Path):
    return json.loads(path.read_text())


def exported(run_dir: Path, arm: str) -> dict[str, np.ndarray]:
    do("export", small_config(run_dir, export={"arm": arm, "path": str(run_dir / "out" / arm)}))
    weights = load_file(run_dir / "out" / arm / "model.safetensors")
    shutil.rmtree(run_dir / "out")
    return weights


def test_run_directory_contract(finished):
    for name in (
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "ledger.json",
        "report/index.html",
        "report/report.json",
    ):
        assert (finished / name).stat().st_size > 0, name
    assert (finished / "checkpoints").is_dir()
    report = read(finished / "report" / "report.json")
    assert list(report["arms"]) == ["base", "sft", "pivotrl", "sft_pivots", "random_strict", "half_profile"]
    for arm in report["arms"].values():
        assert set(arm["in_domain"]) == {"retail", "terminal"} and len(arm["ood"]) >= 8
        for suite in [*arm["in_domain"].values(), *arm["ood"].values(), arm["in_domain_mean"], arm["ood_mean"]]:
            assert suite["ci95"][0] <= suite["mean"] <= suite["ci95"][1] and suite["n"] > 0
        assert set(arm["in_domain"]["retail"]) == {"mean", "ci95", "n"}
    assert {"candidates", "kept", "by_reason", "mixed_fraction", "uninformative_fraction"} <= report["pivots"].keys()


def test_every_phase_is_charged(finished):
    ledger = read(finished / "ledger.json")
    pivotrl, sft = ledger["pivotrl"], ledger["sft"]
    manifest = read(finished / "manifest.json")["stages"]
    assert pivotrl["profile"]["rollout_turns"] == 4 * manifest["profile"]["counts"]["candidates"]
    assert pivotrl["rollout"]["rollout_turns"] == pivotrl["rollout"]["verifier_calls"] == 5 * 4 * 4
    assert 0 < pivotrl["rollout"]["prompt_tokens_computed"] < pivotrl["rollout"]["prompt_tokens_logical"]
    assert pivotrl["update"]["trained_tokens"] == pivotrl["rollout"]["sampled_tokens"]
    assert pivotrl["reference"]["flops"] > 0 and sft["update"]["trained_tokens"] > 0
    assert "profile" not in sft and ledger["sft_pivots"]["profile"] == pivotrl["profile"]
    assert "profile" not in ledger["base"] and "profile" not in ledger["random_strict"]
    part = read(finished / "selections" / "half_profile.json")["candidates"]
    assert ledger["half_profile"]["profile"]["rollout_turns"] == 2 * part
    assert 0 < ledger["half_profile"]["profile"]["flops"] < pivotrl["profile"]["flops"]
    assert {arm["evaluation"]["episodes"] for arm in ledger.values()} == {2 * 4 + 10 * 2}


def test_pivots_are_the_candidates_whose_samples_disagree(finished):
    pivots = read(finished / "pivots.json")
    rates = [rate for rate in pivots["pass_rates"] if rate is not None]
    mixed = sum(0 < rate < 1 for rate in rates)
    assert pivots["kept"] == len(pivots["pivots"]) == mixed == round(pivots["mixed_fraction"] * pivots["candidates"])
    assert sum(pivots["by_reason"].values()) == pivots["candidates"]
    assert 0 < mixed < pivots["candidates"]


def test_each_arm_selects_and_trains_by_its_own_config(finished):
    from pivot_jax.pipeline.arms import arm_run
    from pivot_jax.pipeline.run import open_run
    from pivot_jax.pipeline.selection import load_pivots

    run = open_run(small_config(finished), "test")
    kept = {arm: {point.candidate.id for point in load_pivots(arm_run(run, arm), arm)} for arm in run.config.arms}
    whole, half = read(finished / "pivots.json"), read(finished / "selections" / "half_profile.json")
    assert kept["pivotrl"] == kept["sft_pivots"] == {pivot["id"] for pivot in whole["pivots"]}
    assert kept["half_profile"] == {pivot["id"] for pivot in half["pivots"]} and half["k"] == 2
    assert 0 < half["candidates"] < whole["candidates"] == len(kept["random_strict"])
    assert [path.name for path in (finished / "selections").iterdir()] == ["half_profile.json"]
    steps = {arm: len([line for line in read_metrics(finished) if line.stage == arm]) for arm in run.config.arms}
    assert steps == {"sft": 3, "sft_pivots": 3, "pivotrl": 5, "random_strict": 2, "half_profile": 1}


def test_an_arm_is_the_same_whichever_arms_are_trained_beside_it(finished, tmp_path):
    run_dir = tmp_path / "alone"
    shutil.copytree(finished, run_dir)
    shutil.rmtree(run_dir / "checkpoints")
    manifest = read(run_dir / "manifest.json")
    for stage in ("train", "evaluate"):
        del manifest["stages"][stage]
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    (run_dir / "metrics.jsonl").unlink()
    alone = small_config(run_dir, run={"arms": ["random_strict"]})
    do("train", alone)
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["random_strict"]
    together, by_itself = (exported(path, "random_strict") for path in (finished, run_dir))
    assert all(together[name].tobytes() == by_itself[name].tobytes() for name in together)
    with pytest.raises(
        ConfigError, match=r"not trained to the end: sft, sft_pivots, pivotrl, half_profile; run .*train"
    ):
        do("evaluate", small_config(run_dir))
    with pytest.raises(ConfigError, match="'pivotrl' is not trained to the end"):
        exported(run_dir, "pivotrl")
    with pytest.raises(ConfigError, match=r"export\.arm: unknown arm 'sfs'; one of base, sft"):
        exported(run_dir, "sfs")
    do("evaluate", alone)  # its arm is trained


def test_policies_moved_and_on_policy_ratios_are_one(finished):
    lines = [line for line in read_metrics(finished) if line.stage == "pivotrl"]
    assert [line.step for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert line.metrics["rollout/behavior_gap"] < 1e-4  # trainer and sampler agree at the same weights
        assert line.metrics["policy/clip_fraction"] == 0
    assert lines[0].metrics["policy/kl_to_reference"] < 1e-8 < lines[-1].metrics["policy/kl_to_reference"]
    base, trained = exported(finished, "base"), exported(finished, "pivotrl")
    assert any(np.abs(base[name] - trained[name]).max() > 1e-5 for name in base)


@pytest.mark.parametrize("how", ["SIGTERM", "crash"])
def test_a_resumed_run_equals_the_uninterrupted_one(finished, tmp_path, monkeypatch, how):
    run_dir = tmp_path / "resumed"
    shutil.copytree(finished, run_dir)
    for name in ("checkpoints/pivotrl", "evaluation", "report"):
        shutil.rmtree(run_dir / name)
    lines = (run_dir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run_dir / "metrics.jsonl").write_text("".join(line for line in lines if '"stage": "pivotrl"' not in line))
    manifest = read(run_dir / "manifest.json")
    for stage in ("train", "evaluate"):
        del manifest["stages"][stage]
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    real_step = train_module.pivot_step

    class Crash(BaseException):
        pass

    def struck(*arguments):
        if arguments[-1] == 3:
            if how == "crash":
                raise Crash
            os.kill(os.getpid(), signal.SIGTERM)
        return real_step(*arguments)

    monkeypatch.setattr(train_module, "pivot_step", struck)
    with pytest.raises(Crash if how == "crash" else Interrupted) as stopped:
        do("train", small_config(run_dir))
    assert how == "crash" or "pivotrl: stopped after step 4 of 5" in str(stopped.value)
    with pytest.raises(ConfigError, match="not trained to the end: pivotrl"):
        do("evaluate", small_config(run_dir))
    monkeypatch.setattr(train_module, "pivot_step", real_step)
    do("train", small_config(run_dir))
    whole, resumed = exported(finished, "pivotrl"), exported(run_dir, "pivotrl")
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole)
    both = ([line for line in read_metrics(path) if line.stage == "pivotrl"] for path in (finished, run_dir))
    assert next(both) == next(both)
    costs = [read(path / "ledger.json")["pivotrl"]["rollout"] for path in (finished, run_dir)]
    assert all(costs[0][name] == costs[1][name] for name in costs[0] if name != "seconds")


def test_complete_stages_are_not_run_again(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "profile").rglob("*") if path.is_file()}
    do("run", small_config(finished))
    assert before and before == {path: path.stat().st_mtime_ns for path in before}


def test_more_draws_are_added_without_sampling_again(finished, tmp_path):
    from pivot_jax.pipeline.candidates import load_prepared
    from pivot_jax.pipeline.profiling import open_store, profiled_points
    from pivot_jax.pipeline.run import open_run

    kept = {}
    for samples in (2, 4):
        run_dir = tmp_path / str(samples)
        shutil.copytree(finished, run_dir) if samples == 4 else None
        config = small_config(run_dir, profile={"samples": samples})
        do("candidates", config)
        if samples == 2:
            do("profile", config)
            shutil.copytree(run_dir / "profile", tmp_path / "grown")
        run = open_run(config, "test")
        points = profiled_points(load_prepared(run), 1.0)
        kept[samples] = open_store(run, points).read("tokens")
    grown = tmp_path / "again"
    shutil.copytree(tmp_path / "2", grown)
    (grown / "config.json").unlink()
    (grown / "manifest.json").unlink()
    config = small_config(grown, profile={"samples": 4})
    do("candidates", config)
    do("profile", config)
    assert read(grown / "manifest.json")["stages"]["profile"]["counts"]["actions_sampled_now"] == 2 * len(kept[2])
    run = open_run(config, "test")
    tokens = open_store(run, profiled_points(load_prepared(run), 1.0)).read("tokens")
    np.testing.assert_array_equal(tokens[:, :2], kept[2])
    np.testing.assert_array_equal(tokens, kept[4])  # as if four had been sampled at once


def test_a_changed_config_is_refused_with_the_difference(finished):
    with pytest.raises(ConfigError, match=r"loss\.kl_coef: was 0\.03, now 0\.5"):
        do("train", small_config(finished, loss={"kl_coef": 0.5}))


def test_a_stage_names_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match="train sft: needs the stage 'candidates' first"):
        do("train", small_config(tmp_path / "empty"))
