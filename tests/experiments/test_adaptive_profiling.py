"""The replay study: its counts by hand, and a stored profile read as selection reads it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.profile_store import ERROR, JUDGED, ProfileStore

FILE = Path(__file__).parents[2] / "experiments" / "adaptive_profiling.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("adaptive_profiling", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_prefills_are_those_of_full_rows_of_branches(study):
    """Ten candidates a trunk, 32 branches a prefill: 2 rows of 8 points for 4 draws; one open point is one row more."""
    assert study.prefills(np.full(10, 4), 4, 4) == 2
    assert study.prefills(np.full(10, 32), 32, 32) == 10
    assert study.prefills(np.array([8] + [4] * 19), 4, 4) == (2 + 2 + 1) / 2


def test_agreement_by_hand(study):
    def outcome(*kept):
        return study.Outcome(np.full(4, 8), np.array(kept, bool), 1.0)

    found = {"fixed 32": outcome(1, 1, 0, 0), "one": outcome(1, 0, 1, 0)}
    row = study.measure(found, np.array([2, 10, 0, 32]), np.array([True, False, False, False]))["one"]
    means = {name: row[name]["mean"] for name in ("jaccard_k32", "missed", "surplus", "rare_recall", "jaccard_true")}
    expected = {"jaccard_k32": 1 / 3, "missed": 0.5, "surplus": 0.5, "rare_recall": 1.0, "jaccard_true": 0.5}
    assert means == pytest.approx(expected)
    assert row["samples"] == {"mean": 8.0, "ci95": [8.0, 8.0]}


def test_a_stored_profile_is_replayed(study, tmp_path):
    rng = np.random.default_rng(0)
    rewards = np.float32(rng.random((40, 32)) < rng.beta(0.3, 0.3, 40)[:, None])
    status = np.where(rng.random((40, 32)) < 0.1, ERROR, JUDGED).astype(np.int8)
    store = ProfileStore(tmp_path / "profile", {"weights": "abc"}, candidates=40, draws=32, tokens=3, chunk=16)
    for name, values in (("rewards/functional", rewards), ("status/functional", status)):
        store.write(name, values)
    store.write("lengths", np.full((40, 32), 2, np.int32))
    select = {"threshold": 0.7, "reward": "functional"}
    write_json(tmp_path / "config.json", {"profile": {"samples": 32}, "select": select})

    stored = study.load(tmp_path)
    assert np.array_equal(stored.rewards, rewards) and np.array_equal(stored.valid, status == JUDGED)
    assert stored.rule.threshold == 0.7 and stored.probability is None

    result = study.study("stored", stored.rewards, stored.valid, None, stored.rule)["stored"]
    arms = result["arms"]
    assert arms["fixed 32"]["jaccard_k32"]["mean"] == arms["adaptive, doubt 0.0"]["jaccard_k32"]["mean"] == 1.0
    assert arms["adaptive, doubt 0.0"]["samples"]["mean"] < 32
    uniform = [len(set(row[ok])) < 2 for row, ok in zip(rewards, stored.valid, strict=True)]
    assert result["uniform_at"]["32"] == np.mean(uniform)
    json.dumps(result, allow_nan=False)


def test_screened_candidates_are_no_pivots_and_cost_nothing(study, tmp_path):
    rewards = np.tile(np.float32([0, 1]), (4, 16))
    store = ProfileStore(tmp_path / "profile", {"weights": "abc"}, candidates=4, draws=32, tokens=3, chunk=4)
    store.write("rewards/functional", rewards)
    store.write("status/functional", np.full((4, 32), JUDGED, np.int8))
    store.write("lengths", np.full((4, 32), 2, np.int32))
    write_json(tmp_path / "config.json", {"profile": {"samples": 32}, "select": {"threshold": 0.8}})
    write_json(tmp_path / "profile" / study.LIKELIHOODS, {"logprobs": np.log([0.1, 0.85, 0.92, 0.995]).tolist()})
    stored = study.load(tmp_path)
    found = study.outcomes(stored.rewards, stored.valid, stored.rule, stored.probability)
    assert found["fixed 32"].kept.all()
    for level, kept in {0.8: [1, 0, 0, 0], 0.9: [1, 1, 0, 0], 0.95: [1, 1, 1, 0], 0.99: [1, 1, 1, 0]}.items():
        one, adaptive = found[f"fixed 32, screened at {level}"], found[f"adaptive, doubt 0.04, screened at {level}"]
        assert one.kept.tolist() == adaptive.kept.tolist() == [bool(keep) for keep in kept]
        assert one.drawn.tolist() == [32 * keep for keep in kept]
        assert all((adaptive.drawn > 0) == one.kept) and all(adaptive.drawn <= one.drawn)
    table = study.measure(found, stored.rewards.sum(axis=1).astype(int), None)
    assert table["fixed 32, screened at 0.9"]["samples"]["mean"] == 16
    assert table["fixed 32, screened at 0.9"]["jaccard_k32"]["mean"] == 0.5


def test_a_profile_with_too_few_draws_is_refused(study, tmp_path):
    write_json(tmp_path / "profile" / "store.json", {"candidates": 1, "tokens": 1, "chunk": 1})
    write_json(tmp_path / "config.json", {"profile": {"samples": 8}, "select": {}})
    with pytest.raises(SystemExit, match="needs 32"):
        study.load(tmp_path)
