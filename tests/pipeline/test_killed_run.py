"""SIGKILL at any moment, and the same command again: the final table is that of an uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

OPTIONS = """
[run]
dir = "{run_dir}"
[data]
tasks = 4
[profile]
samples = 2
chunk = 16
[select]
threshold = 1.0
[sft]
steps = 4
trajectories_per_step = 4
checkpoint_every = 1
[train]
steps = 4
pivots_per_step = 4
group_size = 4
checkpoint_every = 1
[evaluate]
episodes = 4
questions = 2
max_turns = 4
batch = 16
"""


def start(config: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_NUM_CPU_DEVICES": "1"}
    words = [sys.executable, "-m", "pivot_jax.cli", "run", str(config)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def config(tmp_path: Path, name: str) -> Path:
    path = tmp_path / f"{name}.toml"
    path.write_text(OPTIONS.format(run_dir=tmp_path / name))
    return path


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
    return value


def table(run_dir: Path) -> Any:
    report = json.loads((run_dir / "report" / "report.json").read_text())
    return without_seconds({"arms": report["arms"], "pivots": report["pivots"], "differences": report["differences"]})


MILESTONES = (
    "trajectories.jsonl",
    "profile/seconds.json",
    "checkpoints/sft/2",
    "checkpoints/pivotrl/2",
    "evaluation/base.json",
)
"""Files of the run directory; the run is killed the moment that each first appears, so in the middle of each stage."""


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_same_table(tmp_path):
    whole = start(config(tmp_path, "whole"), tmp_path / "cache")
    output, _ = whole.communicate()
    assert whole.returncode == 0, output
    for milestone in MILESTONES:
        run = start(config(tmp_path, "killed"), tmp_path / "cache")
        while not (tmp_path / "killed" / milestone).exists():
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.02)
        run.kill()
        run.communicate()
        assert run.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed" / "report" / "report.json").exists()
    last = start(config(tmp_path, "killed"), tmp_path / "cache")
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert table(tmp_path / "whole") == table(tmp_path / "killed")
