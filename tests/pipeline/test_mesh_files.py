"""A mesh file changes where things are computed, and nothing of what is sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pivot_jax.config_files import load
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.profiling import open_store, profiled_points
from pivot_jax.pipeline.run import open_run
from tests.pipeline.small_run import do, small_config

MESHES = Path(__file__).parents[2] / "configs" / "mesh"


def test_a_profile_on_split_trunks_is_the_profile_on_whole_ones(tmp_path):
    stored = {}
    for name in ("cpu_8_context", "cpu_8_mixed"):
        mesh = load([MESHES / f"{name}.toml"]).mesh.model_dump()
        config = small_config(tmp_path / name, mesh=mesh, data={"tasks": 2, "domains": ["terminal"]})
        for stage in ("candidates", "profile"):
            do(stage, config)
        run = open_run(config, "test")
        store = open_store(run, profiled_points(load_prepared(run), 1.0))
        stored[name] = {field: store.read(field) for field in ("tokens", "behavior_logprobs", "rewards/functional")}
    split, whole = stored.values()
    assert (whole["tokens"] > 0).any(axis=-1).all()
    for field in ("tokens", "rewards/functional"):
        np.testing.assert_array_equal(split[field], whole[field])
    np.testing.assert_allclose(split["behavior_logprobs"], whole["behavior_logprobs"], atol=2e-5, rtol=1e-5)
