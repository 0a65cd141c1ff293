"""What a run directory holds, to compare one with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from safetensors.numpy import load_file

from pivot_jax.pipeline.metrics import read_metrics

SUMS = 1e-5
"""Bound on differences of float32 metrics and parameters between numbers of processes: gloo adds up what the devices
hold in another order than one process does, and four steps of Adam carry that on."""


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def stored(run_dir: Path, name: str) -> np.ndarray:
    folder = f"file://{run_dir / 'profile' / name}/"
    return tensorstore.open({"driver": "zarr3", "kvstore": folder}, open=True).result().read().result()


def policy(run_dir: Path) -> dict[str, np.ndarray]:
    return load_file(run_dir / "export" / "pivotrl" / "model.safetensors")


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
    return value


def assert_profiles_agree(one: Path, other: Path) -> None:
    """The same sampled tokens, verdicts and pivots; log-probs to rounding."""
    for name in ("tokens", "lengths", "finished", "rewards/functional", "rewards/exact", "status/functional"):
        np.testing.assert_array_equal(stored(one, name), stored(other, name), err_msg=name)
    gap = np.abs(stored(one, "behavior_logprobs") - stored(other, "behavior_logprobs"))
    assert gap.max() < 1e-4
    assert read(one / "pivots.json") == read(other / "pivots.json")
    assert read(one / "candidates.json") == read(other / "candidates.json")


def assert_training_agrees(one: Path, other: Path, arms: tuple[str, ...]) -> None:
    """The same costs and outcomes of every arm; metrics to rounding."""
    assert without_seconds(read(one / "ledger.json")) == without_seconds(read(other / "ledger.json"))
    for arm in ("base", *arms):
        results = [without_seconds(read(run_dir / "evaluation" / f"{arm}.json")) for run_dir in (one, other)]
        assert results[0] == results[1] and results[0]["in_domain"]["terminal"]["turns"]
    lines, others = read_metrics(one), read_metrics(other)
    assert [(line.stage, line.step) for line in lines] == [(line.stage, line.step) for line in others]
    for line, theirs in zip(lines, others, strict=True):
        assert line.metrics.keys() == theirs.metrics.keys()
        for name, value in line.metrics.items():
            assert theirs.metrics[name] == pytest.approx(value, rel=SUMS, abs=SUMS), name


def assert_policies_agree(one: Path, other: Path, file: str) -> None:
    """The exported arrays of this file, to rounding."""
    ours, theirs = load_file(one / "export" / file), load_file(other / "export" / file)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, atol=SUMS, err_msg=name)
