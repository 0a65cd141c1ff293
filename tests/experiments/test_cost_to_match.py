"""Costs read off learning curves: by hand, smoothed, and "not reached" where they are not."""

from __future__ import annotations

import math

import pytest

from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.cost_curves import (
    MEASURES,
    ArmCurve,
    CurvePoint,
    SeedCurves,
    Spent,
    cheapest,
    cost_ratio,
    cost_to_gain,
    gains,
    matched_gain,
    seed_curves,
    spent,
)
from pivot_jax.pipeline.seed_runs import seed_run
from tests.experiments.scripts import script, write_run

TURNS = "rollout_turns"
SETTINGS = {"arms": {"pivotrl": {"method": "pivot_rl"}, "e2e": {"method": "e2e_rl"}, "e2e_fast": {"method": "e2e_rl"}}}


def curve(rates: list[float], each: float = 100.0, profile: float = 0.0) -> ArmCurve:
    points = [CurvePoint(step=i, rate=r, cost=dict.fromkeys(MEASURES, each * i)) for i, r in enumerate(rates)]
    return ArmCurve(points=points, profile=dict.fromkeys(MEASURES, profile))


def seeds(*arms: dict[str, ArmCurve]) -> list[SeedCurves]:
    return [SeedCurves(seed=i, starts=[], seconds=1.0, episodes=50, arms=each) for i, each in enumerate(arms)]


def test_a_cost_is_interpolated_and_the_profile_added():
    one = curve([0.2, 0.3, 0.5], profile=1000.0)
    assert cost_to_gain(one, 0.05, TURNS) == pytest.approx(1050)
    assert cost_to_gain(one, 0.2, TURNS) == pytest.approx(1150)
    assert cost_to_gain(one, 0.2, TURNS, profile=False) == pytest.approx(150)
    assert cost_to_gain(one, 0.3, TURNS) == pytest.approx(1200)
    assert cost_to_gain(one, 0.31, TURNS) is None


def test_a_lucky_checkpoint_is_smoothed_and_a_late_collapse_costs_nothing():
    # 0.5 then 0.3 are pooled to 0.4, so 0.45 is only reached on the way to the last
    assert cost_to_gain(curve([0.2, 0.5, 0.3, 0.6]), 0.25, TURNS) == pytest.approx(225)
    assert cost_to_gain(curve([0.2, 0.4, 0.6, 0.1]), 0.3, TURNS) == pytest.approx(150)
    assert cost_to_gain(curve([0.5, 0.4, 0.3]), 0.02, TURNS) is None


def test_ratios_are_geometric_and_need_every_seed():
    found = cost_ratio(Spent((200.0, 800.0)), Spent((100.0, 100.0)))
    assert found is not None and found.mean == pytest.approx(4.0)
    half = 12.706204736174698 * (math.log(8) - math.log(2)) / math.sqrt(2) / math.sqrt(2)
    assert found.ci95 == pytest.approx((4 * math.exp(-half), 4 * math.exp(half)))
    assert cost_ratio(Spent((200.0, None)), Spent((100.0, 100.0))) is None


def test_the_best_setting_reaches_in_most_seeds_then_costs_least():
    found = seeds(
        {"slow": curve([0, 0.1, 0.2]), "fast": curve([0, 0.2]), "lucky": curve([0, 0.5])},
        {"slow": curve([0, 0.1, 0.2]), "fast": curve([0, 0.2]), "lucky": curve([0, 0.0])},
    )
    assert cheapest(found, ["slow", "fast", "lucky"], 0.1, TURNS) == "fast"
    assert gains(found, 0.2) == [0.2, 0.4]
    assert matched_gain(found, [["slow"], ["fast", "lucky"]], gains(found, 0.1)) == pytest.approx(0.2)
    assert matched_gain(found, [["lucky"]], [0.1]) is None
    assert spent(found, "lucky", 0.1, TURNS).reached == 1


def test_the_tables_say_what_is_not_reached():
    arms = {"pivotrl": curve([0, 0.1, 0.2], profile=300), "random_functional": curve([0, 0.1, 0.2], each=200)}
    found = seeds(*[{**arms, "e2e": curve([0, 0.02]), "e2e_fast": curve([0, top], each=800)} for top in (0.2, 0.1)])
    record = {"settings": SETTINGS, "runs": [run.model_dump(mode="json") for run in found], "figure": "x.svg"}
    text = script("cost_to_match").section(record)
    assert "every seed: +10 points" in text
    turns = text.split("rollout turns:")[1].split("In sampled tokens")[0]
    rows = {line.split(" | ")[0]: line for line in turns.splitlines() if "| +" in line}
    # 400 turns with the profile, 100 without; E2E 400 and 800 in the two seeds
    assert rows["| +10"].startswith("| +10 | 400 (400 to 400) | 100 (100 to 100) | 200 (200 to 200) | 600 (400 to 800)")
    assert "| 0.50 [0.50, 0.50] |" in rows["| +10"]
    assert "reached in 1 of 2 `e2e_fast`" in rows["| +20"]


def test_curves_of_a_run_start_at_the_base_on_the_same_episodes(tmp_path):
    config = tmp_path / "c.toml"
    stages = '["candidates", "profile", "select", "train", "evaluate", "curve"]'
    config.write_text(
        f'[run]\ndir = "{tmp_path}"\nkeep_checkpoints = true\nstages = {stages}\n'
        '[data]\ndomains = ["retail"]\n[evaluate]\ncurve_episodes = 10\n[arms.pivotrl]\nmethod = "pivot_rl"\n'
    )
    run = seed_run([str(config)], tmp_path, 0)
    write_run(run, {"base": 4, "pivotrl": 9})
    point = {"step": 5, "successes": {"retail": 7}, "episodes": 10, "cost": dict.fromkeys(MEASURES, 30)}
    point["reprofiling"] = dict.fromkeys(MEASURES, 4)
    write_json(run.dir / "curves" / "pivotrl.json", [point])
    found = seed_curves(run)
    # the first ten of its twenty episodes, of which the first four succeed
    assert [p.rate for p in found.arms["pivotrl"].points] == [0.4, 0.7]
    assert found.arms["pivotrl"].profile[TURNS] == 400 - 4
    drawing = script("cost_to_match").figure([found])
    assert drawing.axes[0].lines[-1].get_xdata().tolist() == [396, 426]
