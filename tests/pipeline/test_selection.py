"""Eq. 5 on hand-made groups: every reason, both presets, and unjudged actions."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.config import SelectSection
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
