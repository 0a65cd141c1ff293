"""Config files and the command line: merging, overrides, and one clear message for every fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pivot_jax.cli import parse
from pivot_jax.config import Config, ConfigError
from pivot_jax.config_files import load

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_says_how_to_run_it(path):
    load([path])
    header = path.read_text().split("[")[0]
    assert header.startswith("#") and "pivot-jax" in header


def test_files_merge_left_to_right_then_overrides(tmp_path):
    (tmp_path / "a.toml").write_text("[loss]\nkl_coef = 0.1\nclip_low = 0.3\n[train]\nsteps = 7\n")
    (tmp_path / "b.toml").write_text("[loss]\nkl_coef = 0.2\n")
    stage, config, dry = parse(
        ["train", str(tmp_path / "a.toml"), str(tmp_path / "b.toml"), "--loss.clip-high", "0.28", "--dry-run"]
    )
    assert (stage, dry) == ("train", True)
    loss = config.loss
    assert (loss.kl_coef, loss.clip_low, loss.clip_high, config.train.steps) == (0.2, 0.3, 0.28, 7)
    assert config.sft == Config().sft


FAULTS = [
    ("[loss]\nkl_coeff = 1.0\n", [], r"loss\.kl_coeff: unknown key; did you mean 'kl_coef'"),
    ("[losss]\nkl_coef = 1.0\n", [], r"losss: unknown key; did you mean 'loss'"),
    ("[loss]\nkl_coef = -1.0\n", [], r"loss\.kl_coef: .*greater than or equal to 0.*got -1\.0"),
    ("[train.optimizer]\nlearning_rate = 'fast'\n", [], r"train\.optimizer\.learning_rate: .*got 'fast'"),
    ("[sampling]\ntemperature = 0.0\n", [], r"sampling\.temperature: 0 makes every action of a group equal"),
    ("[data]\npath = 'x.jsonl'\n", [], r"verifier\.name: 'execution' replays"),
    ("[loss\n", [], "not valid TOML"),
    ("", ["--loss.kl-coef", "-1"], r"loss\.kl_coef: Input should be greater than or equal to 0 \(got -1\.0\)"),
    ("", ["--loss.kl-coef", "many"], "kl-coef"),
    ("", ["--loss.kl-coeff", "1"], "kl-coeff"),
]


@pytest.mark.parametrize(("text", "options", "message"), FAULTS)
def test_faults_are_one_message_with_the_dotted_path(tmp_path, text, options, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        parse(["train", str(file), *options])


def test_the_process_exits_with_2_and_no_traceback(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[train]\nstepz = 3\n")
    for words in (["train", str(file)], ["train", str(tmp_path / "absent.toml")], ["trian", str(file)], ["train"]):
        done = subprocess.run([sys.executable, "-m", "pivot_jax.cli", *words], capture_output=True, text=True)
        assert done.returncode == 2, done
        assert done.stderr.startswith("pivot-jax: ") and "Traceback" not in done.stderr
    assert "no config file" in done.stderr
