"""`--dry-run`: what it says of the profile is what the run and its arms together will sample."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pivot_jax.pipeline.plan import print_plan
from tests.pipeline.small_run import small_config

SFT = {"sft": {"method": "sft"}}
UNLIKELY = {"profile": {"screen_above": 0.9}, "select": {"rule": "unlikely"}}


def pivotrl(**sections: dict[str, Any]) -> dict[str, Any]:
    return {"pivotrl": {"method": "pivot_rl", **sections}}


def profiling(run_dir, **sections: dict[str, Any]) -> str:
    told = io.StringIO()
    print_plan(small_config(run_dir, **sections), Console(file=told, width=200))
    (line,) = [line for line in told.getvalue().splitlines() if line.startswith("│ profile ")]
    return line.split("│")[2].strip()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"arms": SFT}, "4 actions a candidate, 100% of the trajectories"),
        ({"arms": SFT, "profile": {"share": 0.5}}, "4 actions a candidate, 50% of the trajectories"),
        ({"arms": SFT, "profile": {"screen_above": 0.9}}, "up to 4 actions a candidate, 100% of the trajectories"),
        ({"arms": pivotrl(profile={"screen_above": 0.9})}, "4 actions a candidate, 100% of the trajectories"),
        (
            {"arms": pivotrl(), **UNLIKELY},
            "no action sampled; demonstrated actions of 100% of the trajectories, one forward pass",
        ),
        (
            {"arms": pivotrl(select={"rule": "pivots"}), **UNLIKELY},
            "up to 4 actions a candidate, 100% of the trajectories",
        ),
    ],
)
def test_how_many_actions_a_profile_samples(sections, said, tmp_path):
    assert profiling(tmp_path, **sections) == said
