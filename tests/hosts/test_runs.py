"""The whole method on 1, 2 and 4 processes: one result; and on 4 of which some are stopped or killed."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pivot_jax.pipeline.metrics import read_metrics
from tests.hosts.launching import LIMIT, endings, launched, run, wait_for
from tests.hosts.run_directory import (
    assert_policies_agree,
    assert_profiles_agree,
    assert_training_agrees,
    policy,
    read,
    stored,
    without_seconds,
)

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]

CONFIG = """
[run]
stages = ["candidates", "profile", "select", "train", "evaluate", "export"]
[mesh]
data = 2
fsdp = 2
tensor = 2
[data]
tasks = 3
domains = ["terminal"]
[sampling]
max_new_tokens = 8
[profile]
samples = 4
chunk = 16
[select]
threshold = 1.0
[train]
steps = 4
pivots_per_step = 3
group_size = 4
checkpoint_every = 2
[train.optimizer]
learning_rate = 1e-3
[evaluate]
episodes = 3
questions = 1
max_turns = 2
[arms.pivotrl]
method = "pivot_rl"
"""
COUNTS = (1, 2, 4)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hosts") / "small.toml"
    path.write_text(CONFIG)
    return path


def command(config: Path, run_dir: Path) -> list[str]:
    return ["run", str(config), f"--run.dir={run_dir}", "--export.arm=pivotrl"]


@pytest.fixture(scope="module")
def finished(config) -> Callable[[int], Path]:
    """The run directory of a whole run on so many processes; each is run once."""

    @cache
    def run_dir(count: int) -> Path:
        path = config.parent / f"of_{count}"
        run(count, command(config, path), config.parent / "cache")
        return path

    return run_dir


@pytest.mark.parametrize("count", COUNTS[1:])
def test_several_processes_profile_and_select_as_one_does(finished, count):
    one = finished(1)
    assert_profiles_agree(one, finished(count))
    assert (stored(one, "lengths") > 0).all() and 0 < stored(one, "rewards/functional").mean() < 1
    assert len(read(one / "pivots.json")["pivots"]) > 1


@pytest.mark.parametrize("count", COUNTS[1:])
def test_several_processes_train_and_evaluate_as_one_does(finished, count):
    one = finished(1)
    assert_training_agrees(one, finished(count), ("pivotrl",))
    assert [line.step for line in read_metrics(one)] == [1, 2, 3, 4]
    assert_policies_agree(one, finished(count), "pivotrl/model.safetensors")


def untrained(finished: Path, run_dir: Path) -> None:
    """A copy of a run as it was before its arm was trained."""
    shutil.copytree(finished, run_dir)
    for name in ("checkpoints", "evaluation", "export"):
        shutil.rmtree(run_dir / name)
    (run_dir / "metrics.jsonl").unlink()
    manifest = read(run_dir / "manifest.json")
    for stage in ("train", "evaluate", "export"):
        del manifest["stages"][stage]
    (run_dir / "manifest.json").write_text(json.dumps(manifest))


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same policy, metrics and outcomes, bit for bit."""
    ours, theirs = policy(one), policy(other)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    assert read_metrics(one) == read_metrics(other)
    assert without_seconds(read(one / "ledger.json")) == without_seconds(read(other / "ledger.json"))
    for arm in ("base", "pivotrl"):
        results = [without_seconds(read(run_dir / "evaluation" / f"{arm}.json")) for run_dir in (one, other)]
        assert results[0] == results[1]


def test_a_process_killed_in_training_ends_the_others_and_the_same_command_resumes(finished, config, tmp_path):
    words, compiled = command(config, tmp_path / "killed"), config.parent / "cache"
    untrained(finished(4), tmp_path / "killed")
    checkpoints = tmp_path / "killed" / "checkpoints" / "pivotrl"
    with launched(4, words, compiled) as started:
        wait_for(checkpoints / "2", started)
        killed = time.monotonic()
        started[2].kill()
        ended = endings(started)
    assert time.monotonic() - killed < 60
    assert ended[2][0] == -signal.SIGKILL
    for process in (0, 1, 3):
        code, error = ended[process]
        assert code == 75, error
        assert "pivot-jax: process 2 was lost: no sign of life for 12 s" in error
        assert "the same command on all hosts continues" in error
    assert not (checkpoints / "4").exists()
    run(4, words, compiled)
    assert_equal_runs(finished(4), tmp_path / "killed")


def test_sigterm_to_one_process_stops_all_at_one_step_and_the_first_one_may_be_lost(finished, config, tmp_path):
    words, compiled = command(config, tmp_path / "stopped"), config.parent / "cache"
    untrained(finished(2), tmp_path / "stopped")
    with launched(2, words, compiled) as started:
        wait_for(tmp_path / "stopped" / "metrics.jsonl", started)
        started[1].terminate()
        told = [process.communicate(timeout=LIMIT) for process in started]
        assert [process.returncode for process in started] == [0, 0], told
    spoken = " ".join(told[0][0].split())
    assert "saved in" in spoken and "the same command continues from there" in spoken
    assert "train" not in read(tmp_path / "stopped" / "manifest.json")["stages"]
    with launched(2, words, compiled) as started:
        wait_for(tmp_path / "stopped" / "evaluation" / "base.json", started)
        started[0].kill()
        code, error = endings(started)[1]
        assert code == 75 and "process 0, which coordinates" in error, error
    run(2, words, compiled)
    assert_equal_runs(finished(2), tmp_path / "stopped")
