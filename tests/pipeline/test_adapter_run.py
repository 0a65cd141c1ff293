"""Adapters through a whole run: trained, killed, resumed bit-equal, evaluated, exported merged and as PEFT has them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pivot_jax.config import Config
from pivot_jax.pipeline import export as export_module
from pivot_jax.pipeline import train as train_module
from pivot_jax.pipeline.checkpoint import Interrupted
from pivot_jax.pipeline.run import base_policy_dir
from tests.pipeline.small_run import do, small_config

pytestmark = pytest.mark.usefixtures("few_devices")

RANK, ALPHA = 2, 6.0
SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"tasks": 3, "domains": ["retail"]},
    "lora": {"rank": RANK, "alpha": ALPHA, "targets": ["query", "down"]},
    "evaluate": {"episodes": 2, "questions": 1, "max_turns": 2, "batch": 16},
    "train": {"steps": 3, "checkpoint_every": 1},
    "run": {"arms": ["pivotrl"]},
}


def adapter_config(run_dir: Path, **sections: dict[str, Any]) -> Config:
    return small_config(run_dir, **SECTIONS, **sections)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An uninterrupted run of all stages, exported."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    for stage in ("run", "export"):
        do(stage, adapter_config(run_dir))
    return run_dir


def test_the_adapter_is_what_separates_the_export_from_the_base(finished):
    out = finished / "export" / "pivotrl"
    exported, base = load_file(out / "model.safetensors"), load_file(base_policy_dir() / "model.safetensors")
    adapter = load_file(out / "adapter" / "adapter_model.safetensors")
    told = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"]) == (RANK, ALPHA) and set(told["target_modules"]) == {"q_proj", "down_proj"}
    moved = set()
    for name, weight in exported.items():
        module = "base_model.model." + name.removesuffix(".weight")
        expected = base[name].astype(np.float32)
        if f"{module}.lora_A.weight" in adapter:
            change = ALPHA / RANK * adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"]
            assert np.abs(change).max() > 1e-6, name
            expected = expected + change
            moved.add(name.split(".")[-2])
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-6, err_msg=name)
    assert moved == {"q_proj", "down_proj"}


def test_it_is_evaluated_with_its_adapters_and_reported(finished):
    report = json.loads((finished / "report" / "report.json").read_text())
    assert list(report["arms"]) == ["base", "pivotrl"]
    checkpoints = [path.name for path in (finished / "checkpoints" / "pivotrl").iterdir()]
    assert {"2", "3"} <= set(checkpoints)
    # nothing but the adapters is kept: far less than the 3.4 MB of the policy
    size = sum(
        path.stat().st_size for path in (finished / "checkpoints" / "pivotrl" / "3").rglob("*") if path.is_file()
    )
    assert size < 1_000_000


def test_a_killed_and_resumed_run_exports_the_same_bytes(finished, tmp_path, monkeypatch):
    run_dir = tmp_path / "resumed"
    shutil.copytree(finished, run_dir)
    for name in ("checkpoints", "evaluation", "report", "export"):
        shutil.rmtree(run_dir / name)
    (run_dir / "metrics.jsonl").unlink()
    manifest = json.loads((run_dir / "manifest.json").read_text())
    for stage in ("train", "evaluate", "export"):
        del manifest["stages"][stage]
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    real_step = train_module.pivot_step

    def struck(*arguments):
        if arguments[-1] == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real_step(*arguments)

    monkeypatch.setattr(train_module, "pivot_step", struck)
    with pytest.raises(Interrupted):
        do("train", adapter_config(run_dir))
    monkeypatch.setattr(train_module, "pivot_step", real_step)
    do("train", adapter_config(run_dir))
    do("export", adapter_config(run_dir))
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        whole, resumed = (path / "export" / "pivotrl" / file for path in (finished, run_dir))
        assert whole.read_bytes() == resumed.read_bytes(), file


def test_an_export_that_fails_at_the_adapters_leaves_nothing(finished, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(export_module, "write_adapters", fail)
    again = adapter_config(finished, export={"path": str(tmp_path / "out")})
    with pytest.raises(OSError, match="disk full"):
        do("export", again)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    do("export", again)  # what was left beside it is no hindrance
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
