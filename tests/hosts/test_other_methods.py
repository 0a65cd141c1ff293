"""What `test_runs` leaves out: profiles that adapt and screen, a sampling mesh, adapters, E2E RL."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.pipeline.metrics import read_metrics
from tests.hosts.launching import run
from tests.hosts.run_directory import (
    assert_policies_agree,
    assert_profiles_agree,
    assert_training_agrees,
    read,
    stored,
)

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]

CONFIG = """
[run]
stages = ["candidates", "profile", "select", "train", "evaluate", "export"]
[mesh]
data = 2
fsdp = 2
tensor = 2
[sampling_mesh]
data = 4
fsdp = 2
[lora]
rank = 2
targets = ["query", "down"]
[data]
tasks = 3
domains = ["terminal"]
[sampling]
max_new_tokens = 16
[profile]
samples = 6
screen_above = 0.9
adaptive = true
least = 2
round_size = 2
chunk = 16
[select]
threshold = 1.0
[train]
steps = 2
pivots_per_step = 3
group_size = 4
[train.optimizer]
learning_rate = 1e-3
[e2e]
steps = 2
tasks_per_step = 2
group_size = 4
max_turns = 12
batch = 8
[evaluate]
episodes = 3
questions = 1
max_turns = 2
[arms.pivotrl]
method = "pivot_rl"
[arms.e2e]
method = "e2e_rl"
"""


def test_two_processes_do_as_one_does(tmp_path):
    (tmp_path / "small.toml").write_text(CONFIG)
    one, two = tmp_path / "of_1", tmp_path / "of_2"
    for count, run_dir in ((1, one), (2, two)):
        words = ["run", str(tmp_path / "small.toml"), f"--run.dir={run_dir}", "--export.arm=e2e"]
        run(count, words, tmp_path / "cache")
    assert_profiles_agree(one, two)
    draws = (stored(one, "lengths") > 0).sum(axis=1)
    assert set(draws.tolist()) <= {0, 2, 4, 6} and len(set(draws[draws > 0].tolist())) > 1  # some were decided earlier
    likelihoods = [read(run_dir / "profile" / "demonstrated.json")["logprobs"] for run_dir in (one, two)]
    np.testing.assert_allclose(*likelihoods, atol=1e-4)
    np.testing.assert_array_equal(draws == 0, np.exp(likelihoods[0]) >= 0.9)
    assert 0 < (draws == 0).sum() < len(draws)
    assert_training_agrees(one, two, ("pivotrl", "e2e"))
    for arm in ("pivotrl", "e2e"):
        assert any(line.metrics["pivot/mixed_fraction"] > 0 for line in read_metrics(one) if line.stage == arm), arm
    ledger = read(one / "ledger.json")
    assert all(ledger[arm]["reshard"]["seconds"] > 0 for arm in ("pivotrl", "e2e"))
    assert_policies_agree(one, two, "e2e/adapter/adapter_model.safetensors")
