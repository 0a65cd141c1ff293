"""SIGKILL at any moment, and the same command again: the final table is that of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
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


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_table(tmp_path):
    whole = start(config(tmp_path, "whole"), tmp_path / "cache")
    output, _ = whole.communicate()
    assert whole.returncode == 0, output
    draw, killed = random.Random(0), 0
    for attempt in range(30):
        run = start(config(tmp_path, "killed"), tmp_path / "cache")
        try:
            # later attempts live longer, so that the run gets on
            output, _ = run.communicate(timeout=draw.uniform(4, 12) + attempt)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            killed += 1
            continue
        assert run.returncode == 0, output
        break
    assert killed >= 2, "the run was too fast to be killed: shorten the time limits"
    assert table(tmp_path / "whole") == table(tmp_path / "killed")
