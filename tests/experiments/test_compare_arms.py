"""The comparison over seeds: its commands, what counts as finished, and its statistics by hand."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from pivot_jax.cli import parse
from pivot_jax.config import ConfigError
from pivot_jax.pipeline import seed_runs
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.seed_estimates import change, rate
from pivot_jax.pipeline.seed_results import Results
from pivot_jax.pipeline.seed_runs import base_run, finish, is_finished, seed_run
from tests.experiments.scripts import ROOT, script, write_run

CONFIG = """
[run]
dir = "{dir}"
[data]
domains = ["retail", "terminal"]
[arms.sft]
method = "sft"
[arms.pivotrl]
method = "pivot_rl"
"""
T1 = 12.706204736174698
"""The 97.5 % point of Student's distribution with one degree of freedom."""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.format(dir=tmp_path / "runs"))
    return str(path)


@pytest.fixture(autouse=True)
def no_machine(monkeypatch):
    for module in (seed_runs, script("compare_arms")):
        monkeypatch.setattr(module, "machine_of_children", lambda: {"platform": "test"})


def results(config: str, domains: str, rates: dict[int, dict[str, int]]) -> Results:
    compare = script("compare_arms")
    runs = compare.planned(config, domains, list(rates))
    for run in runs:
        write_run(run, rates[run.seed])
    assert all(is_finished(run) for run in runs)
    return Results.model_validate(compare.record(config, domains, runs, "test"))


@pytest.mark.parametrize("name", ["small", "ablations", "cost", "medium"])
def test_the_command_of_a_seed_is_the_config_it_is_checked_against(name):
    run = seed_run([str(ROOT / "configs" / "compare" / f"{name}.toml")], ROOT / "runs" / "x", 3, ("retail",))
    _, config, _ = parse(run.words[1:])
    assert config == run.config
    assert (config.run.seed, config.data.first_seed, config.evaluate.first_seed) == (3, 30_000, 1_030_000)
    assert config.data.domains == ("retail",) and "pretrain" not in config.run.stages
    assert config.evaluate.other_domains == ("terminal", "coding", "search")


def test_the_base_is_made_once_and_by_no_seed():
    medium = str(ROOT / "configs" / "compare" / "medium.toml")
    (base,) = base_run([medium])
    assert base.config.run.stages == ("pretrain",)
    assert str(base.dir / "policy") == base.config.policy.path
    assert base_run([str(ROOT / "configs" / "compare" / "small.toml")]) == []


def test_runs_mixed_each_and_of_one_domain(config):
    planned = script("compare_arms").planned
    assert [run.config.data.domains for run in planned(config, "mixed", [0])] == [("retail", "terminal")]
    assert [run.config.data.domains for run in planned(config, "each", [0])] == [("retail",), ("terminal",)]
    assert len({run.dir for domains in ("mixed", "each") for run in planned(config, domains, [0, 1])}) == 6
    with pytest.raises(ConfigError, match="coding: one of mixed, each, retail, terminal"):
        planned(config, "coding", [0])


def test_estimates_over_two_seeds_by_hand(config):
    found = results(config, "mixed", {0: {"base": 4, "sft": 8, "pivotrl": 10}, 1: {"base": 6, "sft": 8, "pivotrl": 16}})
    start = rate(found, "base", "in_domain")
    assert start.ci95 == (0.0, pytest.approx(0.25 + T1 * 0.05))
    assert found.arms == ("base", "sft", "pivotrl")
    alone = rate(found, "pivotrl", "in_domain")
    assert alone.mean == pytest.approx(0.65) and alone.n == 2
    assert alone.ci95 == (0.0, 1.0)  # 0.65 ± T1 * 0.15, cut to what a rate can be
    # paired by seed: 0.1 and 0.4, not the difference of two independent means
    paired = change(found, "pivotrl", "sft", "in_domain")
    assert paired.mean == pytest.approx(0.25)
    assert paired.ci95 == (-1.0, 1.0)
    assert change(found, "sft", "base", "ood").ci95 == (0.0, 0.0)


def test_one_seed_has_an_interval_over_episodes_and_says_so(config):
    found = results(config, "mixed", {0: {"base": 4, "sft": 8, "pivotrl": 10}})
    alone = rate(found, "sft", "in_domain")
    assert alone.mean == pytest.approx(0.4) and alone.n == 40
    text = script("compare_arms").section(found.model_dump(mode="json"))
    assert text.startswith("One seed (0)") and "episodes alone" in text


def test_each_domain_counts_the_same_and_half_a_seed_does_not_count(config):
    compare = script("compare_arms")
    runs = compare.planned(config, "each", [0, 1, 2])
    for run in runs[:5]:
        retail = run.config.data.domains == ("retail",)
        write_run(run, {"base": 2, "sft": 10 if retail else 0, "pivotrl": 10}, skill=20 if retail else 10)
    found = Results.model_validate(compare.record(config, "each", runs[:5], "test"))
    assert rate(found, "sft", "in_domain").n == 2
    assert rate(found, "sft", "in_domain").mean == pytest.approx(0.25)
    assert rate(found, "sft", "ood").mean == pytest.approx(0.75)
    assert rate(found, "sft", "in_domain", "terminal").mean == 0


def test_what_becomes_of_the_domains_that_were_not_trained_on(config):
    compare = script("compare_arms")
    runs = compare.planned(config, "each", [0, 1])
    for run in runs:
        retail = run.config.data.domains == ("retail",)
        write_run(run, {"base": 4, "sft": 8}, other=3 if retail else 11)
    found = Results.model_validate(compare.record(config, "each", runs, "test"))
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in compare.other_domains_table(found).splitlines()
    ]
    assert rows[2] == ["arm", "trained on", "retail", "terminal", "other domains, mean"]
    # 8 of 20 less 4; of the other domain 3 less 5, or 11 less 5. Both seeds alike: Student's intervals have no width
    gained, lost, other = (f"{x} [{x} to {x}]" for x in ("+20.0", "\N{MINUS SIGN}10.0", "+30.0"))
    assert rows[4] == ["sft", "retail", f"**{gained}**", lost, lost]
    assert rows[5] == ["sft", "terminal", other, f"**{gained}**", other]
    # the column of a domain: what training on the others did to it
    assert rows[6][:2] == ["sft", "*others, mean*"]
    assert [cell.split()[0] for cell in rows[6][2:]] == ["+30.0", "\N{MINUS SIGN}10.0", "+10.0"]
    assert rate(found, "sft", "ood").mean == pytest.approx(0.9)  # no part of the skills
    heading, _, base, sft = compare.scores_table(found, ("base",)).splitlines()
    assert heading.startswith("| arm | in domain, % | other domains, % | out of domain, % | in domain vs base |")
    assert base.split("|")[3].split()[0] == "25.0" and sft.split("|")[3].split()[0] == "35.0"


def test_one_domain_of_a_config_alone_has_the_others_too_and_all_domains_have_none(config):
    compare = script("compare_arms")
    rates = {0: {"base": 4, "sft": 8, "pivotrl": 8}}
    alone, mixed = (results(config, domains, rates) for domains in ("retail", "mixed"))
    assert "| sft | retail |" in compare.other_domains_table(alone)
    assert "others, mean" not in compare.section(alone.model_dump(mode="json"))
    assert compare.other_domains_table(mixed) == ""
    assert "trained on" not in compare.section(mixed.model_dump(mode="json"))


def test_costs_leave_evaluation_out_and_name_the_profile(config):
    found = results(config, "mixed", {0: {"base": 4, "sft": 8, "pivotrl": 10}})
    arm = found.runs[0].arms["pivotrl"]
    assert arm.cost().rollout_turns == 500 and arm.cost(profile=False).rollout_turns == 100
    row = next(line for line in script("compare_arms").costs_table(found).splitlines() if line.startswith("| pivotrl"))
    assert row.startswith("| pivotrl | 500 | 100 | 50 |")


def test_finished_seeds_are_left_alone_and_others_run(config, tmp_path, monkeypatch):
    """The child here writes down what it was asked, and finishes nothing."""
    child = tmp_path / "child"
    child.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit 3\n')
    child.chmod(0o755)
    monkeypatch.setattr(seed_runs.sys, "executable", str(child))
    runs = script("compare_arms").planned(config, "mixed", [0, 1, 2])
    write_run(runs[1], {"base": 1, "sft": 1, "pivotrl": 1})
    assert finish(runs) == [runs[0], runs[2]]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split("--run.seed ")[1].split()[0] for line in asked] == ["0", "2"]
    assert asked[0].startswith(f"-m pivot_jax.cli run {config} --run.dir")
    starts = seed_runs.read_starts(runs[0].dir)
    assert len(starts) == 1 and len(starts[0]["commit"]) == 40 and starts[0]["machine"] == {"platform": "test"}


def test_a_seed_made_with_another_config_is_an_error_and_new_settings_are_not(config):
    (run,) = script("compare_arms").planned(config, "mixed", [0])
    write_run(run, {"base": 1, "sft": 1, "pivotrl": 1})
    written = read_json(run.dir / "config.json")
    del written["loss"]["surplus_penalty"]
    write_json(run.dir / "config.json", written)
    assert is_finished(run)
    write_json(run.dir / "config.json", {**written, "loss": {**written["loss"], "kl_coef": 0.5}})
    with pytest.raises(ConfigError, match=r"loss\.kl_coef: was 0\.5, now 0\.03"):
        is_finished(run)


def test_a_stop_is_passed_on_and_starts_no_further_run(config, tmp_path, monkeypatch):
    child = tmp_path / "child"
    # as the pipeline does: it saves, then exits 0
    child.write_text(f"#!/bin/sh\ntrap 'echo saved >> {tmp_path}/asked; exit 0' TERM\nwhile :; do sleep 0.05; done\n")
    child.chmod(0o755)
    monkeypatch.setattr(seed_runs.sys, "executable", str(child))
    runs = script("compare_arms").planned(config, "mixed", [0, 1])

    def stop():
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert finish(runs) == runs
    thread.join()
    assert (tmp_path / "asked").read_text() == "saved\n"
    assert not runs[1].dir.exists() and sys.executable == str(child)
