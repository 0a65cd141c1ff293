"""The horizon study: its cells have the lengths they claim, and its crossovers are where they are by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.data.chat_jsonl import write_trajectories
from pivot_jax.domains.environment import demonstrate
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.metrics import MetricLine
from pivot_jax.pipeline.pretrain import FIRST_SEED
from pivot_jax.pipeline.run import open_domains
from pivot_jax.pipeline.seed_runs import seed_run
from tests.experiments.scripts import ROOT, script, write_run
from tests.experiments.test_cost_to_match import curve, seeds

ONE = {"mean": 1.0, "ci95": [1.0, 1.0], "n": 1}
SIGNAL = dict.fromkeys(
    (
        "left",
        "uninformative",
        "pivots",
        "uses",
        "pivotrl_mixed",
        "random_functional_mixed",
        "pivotrl_turns_a_group",
        "bare_turns_a_group",
        "random_functional_turns_a_group",
    ),
    ONE,
) | {"pivots_by_tool": {"open": ONE}}
RUNS = [{"episodes": 100}]
STUDY = str(ROOT / "configs" / "horizon" / "study.toml")


@pytest.fixture(scope="module")
def horizon():
    return script("horizon")


def test_cells_cover_the_lengths_and_play_them(horizon, tmp_path):
    assert {cell.turns for cell in horizon.CELLS} == {3, 6, 12, 24}
    assert len({cell.name for cell in horizon.CELLS}) == len(horizon.CELLS)
    for cell in horizon.CELLS:
        file = tmp_path / f"{cell.name}.toml"
        file.write_text(cell.toml("runs/x/policy"))
        config = load([STUDY, file])
        assert min(config.data.max_turns, config.evaluate.max_turns, config.e2e.max_turns) > cell.turns
        played = open_domains(config)["search"].keywords["knobs"]
        assert played == cell.knobs
        shown = demonstrate(open_domains(config)["search"], "search", 0, max_turns=config.data.max_turns)
        assert sum(message.role == "assistant" for message in shown.messages) == cell.turns


def test_the_base_has_hops_waits_and_the_chore_of_every_cell(horizon):
    for name in ("base", "warm"):
        knobs = load([ROOT / "configs" / "horizon" / f"{name}.toml"]).data.knobs["search"]
        assert {cell.hops for cell in horizon.CELLS} <= set(knobs["hops"])
        assert knobs["routine"] == 1 and 0 < knobs["listed"] < 1
    waits = [cell.waits for cell in horizon.CELLS]
    assert min(knobs["waits"]) == min(waits) and max(knobs["waits"]) == max(waits)


def test_the_bases_and_the_study_share_no_task(tmp_path):
    warm = load([ROOT / "configs" / "horizon" / "warm.toml"])
    used = range(warm.data.first_seed, warm.data.first_seed + warm.data.tasks)
    for seed in range(5):
        config = seed_run([STUDY], tmp_path, seed).config
        demonstrated = range(config.data.first_seed, config.data.first_seed + config.data.tasks)
        evaluated = range(config.evaluate.first_seed, config.evaluate.first_seed + config.evaluate.episodes)
        for tasks in (demonstrated, evaluated):
            assert tasks.stop <= used.start and used.stop <= FIRST_SEED


@pytest.fixture(scope="module")
def tables():
    return script("horizon_tables")


def cells(axis: str, ratios: dict[float, float | None]):
    return [{axis: at, "ratios": {"e2e": value and {"mean": value}}} for at, value in ratios.items()]


def test_crossovers_by_hand(tables):
    found = tables.crossovers(cells("turns", {3: 0.5, 12: 2.0}), "turns", "e2e")
    assert found == "6.00, from there above 1"
    assert tables.crossovers(cells("routine_share", {0.2: 4.0, 0.6: 0.25}), "routine_share", "e2e").startswith("0.40")
    assert "below 1 throughout" in tables.crossovers(cells("turns", {3: 0.5, 6: 0.7}), "turns", "e2e")
    partly = tables.crossovers(cells("turns", {3: 0.5, 6: None, 12: 2.0}), "turns", "e2e")
    assert partly == "6.00, from there above 1; 1 of 3 cells have no matched gain"
    assert tables.crossovers(cells("turns", {3: 0.5, 6: None}), "turns", "e2e").startswith("not determined")


def test_a_cell_compares_at_the_largest_matched_gain(horizon):
    arms = {"pivotrl": curve([0, 0.2], profile=100), "random_functional": curve([0, 0.1], each=400)}
    found = horizon.compared(seeds({**arms, "e2e": curve([0, 0.2], each=800)}), ["e2e"])
    assert found["matched_gain"] == pytest.approx({"e2e": 0.2, "random": 0.1})
    means = {name: ratio["mean"] for name, ratio in found["ratios"].items()}
    by_hand = {"e2e": 800 / 200, "e2e_bare": 8, "e2e_seconds": 800 / 200, "random": 400 / 150, "random_bare": 8}
    assert means == pytest.approx(by_hand)
    ends = {arm: gain["mean"] for arm, gain in found["end_gains"].items()}
    assert ends == pytest.approx({"pivotrl": 0.2, "random_functional": 0.1, "e2e": 0.2})
    assert found["lead_over_random"]["mean"] == pytest.approx(0.1)


def test_a_contender_that_never_gains_is_named(horizon, tables):
    arms = {"pivotrl": curve([0, 0.2]), "random_functional": curve([0, 0.1])}
    found = horizon.compared(seeds({**arms, "e2e": curve([0, 0.0])}), ["e2e"])
    assert found["matched_gain"] == {"e2e": None, "random": pytest.approx(0.1)} and found["not_reached"] == ["E2E RL"]
    cell = {
        "base": "b",
        "turns": 24,
        "hops": 2,
        "routine_share": 0.5,
        "base_success": 0.1,
        **SIGNAL,
        **found,
    }
    text = tables.section({"cells": [{**cell, "runs": RUNS}], "seeds": [0]})
    assert "none: E2E RL" in text and "not reached" not in text
    assert "passes 1" not in text  # one cell lies along no axis


def test_crossovers_are_sought_among_cells_of_equal_hops(horizon, tables):
    arms = {"pivotrl": curve([0, 0.2], profile=100), "random_functional": curve([0, 0.2])}
    shown = []
    for turns, hops, share, e2e in ((6, 2, 0.3, 100), (24, 2, 0.8, 400), (6, 1, 0.6, 1000)):
        found = horizon.compared(seeds({**arms, "e2e": curve([0, 0.2], each=e2e)}), ["e2e"])
        cell = {"base": "b", "turns": turns, "hops": hops, "routine_share": share, "base_success": 0.1}
        shown.append({**cell, **SIGNAL, "runs": RUNS, **found})
    rows = [line for line in tables.section({"cells": shown, "seeds": [0]}).splitlines() if "| turns, at" in line]
    # E2E RL spends 100 and 400, PivotRL 200: the ratio is 1 half-way in the logarithm of turns
    assert len(rows) == 1 and rows[0].startswith("| turns, at base b, hops 2 | 12.00, from there above 1 |")


def test_turns_of_a_mixed_group_by_hand(horizon, tmp_path):
    run = seed_run([STUDY], tmp_path, 0)
    write_run(run, {"base": 1, "pivotrl": 2, "random_functional": 2, "e2e": 2})
    shares = {"pivotrl": (0.75, 0.25), "random_functional": (0.25, 0.0)}
    lines = [
        MetricLine(arm, step, {"pivot/mixed_fraction": share})
        for arm, over in shares.items()
        for step, share in enumerate(over, 1)
    ]
    (run.dir / "metrics.jsonl").write_text("".join(line.to_text() + "\n" for line in lines))
    [curves] = seeds({arm: curve([0, 0.1], profile=160 * (arm == "pivotrl")) for arm in shares})
    found = horizon.signal(run.dir, curves)
    # two steps of 16 groups of 8: 256 turns, 16 mixed groups of pivots and 4 of random turns
    assert found == pytest.approx({
        "left": 1, "uninformative": 0.5, "pivots": 20, "uses": 32 / 20, "pivotrl_mixed": 0.5,
        "pivotrl_turns_a_group": 416 / 16, "bare_turns_a_group": 16,
        "random_functional_mixed": 0.125, "random_functional_turns_a_group": 64,
    })  # fmt: skip


def test_pivots_are_counted_by_the_tool_of_the_demonstration(horizon, tables, tmp_path):
    shown = demonstrate(open_domains(load([STUDY]))["search"], "search", 3)
    write_trajectories(tmp_path / "trajectories.jsonl", [shown])
    calls = [message.tool_calls[0].name for message in shown.messages if message.role == "assistant"]
    kept = [0, 2, len(calls) - 1]
    write_json(tmp_path / "pivots.json", {"pivots": [{"id": f"{shown.id}#{turn}"} for turn in kept]})
    assert horizon.pivots_by_tool(tmp_path) == Counter(calls[turn] for turn in kept)
    cell = {"base": "b", "turns": 6, "hops": 2, "routine_share": 0.5, "pivots_by_tool": {"open": ONE}}
    rows = tables._pivots([cell, {**cell, "pivots_by_tool": {"note": {"mean": 2.0, "ci95": [-1.0, 5.0], "n": 2}}}])
    assert rows.splitlines()[0].endswith("| `note` | `open` |")
    assert [row.split(" | ")[-2:] for row in rows.splitlines()[2:]] == [["0", "1 |"], ["2 [0, 5]", "0 |"]]


def test_the_study_needs_its_own_cells(horizon, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        horizon.planned([str(tmp_path / "absent.toml")], "runs/x/policy", horizon.CELLS[0], [0])
    assert horizon.base_name("runs/x/policy") == "x" and math.isclose(horizon.CELLS[0].toml("b").count("max_turns"), 3)
