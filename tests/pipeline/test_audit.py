"""The audit of a run: its command, its file, its tables; and of recorded τ² trajectories."""

from __future__ import annotations

import io
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pivot_jax import cli
from pivot_jax.config import ConfigError
from pivot_jax.data.chat_jsonl import read_trajectories
from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import trunks
from pivot_jax.data.turns import candidates
from pivot_jax.pipeline.audit import audit_candidates
from pivot_jax.pipeline.audit_counts import audit_of
from pivot_jax.pipeline.audit_facts import facts_of
from pivot_jax.pipeline.audit_record import Audit, Failing, SelfScore, Spread
from pivot_jax.pipeline.audit_tables import print_audit
from pivot_jax.pipeline.candidates import Prepared
from pivot_jax.pipeline.run import open_run
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.tool_call import ToolCallMatch
from pivot_jax.verify.tool_name import ToolName
from tests.data.chatml import chatml_tokenizer, qwen3_tokenizer
from tests.pipeline.small_run import do, small_config

RECORDED = Path(__file__).parents[3] / "shared/data/tau2/trajectories"
FILES = sorted(RECORDED.glob("*.jsonl")) if RECORDED.exists() else []


@given(st.lists(st.integers(0, 30), min_size=1))
def test_a_spread_is_that_of_the_sorted_values(values: list[int]) -> None:
    spread = Spread.of(Counter(values))
    assert spread.mean == pytest.approx(np.mean(values))
    ranks = np.percentile(values, [50, 95, 100], method="inverted_cdf")
    assert [spread.median, spread.p95, spread.max] == ranks.tolist()


def test_the_command_writes_and_prints_the_audit_of_new_and_of_old_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_prepare_devices", lambda: None)
    config = tmp_path / "a.toml"
    run = tmp_path / "run"
    config.write_text(f'[run]\ndir = "{run}"\n[data]\ntasks = 6\ndomains = ["retail"]\nheld_out = 0.5\n')
    cli.main(["candidates", str(config), "--audit"])
    assert "Labels against themselves" in capsys.readouterr().out
    audit = Audit.model_validate_json((run / "audit.json").read_text())
    counted = json.loads((run / "candidates.json").read_text())
    assert audit.turns.total == counted["turns"]
    assert audit.turns.message == counted["message_turns"]
    assert audit.tools.calls == counted["tool_calls"]
    assert audit.prefixes.computed_tokens == counted["computed_tokens"]
    assert audit.split.held_out.trajectories == counted["held_out_trajectories"] > 0
    assert audit.split.training.tasks + audit.split.held_out.tasks == 6
    assert audit.labels.functional == "execution"
    assert set(audit.labels.scores) == {"functional", "tool_name", "exact"}
    assert all(score.passed == audit.turns.total for score in audit.labels.scores.values())
    (run / "audit.json").unlink()
    cli.main(["candidates", str(config), "--audit"])
    assert "candidates: complete, skipped" in capsys.readouterr().out
    assert Audit.model_validate_json((run / "audit.json").read_text()) == audit


@pytest.mark.parametrize("words", [["train", "--audit"], ["candidates", "--audit", "--dry-run"]])
def test_the_flag_belongs_to_the_stage(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text("")
    with pytest.raises(SystemExit, match="2"):
        cli.main([words[0], str(config), *words[1:]])
    assert "--audit belongs to the stage 'candidates'" in capsys.readouterr().err


def test_an_audit_needs_candidates(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", data={"tasks": 2, "domains": ["retail"]})
    run = open_run(config, "test")
    with pytest.raises(ConfigError, match="--audit: needs the stage 'candidates' first"):
        audit_candidates(run, Console(file=io.StringIO()))
    do("candidates", config)
    (run.dir / "trajectories.jsonl").write_text("")
    with pytest.raises(ConfigError, match="holds no trajectory"):
        audit_candidates(run, Console(file=io.StringIO()))


def recorded(file: Path, count: int, *, thinking: bool) -> Audit:
    """The audit of the first recorded trajectories, under the shipped ChatML template or Qwen3's."""
    tokenizer = qwen3_tokenizer("free") if thinking else chatml_tokenizer(keep_reasoning=False)
    verifiers = (ToolCallMatch(name="functional"), ToolName(), Exact())

    def prepared():
        for trajectory in islice(read_trajectories(file), count):
            rendered = render(trajectory, tokenizer)
            whole = Prepared(trajectory, rendered, trunks(rendered), candidates(trajectory))
            yield facts_of(whole, tokenizer, "hermes", verifiers)

    return audit_of(prepared(), [], "tool_call")


@pytest.mark.skipif(not FILES, reason="no recorded trajectories beside the repository")
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_trajectories(file: Path, thinking: bool) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:3]]
    # a recording opens with a greeting, which is no turn
    acts = [message for row in rows for message in row["messages"][1:] if message["role"] == "assistant"]
    names = Counter(call["function"]["name"] for act in acts for call in act.get("tool_calls") or [])
    audit = recorded(file, len(rows), thinking=thinking)
    assert audit.turns.total == len(acts)
    assert audit.tools.by_tool == dict(names)
    assert audit.turns.message == sum(not act.get("tool_calls") for act in acts)
    passed = SelfScore(passed=len(acts))
    assert audit.labels.scores == {"functional": passed, "tool_name": passed, "exact": passed}
    assert audit.prefixes.trunks == len(rows)
    preserved = not thinking or "solo" in file.stem  # Qwen3 shows an empty block in the last turn only, if a user spoke
    assert audit.prefixes.sequences == (len(rows) if preserved else len(acts))
    assert audit.leaks.searched == audit.reasoning.recorded == 0


def test_tables_list_what_is_wrong_and_take_no_markup(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", data={"tasks": 2, "domains": ["retail"]})
    do("candidates", config)
    audit = audit_candidates(open_run(config, "test"), Console(file=io.StringIO()))
    failing = tuple(
        Failing(candidate=f"t#{n}", verifier="exact", status="error", reward=0, reason="[red]no[/red]")
        for n in range(15)
    )  # fmt: skip
    told = io.StringIO()
    spoilt = audit.model_copy(update={"labels": audit.labels.model_copy(update={"failing": failing})})
    print_audit(spoilt, Console(file=told, width=140))
    assert "Labels that do not score 1 against themselves: 15" in told.getvalue()
    assert "not judged: [red]no[/red]" in told.getvalue()
    assert "t#11" in told.getvalue() and "t#12" not in told.getvalue() and "3 more" in told.getvalue()
