"""`pivot-jax verify`: exit codes, what is printed, what is written, and that vectors need no jax."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.cli import main
from pivot_jax.config_files import validate
from tests.pipeline.small_run import SMALL, do
from tests.verify.judge_server import Reply, running

RIGHT: dict[str, Any] = {
    "server": "single_step_tool_use_with_argument_comparison",
    "desc": "equal calls",
    "config": {"word_count_similarity_threshold": 0.1},
    "expected_action": {"type": "function_call", "name": "f", "arguments": "{}"},
    "actual_action": {"type": "function_call", "name": "f", "arguments": "{}"},
    "reward": 1.0,
}
WRONG = {**RIGHT, "desc": "a [bold] mistake", "reward": 0.25}


@pytest.fixture(autouse=True)
def devices(monkeypatch) -> None:
    """The command sets these where they are not set, for jax to read: this process has its jax already."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")


def verify(*words: str | Path) -> int:
    """The exit code of a command."""
    try:
        main(["verify", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_vectors_that_agree(tmp_path, capsys):
    assert verify("--vectors", write(tmp_path / "v.jsonl", RIGHT, RIGHT), "--json", tmp_path / "o.json") == 0
    words = capsys.readouterr().out.split()
    assert [words[words.index(RIGHT["server"]) + n] for n in (2, 4, 6)] == ["2", "2", "0"]
    assert json.loads((tmp_path / "o.json").read_text()) == {RIGHT["server"]: {"n": 2, "agree": 2, "disagreements": []}}


def test_a_vector_that_disagrees_is_described_and_the_code_is_one(tmp_path, capsys):
    assert verify("--vectors", write(tmp_path / "v.jsonl", RIGHT, WRONG), "--json", tmp_path / "o.json") == 1
    told = "reward: recorded 0.25, found 1.0"
    assert f"{RIGHT['server']}: a [bold] mistake: {told}" in capsys.readouterr().out
    (server,) = json.loads((tmp_path / "o.json").read_text()).values()
    assert server == {"n": 2, "agree": 1, "disagreements": [{"desc": "a [bold] mistake", "differences": [told]}]}


def test_a_bad_file_is_told_with_line_and_field_and_the_code_is_two(tmp_path, capsys):
    file = write(tmp_path / "v.jsonl", RIGHT, {**RIGHT, "reward": "high"})
    assert verify("--vectors", file) == 2
    assert capsys.readouterr().err.startswith(f"pivot-jax: {file}:2: reward: ")
    assert verify("--vectors", tmp_path / "absent") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "one of the arguments --vectors --audit --rescore is required"),
        (["--vectors", "v", "--audit", "r"], "not allowed with argument"),
        (["--rescore", "r"], "--rescore needs --verifier"),
        (["--audit", "r", "--verifier", "swe"], "belong to --rescore"),
        (["--rescore", "r", "--verifier", "sew"], "invalid choice: 'sew'"),
        (["--audit", "r", "--examples", "-1"], "--examples must not be negative"),
        (["--audit", "/nonexistent"], "/nonexistent: holds no config.json"),
    ],
)
def test_options_that_do_not_go_together(capsys, words, told):
    assert verify(*words) == 2
    assert told in capsys.readouterr().err


def test_vectors_need_no_jax(tmp_path):
    file = write(tmp_path / "v.jsonl", RIGHT)
    program = (
        "import sys\nfrom pivot_jax.cli import main\ntry: main(sys.argv[1:])\n"
        "except SystemExit as stop: code = stop.code\nprint(code, *{'jax', 'flax', 'transformers'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program, "verify", "--vectors", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["0"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A profiled run."""
    path = tmp_path_factory.mktemp("verify") / "run"
    values = {**SMALL, "run": {"dir": str(path)}, "data": {"tasks": 2, "domains": ["terminal"]}}
    config = validate({**values, "profile": {"samples": 2, "chunk": 16}}, "test")
    for stage in ("candidates", "profile"):
        do(stage, config)
    return path


def test_audit_and_rescore(run_dir, tmp_path, capsys):
    assert verify("--audit", run_dir, "--json", tmp_path / "before.json") == 0
    assert "Agreement (accepted: reward > 0)" in capsys.readouterr().out
    before = json.loads((tmp_path / "before.json").read_text())
    assert [one["verifier"] for one in before["verifiers"]] == ["exact", "functional", "tool_name"]
    options = ["--option", "string-threshold=0.5", "--option", "tool_call.reward_mode=f1"]
    again = ["--rescore", run_dir, "--verifier", "tool_call", *options, "--json", tmp_path / "after.json"]
    for _ in range(2):
        assert verify(*again) == 0
    after = json.loads((tmp_path / "after.json").read_text())
    assert after["agreements"][: len(before["agreements"])] != [] and after["actions"] == before["actions"]
    pairs = {(one["first"], one["second"]): one for one in after["agreements"]}
    assert all(pairs[one["first"], one["second"]] == one for one in before["agreements"])
    assert ("exact", "tool_call") in pairs and {one["reward"] for one in after["switches"]} == {
        "exact", "tool_name", "tool_call",
    }  # fmt: skip
    assert pairs["exact", "tool_call"]["only_first"] == 0  # what is exact matches
    capsys.readouterr()
    assert verify("--rescore", run_dir, "--verifier", "tool_call") == 2
    assert "verdicts of other settings are stored as 'tool_call'" in capsys.readouterr().err
    assert verify("--rescore", run_dir, "--verifier", "tool_call", "--as", "default") == 0
    assert verify("--rescore", run_dir, "--verifier", "swe", "--option", "swe.target") == 2
    assert "must be KEY=VALUE" in capsys.readouterr().err


def test_rescoring_with_a_judge_asks_it_about_each_action_once(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running(lambda *_: Reply('{"equivalent": true}')) as server:
        options = [f"judge.base_url={server.base_url}", "judge.model=m", f"judge.cache={tmp_path / 'kept'}"]
        words = [word for option in options for word in ("--option", option)]
        command = ["--rescore", run_dir, "--verifier", "judge", *words, "--json", tmp_path / "o.json"]
        assert verify(*command) == 0
        asked = len(server.bodies)
        assert verify(*command) == 0
        assert 0 < asked == len(server.bodies)
    found = json.loads((tmp_path / "o.json").read_text())
    pairs = {(one["first"], one["second"]): one for one in found["agreements"]}
    assert pairs["exact", "judge"]["only_first"] == 0
    assert "judge" in capsys.readouterr().out


def test_a_run_of_another_config_is_refused(run_dir, tmp_path, capsys):
    """config.json is changed by hand: the store was made from other samples."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for entry in run_dir.iterdir():
        if entry.name != "config.json":
            (copy / entry.name).symlink_to(entry)
    config = json.loads((run_dir / "config.json").read_text())
    config["sampling"]["temperature"] = 0.5
    (copy / "config.json").write_text(json.dumps(config))
    assert verify("--audit", copy) == 2
    assert "made with other settings" in capsys.readouterr().err
    (copy / "config.json").write_text("{")
    assert verify("--audit", copy) == 2
    assert "config.json:1:2: not JSON" in capsys.readouterr().err
