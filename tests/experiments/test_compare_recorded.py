"""Recorded trajectories over seeds: what is pooled, what is paired, and what the tables say."""

from __future__ import annotations

import pytest

from pivot_jax.config import ConfigError
from pivot_jax.pipeline import seed_runs
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.next_action_tables import tasks_of
from pivot_jax.pipeline.seed_results import Results
from pivot_jax.pipeline.seed_runs import SeedRun, is_finished
from tests.experiments.scripts import ROOT, script

CONFIG = """
[run]
dir = "{dir}"
stages = ["candidates", "evaluate"]
[data]
path = "recorded.jsonl"
[verifier]
name = "tool_call"
[evaluate]
actions = 2
[arms.sft]
method = "sft"
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    for module in (seed_runs, script("compare_arms")):
        monkeypatch.setattr(module, "machine_of_children", lambda: {"platform": "test"})
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.format(dir=tmp_path / "runs"))
    return str(path)


def write_run(run: SeedRun, passed: dict[str, list[list[float | None]]]) -> None:
    """A finished run: each arm's functional rewards at one turn of each task; the tasks alternate between domains."""
    ledger = Ledger()
    for arm, groups in passed.items():
        turns = [
            {"turn": f"{i}#0", "domain": "ab"[i % 2], "task": str(i),
             "rewards": {"functional": group, "tool_name": [1.0, 1.0], "exact": [0.0, 0.0]}}
            for i, group in enumerate(groups)
        ]  # fmt: skip
        write_json(
            run.dir / "evaluation" / f"{arm}.json",
            {"arm": arm, "checkpoint": arm, "temperature": 1.0, "turns": turns},
        )
        ledger = ledger.charge(arm, "update", Cost(trained_tokens=7))
    write_json(run.dir / "ledger.json", ledger.to_json())
    part = {"candidates": 10, "kept": 3, "by_reason": {}, "mixed_fraction": 0.3, "uninformative_fraction": 0.7}
    rates = {"pass_rates": [], "pass_rates_exact": [], "threshold": 0.8, "k": 4}
    write_json(run.dir / "pivots.json", {**part, **rates, "by_domain": {"a": part}})
    stages = {stage: {"counts": {arm: {} for arm in passed}, "seconds": 1.0} for stage in run.config.run.stages}
    write_json(run.dir / "manifest.json", {"command": "test", "stages": stages})
    write_json(run.dir / "config.json", run.config.model_dump(mode="json"))


def test_tasks_are_pooled_over_seeds_and_differences_are_paired(config):
    compare = script("compare_recorded")
    runs = compare.planned(config, [0, 1])
    write_run(runs[0], {"base": [[0, 0], [1, 0], [None, 1]], "sft": [[1, 0], [1, 1], [None, 1]]})
    write_run(runs[1], {"base": [[0, 0], [1, 1]], "sft": [[0, 1], [1, 1]]})
    assert all(is_finished(run) for run in runs)
    record = script("compare_arms").record(config, "recorded", runs, "test")
    found = Results.model_validate(record)
    assert tasks_of(found, "base", "functional") == {"a/0": (0, 4), "b/1": (3, 4), "a/2": (1, 1)}
    assert tasks_of(found, "sft", "functional", "a") == {"a/0": (2, 4), "a/2": (1, 1)}
    assert found.runs[0].domains == ("a", "b")
    text = compare.section(record)
    assert text.startswith("2 seeds (0, 1): 95 % bootstrap intervals over held-out tasks")
    [base] = [line for line in text.splitlines() if line.startswith("| base | 100.0 [100.0, 100.0] | 44.4 [")]
    assert base.endswith("| 40.0, 50.0 |")  # each seed alone: 2 of 5, 2 of 4
    [sft] = [line for line in text.splitlines() if line.startswith("| sft | 100.0")]
    assert "| +33.3 [" in sft and "| 0.0 [0.0 to 0.0] |" in sft  # 7 of 9 against 4 of 9; exact never passes
    assert "| 0 | 10 | 70% | 3 | 3 of 3 tasks | 17% |" in text  # one of six actions was not judged


def test_a_config_without_recorded_trajectories_is_refused():
    with pytest.raises(ConfigError, match=r"data\.path is empty"):
        script("compare_recorded").planned(str(ROOT / "configs" / "quickstart.toml"), [0])


@pytest.mark.parametrize("name", ["tau2_small", "intercode_sql_small"])
def test_the_shipped_configs_make_one_base_for_all_seeds(name):
    path = str(ROOT / "configs" / f"{name}.toml")
    (base,) = seed_runs.base_run([path])
    runs = script("compare_recorded").planned(path, [0, 1])
    assert {run.config.policy.path for run in runs} == {str(base.dir / "policy")}
    assert all("pretrain" not in run.config.run.stages for run in runs)
    assert len({run.config.data.base_share for run in [base, *runs]}) == 1
