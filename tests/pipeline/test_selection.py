"""Eq. 5 on hand-made groups: every reason, both presets, and unjudged actions."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer

from pivot_jax.config import SelectSection
from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import trunks
from pivot_jax.data.turns import candidates
from pivot_jax.domains.environment import demonstrate
from pivot_jax.domains.registry import DOMAINS
from pivot_jax.objective.posterior import fit_beta
from pivot_jax.pipeline.candidates import Prepared
from pivot_jax.pipeline.profiling import profiled_points, within_share
from pivot_jax.pipeline.run import base_policy_dir
from pivot_jax.pipeline.selection import PIVOT, reasons, summary

REWARDS = np.array(
    [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]], np.float32
)
VALID = np.ones_like(REWARDS, bool)
VALID[5, 1] = False  # what is judged agrees: uniform
VALID[6] = False


@pytest.mark.parametrize(
    ("section", "kept"),
    [
        (SelectSection(threshold=0.6), [2, 3]),
        (SelectSection(threshold=0.5), [2]),
        (SelectSection(threshold=0.5, inclusive=True), [2, 3]),
        (SelectSection(threshold=1.0), [2, 3, 4]),
        (SelectSection(threshold=0.6, inclusive=True, keep_all_zero=True), [0, 2, 3]),
        (SelectSection(rule="random"), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_which_candidates_are_kept(section, kept):
    assert [i for i, reason in enumerate(reasons(REWARDS, VALID, section)) if reason == PIVOT] == kept


def test_the_signal_rule_keeps_the_pivots_whose_groups_would_spread_most():
    """Oracle: by simulation of the posterior. Half of the pivots; of equal ones the earlier goes first."""
    rewards = np.zeros((6, 8), np.float32)
    passes = [1, 4, 4, 2, 8, 0]
    for row, k in zip(rewards, passes, strict=True):
        row[:k] = 1
    section = SelectSection(rule="signal", threshold=0.6, signal_share=0.5, signal_group=4)
    decided = reasons(rewards, np.ones_like(rewards, bool), section)
    prior = fit_beta(np.array(passes), np.full(6, 8))
    rng, score = np.random.default_rng(0), {}
    for k in set(passes):
        p = rng.beta(prior.a + k, prior.b + 8 - k, 200_000)
        passed = rng.binomial(4, p) / 4
        score[k] = np.mean(np.sqrt(passed * (1 - passed))) * np.mean(p < 0.6)
    kept = sorted(np.argsort([-score[k] for k in passes[:4]], kind="stable")[:2].tolist())
    assert [i for i, reason in enumerate(decided) if reason == PIVOT] == kept
    assert [decided[i] for i in range(4) if i not in kept] == ["low expected signal"] * 2
    assert decided[4:] == ["uniform: all passed", "uniform: all failed"]
    every = reasons(rewards, np.ones_like(rewards, bool), section.model_copy(update={"signal_share": 1.0}))
    assert every.count(PIVOT) == 4
    with pytest.raises(ValueError, match="'signal' counts passes: rewards must be 0 or 1"):
        reasons(rewards / 2, np.ones_like(rewards, bool), section)


def test_every_dropped_candidate_has_its_reason():
    assert reasons(REWARDS, VALID, SelectSection(threshold=0.6)) == [
        "uniform: all failed",
        "uniform: all passed",
        PIVOT,
        PIVOT,
        "too easy: mean not below the threshold",
        "uniform: all passed",
        "not judged",
    ]


def test_counts():
    counts = summary(REWARDS, VALID, reasons(REWARDS, VALID, SelectSection(threshold=0.6)))
    assert counts["candidates"] == 7 and counts["kept"] == 2 and sum(counts["by_reason"].values()) == 7
    assert counts["mixed_fraction"] == pytest.approx(3 / 7)
    assert counts["uninformative_fraction"] == pytest.approx(4 / 7)


def test_what_could_not_be_judged_is_uninformative_and_what_was_not_sampled_is_neither():
    unjudged = summary(np.zeros((3, 4), np.float32), np.zeros((3, 4), bool), ["not judged"] * 3)
    assert unjudged["uninformative_fraction"] == 1 and unjudged["mixed_fraction"] == 0
    unsampled = summary(np.zeros((3, 4), np.float32), np.zeros((3, 4), bool), [PIVOT] * 3, sampled=False)
    assert unsampled["uninformative_fraction"] is None and unsampled["mixed_fraction"] is None


def test_a_smaller_share_keeps_fewer_of_the_same_trajectories():
    tokenizer = AutoTokenizer.from_pretrained(base_policy_dir(), local_files_only=True)
    prepared = []
    for seed in range(40):
        trajectory = demonstrate(DOMAINS["terminal"], "terminal", seed)
        rendered = render(trajectory, tokenizer)
        prepared.append(Prepared(trajectory, rendered, trunks(rendered), candidates(trajectory)))
    points = profiled_points(prepared, 0.5)
    kept = {point.candidate.turn.trajectory_id for point in points}
    assert len(kept) == pytest.approx(20, abs=1)
    assert len(points) == sum(len(item.candidates) for item in prepared if item.trajectory.id in kept)
    for share, number in ((0.5, 20), (0.3, 12), (0.05, 2)):
        part = {points[i].candidate.turn.trajectory_id for i in within_share(prepared, points, share)}
        assert part <= kept and len(part) == pytest.approx(number, abs=1)
    assert profiled_points(prepared[:1], 0.01)  # never nothing
