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
    ("", ["--data.path", "x.jsonl"], r"^overrides: verifier\.name: 'execution' replays"),
    ("[arms.x]\nmethod = 'pivot_rl'\ntrain = { rewrd = 'exact' }\n", [],
     r"arms\.x\.train\.rewrd: unknown key; did you mean 'reward'"),
    ("[arms.x]\nmethod = 'pivot_rl'\ntrian = { reward = 'exact' }\n", [],
     r"arms\.x\.trian: unknown key; did you mean 'train'"),
    ("[arms.x]\nmethod = 'pivot_rl'\ntrain = { optimizer = { learning_rate = -1 } }\n", [],
     r"arms\.x\.train\.optimizer\.learning_rate: .*greater than 0 \(got -1\)"),
    ("[arms.x]\nmethod = 'pivot_rl'\nselect = { threshold = 0.0 }\n[select]\nkeep_all_zero = true\n", [],
     r"arms\.x: select\.threshold: 0 exclusive keeps nothing"),
    ("[arms.x]\nmethod = 'ppo'\n", [], r"arms\.x\.method: .*'sft', 'pivot_rl' or 'e2e_rl' \(got 'ppo'\)"),
    ("[arms.x]\nmethod = 'sft'\nloss = { kl_coef = 0 }\n", [], r"arms\.x: method 'sft' reads .*, not loss"),
    ("[arms.x]\nmethod = 'pivot_rl'\nprofile = { samples = 8 }\n", [], r"arms\.x\.profile: samples=8, .* is more than"),
    ("[profile]\nsamples = 8\nadaptive = true\nleast = 9\n", [], r"profile: least=9 is more than samples=8"),
    ("[profile]\nadaptive = true\n[arms.x]\nmethod = 'pivot_rl'\nprofile = { samples = 2 }\n", [],
     r"arms\.x\.profile: least=4 is more than samples=2"),
    ("[profile]\nadaptive = true\n[select]\nrule = 'random'\n", [], r"profile\.adaptive: select\.rule = 'random'"),
    ("[profile]\nscreen_above = 0.9\n[select]\nrule = 'random'\n", [],
     r"profile\.screen_above: select\.rule = 'random'"),
    ("[select]\nrule = 'unlikely'\n", [], r"profile\.screen_above: select\.rule = 'unlikely' keeps what is below it"),
    ("[profile]\nscreen_above = 0.9\nadaptive = true\n[select]\nrule = 'unlikely'\n", [],
     r"profile\.adaptive: select\.rule = 'unlikely' looks at no sample"),
    ("[train]\nreprofile_below = 0.2\n[select]\nrule = 'random'\n", [],
     r"train\.reprofile_below: select\.rule = 'random'"),
    ("[arms.x]\nmethod = 'pivot_rl'\nselect = { rule = 'random' }\ntrain = { reprofile_below = 0.2 }\n", [],
     r"arms\.x: train\.reprofile_below: select\.rule = 'random'"),
    ("[evaluate]\nother_domains = ['retail']\n", [],
     r"evaluate\.other_domains: 'retail' is trained on \(data\.domains\)"),
    ("[data]\npath = 'x.jsonl'\n[verifier]\nname = 'tool_call'\n[evaluate]\nother_domains = ['coding']\n", [],
     r"evaluate\.other_domains: no policy made of recorded trajectories"),
    ("[select]\nsignal_share = 0.0\n", [], r"select\.signal_share: .*greater than 0"),
    ("[arms.base]\nmethod = 'sft'\n", [], r"arms\.base: .*'base' is reserved"),
    ("[arms.No-KL]\nmethod = 'sft'\n", [], r"arms\.No-KL: a name is made of a-z"),
    ("[arms.x]\nmethod = 'sft'\n[run]\narms = ['sft']\n", [], r"run\.arms: unknown arm 'sft'; the arms are x"),
    ("", ["--run.arms", "sftt"], r"^overrides: run\.arms: unknown arm 'sftt'; the arms are sft, pivotrl"),
    ("[arms.x]\nmethod = 'pivot_rl'\ntrain = { reward = 'exact' }\n", ["--arms.x.train.reward", "strict"],
     r"^overrides: arms\.x\.train\.reward: Input should be"),
    ("[arms.x]\nmethod = 'pivot_rl'\n", ["--arms.x.train.steps", "3"], "only keys that a config file sets"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "options", "message"), FAULTS)
def test_faults_are_one_message_with_the_dotted_path(tmp_path, text, options, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        parse(["train", str(file), *options])


ARMS = """
[profile]
samples = 8
[arms.sft]
method = "sft"
[arms.random_strict]
method = "pivot_rl"
select = { rule = "random" }
train = { reward = "exact", optimizer = { learning_rate = 1e-3 } }
[arms.few_samples]
method = "pivot_rl"
profile = { samples = 2 }
"""


def test_an_arm_sees_its_tables_over_the_sections_and_no_other_arm(tmp_path):
    (tmp_path / "a.toml").write_text(ARMS)
    _, config, _ = parse(["train", str(tmp_path / "a.toml"), "--train.steps", "7", "--loss.kl-coef", "0.5"])
    assert list(config.arms) == ["sft", "random_strict", "few_samples"]
    own = config.for_arm("random_strict")
    assert (own.select.rule, own.train.reward, own.train.optimizer.learning_rate) == ("random", "exact", 1e-3)
    assert (own.train.steps, own.loss.kl_coef, own.train.optimizer.b2) == (7, 0.5, config.train.optimizer.b2)
    assert list(own.arms) == ["random_strict"] and own == own.for_arm("random_strict")
    assert config.for_arm("few_samples").profile.samples == 2
    plain = config.for_arm("sft")
    sections = set(Config.model_fields) - {"arms"}
    assert all(getattr(plain, name) == getattr(config, name) for name in sections)


def test_the_control_takes_no_part_in_how_the_others_profile(tmp_path):
    (tmp_path / "a.toml").write_text(ARMS + "[train]\nreprofile_below = 0.2\n")
    _, config, _ = parse(["train", str(tmp_path / "a.toml"), "--profile.adaptive", "--profile.least", "2"])
    control, other = config.for_arm("random_strict"), config.for_arm("few_samples")
    assert (control.profile.adaptive, control.train.reprofile_below) == (False, 0.0)
    assert (other.profile.adaptive, other.train.reprofile_below, other.profile.least) == (True, 0.2, 2)


def test_arms_are_picked_in_the_order_of_the_table_and_overridden_where_a_file_sets_them(tmp_path):
    assert list(Config().arms) == ["sft", "pivotrl"] == list(Config().chosen_arms)
    (tmp_path / "a.toml").write_text(ARMS)
    words = ["--run.arms", "few_samples", "sft", "--arms.few-samples.profile.samples", "3"]
    _, config, _ = parse(["train", str(tmp_path / "a.toml"), *words])
    assert config.chosen_arms == ("sft", "few_samples")
    assert config.for_arm("few_samples").profile.samples == 3


def test_the_process_exits_with_2_and_no_traceback(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[train]\nstepz = 3\n")
    for words in (["train", str(file)], ["train", str(tmp_path / "absent.toml")], ["trian", str(file)], ["train"]):
        done = subprocess.run([sys.executable, "-m", "pivot_jax.cli", *words], capture_output=True, text=True)
        assert done.returncode == 2, done
        assert done.stderr.startswith("pivot-jax: ") and "Traceback" not in done.stderr
    assert "no config file" in done.stderr
