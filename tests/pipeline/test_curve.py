"""Learning curves: every kept checkpoint is played once, with what its arm had cost by then."""

from __future__ import annotations

import json
import signal

import pytest

from pivot_jax.config import ConfigError
from pivot_jax.pipeline import curve
from tests.pipeline.small_run import do, small_config

pytestmark = pytest.mark.usefixtures("few_devices")

RUN = {"arms": ["random_strict"], "keep_checkpoints": True}
TRAIN = {"steps": 4, "pivots_per_step": 4, "group_size": 2, "checkpoint_every": 2}
ARMS = {"random_strict": {"method": "pivot_rl", "select": {"rule": "random"}, "train": {"reward": "exact"}}}
SECTIONS = {"train": TRAIN, "arms": ARMS, "evaluate": {"curve_episodes": 3}}


def test_a_point_for_every_checkpoint_with_rising_costs(tmp_path, monkeypatch):
    def signals():
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    outside, play, playing = signals(), curve.play_suites, []
    monkeypatch.setattr(curve, "play_suites", lambda *given: (playing.append(signals()), play(*given))[1])
    config = small_config(tmp_path / "run", run=RUN, **SECTIONS)
    for stage in ("candidates", "train", "curve"):
        do(stage, config)
    points = json.loads((tmp_path / "run" / "curves" / "random_strict.json").read_text())
    assert [point["step"] for point in points] == [2, 4]
    assert playing == [outside] * 2  # a SIGTERM stops the episodes: no training loop is there to see it
    assert all(set(point["successes"]) == {"retail", "terminal"} and point["episodes"] == 3 for point in points)
    assert points[1]["cost"]["rollout_turns"] == 2 * points[0]["cost"]["rollout_turns"] == 2 * 2 * 4 * 2
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())["random_strict"]
    assert points[1]["cost"]["sampled_tokens"] == ledger["rollout"]["sampled_tokens"]
    first = (tmp_path / "run" / "curves" / "random_strict.json").read_bytes()
    do("curve", config)
    assert (tmp_path / "run" / "curves" / "random_strict.json").read_bytes() == first


def test_checkpoints_must_have_been_kept(tmp_path):
    config = small_config(tmp_path / "run", run={**RUN, "keep_checkpoints": False}, **SECTIONS)
    do("candidates", config)
    with pytest.raises(ConfigError, match=r"run\.keep_checkpoints"):
        do("curve", config)
