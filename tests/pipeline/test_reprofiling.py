"""Re-profiling in training: when it happens, what it changes and costs, and that a killed run ends the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pivot_jax.config import Config
from pivot_jax.config_files import validate
from pivot_jax.pipeline import reprofiling
from pivot_jax.pipeline import train as train_module
from pivot_jax.pipeline.arms import arm_run
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.checkpoint import Interrupted, newest_step
from pivot_jax.pipeline.metrics import read_metrics
from pivot_jax.pipeline.reprofiling import checks, pivots_from, reprofile_file
from pivot_jax.pipeline.run import open_run
from pivot_jax.pipeline.selection import load_pivots
from tests.pipeline.small_run import SMALL, do

pytestmark = pytest.mark.usefixtures("few_devices")

ARM = "again"
ALWAYS, NEVER = 1.0, 1e-9
CANDIDATES, SAMPLES = 10, 4


def config(run_dir: Path, below: float) -> Config:
    """Five steps, a check after the second and the fourth."""
    train = {"reprofile_below": below, "reprofile_candidates": CANDIDATES, "reprofile_samples": SAMPLES}
    values = {
        **SMALL,
        "run": {"dir": str(run_dir)},
        "data": {"tasks": 3, "domains": ["terminal"]},
        "export": {"arm": ARM, "path": str(run_dir / "out")},
        "arms": {ARM: {"method": "pivot_rl", "train": train}},
    }
    return validate(values, "test")


def trained(prepared: Path, run_dir: Path, below: float) -> Path:
    """A run that trains on from the selection of another one, with its own setting."""
    shutil.copytree(prepared, run_dir, dirs_exist_ok=True)
    (run_dir / "config.json").unlink()
    do("train", config(run_dir, below))
    return run_dir


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("prepared") / "run"
    for stage in ("candidates", "profile", "select"):
        do(stage, config(run_dir, ALWAYS))
    return run_dir


@pytest.fixture(scope="module")
def always(prepared, tmp_path_factory) -> Path:
    """Re-profiled at both checks."""
    return trained(prepared, tmp_path_factory.mktemp("always") / "run", ALWAYS)


def read(path: Path):
    return json.loads(path.read_text())


def outcome(run_dir: Path, below: float):
    """Weights, metrics, costs less their seconds, and re-profilings of a trained run."""
    do("export", config(run_dir, below))
    weights = {name: value.tobytes() for name, value in load_file(run_dir / "out" / "model.safetensors").items()}
    shutil.rmtree(run_dir / "out")
    files = {path.name: read(path) for path in (run_dir / "reprofiles").rglob("*.json")}
    costs = {"ledger": read(run_dir / "ledger.json")[ARM], "files": files}
    return weights, read_metrics(run_dir), json.loads(json.dumps(costs), object_hook=without_seconds)


def without_seconds(value: dict):
    return {key: inner for key, inner in value.items() if key != "seconds"}


def test_new_pivots_replace_the_old_ones_and_are_paid_for(always):
    files = {step: read(always / "reprofiles" / ARM / f"{step}.json") for step in (2, 4)}
    assert sorted(path.name for path in (always / "reprofiles" / ARM).iterdir()) == ["2.json", "4.json"]
    lines = {line.step: line.metrics["pivot/mixed_fraction"] for line in read_metrics(always)}
    for step, file in files.items():
        assert file["mixed_fraction_before"] == np.mean([lines[step - 1], lines[step]]) < ALWAYS
        assert file["candidates"] == CANDIDATES == sum(file["by_reason"].values()) and file["k"] == SAMPLES
        assert file["cost"]["rollout_turns"] == file["cost"]["verifier_calls"] == CANDIDATES * SAMPLES
        mixed = sum(0 < rate < 1 for rate in file["pass_rates"])
        assert file["kept"] == len(file["pivots"]) == mixed > 0
    own = arm_run(open_run(config(always, ALWAYS), "test"), ARM)
    original = load_pivots(own, ARM)
    for step, expected in ((0, 0), (2, 2), (3, 2), (4, 4)):
        points, start = pivots_from(own, ARM, step, original)
        assert start.step == expected and (points is original) == (step == 0)
        if expected:
            assert {point.candidate.id for point in points} == {pivot["id"] for pivot in files[expected]["pivots"]}
    profile, once = read(always / "ledger.json")[ARM]["profile"], read(always / "profile" / "cost.json")
    for name in ("rollout_turns", "flops", "verifier_calls", "prompt_tokens_computed"):
        assert profile[name] == once[name] + sum(file["cost"][name] for file in files.values())
    seconds = once["seconds"] + sum(file["cost"]["seconds"] for file in files.values())
    assert profile["seconds"] == pytest.approx(seconds)


def test_each_check_samples_other_actions_at_other_candidates(always):
    rates = {step: read(always / "reprofiles" / ARM / f"{step}.json")["pivots"] for step in (2, 4)}
    assert rates[2] != rates[4]


class Killed(BaseException):
    pass


MOMENTS = {
    "before its file": (reprofiling, "write_json", lambda arguments: True),
    "after its file": (train_module, "pivots_from", lambda arguments: arguments[2] == 2),
    "by a signal, a step later": (train_module, "pivot_step", lambda arguments: arguments[-1] == 2),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_as_the_uninterrupted_one(prepared, always, tmp_path, monkeypatch, moment):
    module, name, reached = MOMENTS[moment]
    real = getattr(module, name)

    def struck(*arguments):
        if reached(arguments):
            if "signal" not in moment:
                raise Killed
            os.kill(os.getpid(), signal.SIGTERM)  # the step is finished and saved
        return real(*arguments)

    monkeypatch.setattr(module, name, struck)
    with pytest.raises((Killed, Interrupted)):
        trained(prepared, tmp_path / "run", ALWAYS)
    assert (tmp_path / "run" / "reprofiles" / ARM / "2.json").exists() == (moment != "before its file")
    assert newest_step(tmp_path / "run", ARM) == (3 if "signal" in moment else 2)
    monkeypatch.setattr(module, name, real)
    do("train", config(tmp_path / "run", ALWAYS))
    assert outcome(tmp_path / "run", ALWAYS) == outcome(always, ALWAYS)


def test_checks_alone_change_nothing(prepared, tmp_path):
    """An arm that never re-profiles is trained in stretches, and ends as one that is trained in one go."""
    checked, plain = (trained(prepared, tmp_path / name, below) for name, below in (("checked", NEVER), ("plain", 0.0)))
    assert outcome(checked, NEVER) == outcome(plain, 0.0)
    assert not (checked / "reprofiles").exists()
    assert checks(config(checked, NEVER).for_arm(ARM).train) == [2, 4]
    assert checks(config(plain, 0.0).for_arm(ARM).train) == []


def test_the_old_pivots_stay_where_none_is_found(always, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(always, run_dir)
    (run_dir / "config.json").unlink()
    own = arm_run(open_run(config(run_dir, ALWAYS), "test"), ARM)
    original = load_pivots(own, ARM)
    second = {point.candidate.id for point in pivots_from(own, ARM, 2, original)[0]}
    files = {step: reprofile_file(own, ARM, step) for step in (2, 4)}
    write_json(files[4], {**read(files[4]), "pivots": [], "kept": 0})
    points, start = pivots_from(own, ARM, 4, original)
    assert {point.candidate.id for point in points} == second and start.step == 4
    assert start.charges["profile"].rollout_turns == CANDIDATES * SAMPLES  # paid for all the same
    write_json(files[2], {**read(files[2]), "pivots": [], "kept": 0})
    assert pivots_from(own, ARM, 4, original)[0] is original
