"""The controls, K and λ: the paper's order judged on numbers where it is known."""

from __future__ import annotations

import pytest

from pivot_jax.pipeline import seed_runs
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.seed_results import read_results
from tests.experiments.scripts import script, write_run

CONTROLS = """
[run]
dir = "{dir}/small"
[data]
domains = ["retail"]
[arms.sft]
method = "sft"
[arms.pivotrl]
method = "pivot_rl"
[arms.random_functional]
method = "pivot_rl"
select = {{ rule = "random" }}
[arms.random_strict]
method = "pivot_rl"
select = {{ rule = "random" }}
train = {{ reward = "exact" }}
"""
SETTINGS = """
[run]
dir = "{dir}/ablations"
[data]
domains = ["retail"]
[profile]
samples = 8
[select]
threshold = 0.8
[arms.k2]
method = "pivot_rl"
profile = {{ samples = 2 }}
[arms.k8]
method = "pivot_rl"
[arms.lambda_04]
method = "pivot_rl"
select = {{ threshold = 0.4 }}
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    """name → results over two seeds with these successes of 20 episodes, as compare_arms writes them."""
    compare = script("compare_arms")
    for module in (seed_runs, compare):
        monkeypatch.setattr(module, "machine_of_children", lambda: {"platform": "test"})

    def make(text: str, name: str, successes: dict[int, dict[str, int]]):
        config = tmp_path / f"{name}.toml"
        config.write_text(text.format(dir=tmp_path))
        runs = compare.planned(str(config), "mixed", list(successes))
        for run in runs:
            write_run(run, successes[run.seed])
        write_json(tmp_path / f"{name}.json", compare.record(str(config), "mixed", runs, "test"))
        return read_results(tmp_path / f"{name}.json")

    return make


def test_the_papers_order_is_judged(results):
    low = {"base": 4, "sft": 8, "pivotrl": 14, "random_functional": 9, "random_strict": 10}
    found = results(CONTROLS, "small", {0: low, 1: {arm: number + 1 for arm, number in low.items()}})
    controls = script("ablations").controls(found)
    verdicts = {(one["better"], one["worse"]): one["verdict"] for one in controls["orderings"]}
    # every seed gives the same differences, so the intervals have no width
    assert verdicts == {
        ("pivotrl", "random_functional"): "holds",
        ("random_functional", "random_strict"): "does not hold",
        ("pivotrl", "sft"): "holds",
        ("random_functional", "sft"): "holds",
        ("sft", "random_strict"): "does not hold",
    }
    assert controls["rows"]["random_functional"]["in_domain_change"]["mean"] == pytest.approx(-0.25)


def test_an_order_that_one_seed_contradicts_is_not_resolved(results):
    arms = ("base", "sft", "pivotrl", "random_functional", "random_strict")
    found = results(CONTROLS, "small", {0: dict.fromkeys(arms, 5) | {"pivotrl": 15}, 1: dict.fromkeys(arms, 5)})
    judged = script("ablations").controls(found)["orderings"]
    assert {one["verdict"] for one in judged if one["better"] == "pivotrl"} == {"not resolved"}


def test_settings_name_their_k_and_threshold(results):
    same = {"base": 4, "k2": 6, "k8": 10, "lambda_04": 8}
    found = results(SETTINGS, "ablations", {0: same, 1: same})
    ablations = script("ablations")
    rows = ablations.settings(found)["rows"]
    assert {arm: (row["k"], row["threshold"]) for arm, row in rows.items()} == {
        "k2": (2, 0.8), "k8": (8, 0.8), "lambda_04": (8, 0.4),
    }  # fmt: skip
    assert rows["k2"]["in_domain_change"]["mean"] == pytest.approx(-0.2) and "in_domain_change" not in rows["k8"]
    text = ablations.section({"controls": None, "settings": {"basis": "b", "rows": rows}})
    assert "| lambda_04 | 8 | 0.4 | 40.0 [40.0, 40.0] |" in text
