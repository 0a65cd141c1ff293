"""What is refused before any process waits for another."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from pivot_jax.config import ConfigError
from pivot_jax.config_files import validate
from pivot_jax.pipeline.run import pin_config
from tests.hosts.launching import endings, free_port, launched


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"processes": 4}, "hosts: launch='single' takes no coordinator, processes or process; use launch='given'"),
        ({"launch": "detect", "process": 1}, "hosts: launch='detect' takes no coordinator"),
        ({"launch": "given", "processes": 4}, "hosts: coordinator='' is not HOST:PORT, which launch='given' needs"),
        (
            {"launch": "given", "coordinator": "a:1", "processes": 2, "process": 2},
            "process=2 must be below processes=2",
        ),
        ({"lost_seconds": 90}, "hosts.lost_seconds: Input should be less than or equal to 40"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate({"hosts": section}, "test")


def test_how_a_run_is_launched_is_not_pinned(tmp_path):
    pin_config(tmp_path, validate({"run": {"dir": str(tmp_path)}}, "test"))
    hosts = {"launch": "given", "coordinator": "node0:1234", "processes": 2, "process": 1}
    pin_config(tmp_path, validate({"run": {"dir": str(tmp_path)}, "hosts": hosts}, "test"))


@pytest.mark.parametrize(
    ("launch", "code", "message"),
    [
        (["--hosts.launch=detect"], 2, "found no TPU pod, Slurm or Kubernetes job here; use launch='given'"),
        (["--hosts.launch=given", "--hosts.processes=2", "--hosts.process=1", "--hosts.start-seconds=2"], 75,
         "was lost or never started"),
    ],
)  # fmt: skip
def test_a_process_that_finds_no_others_says_so(tmp_path, launch, code, message):
    config = tmp_path / "empty.toml"
    config.write_text("")
    where = [f"--hosts.coordinator=localhost:{free_port()}"] if "--hosts.launch=given" in launch else []
    words = [sys.executable, "-m", "pivot_jax.cli", "candidates", str(config), f"--run.dir={tmp_path / 'run'}"]
    ended = subprocess.run(
        [*words, *launch, *where], env={**os.environ}, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == code, ended.stderr
    assert message in ended.stderr and not (tmp_path / "run").exists()


def test_a_process_that_ends_with_a_fault_says_why_and_the_others_end_with_it(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text('[data]\ntasks = 1\ndomains = ["terminal"]')
    words = ["candidates", str(config), f"--run.dir={tmp_path / 'run'}"]
    with launched(2, words, tmp_path / "cache", last=["--loss.kl-coef=0.5"]) as started:
        (first, told), (second, error) = endings(started)
    assert second == 2 and "pivot-jax: process 1: " in error and "loss.kl_coef: was 0.03, now 0.5" in error
    assert first == 75 and "loss.kl_coef: was 0.03, now 0.5; this is process 0, which ends too" in told
