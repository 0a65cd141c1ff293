"""Recorded trajectories come in as the config says, and bad rows are counted, kept, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pivot_jax.config import Config
from pivot_jax.data.bpe_tokenizer import build_bpe_tokenizer
from pivot_jax.data.chat_jsonl import write_trajectories
from pivot_jax.data.failure import DataError
from pivot_jax.data.rendering import render
from pivot_jax.data.turns import turns
from pivot_jax.pipeline.recorded import REJECTS, for_base, for_candidates, recorded, rejected_rows, up_to
from pivot_jax.records import Message, ToolCall, Trajectory

GOOD = {
    "id": "one",
    "task_id": "t",
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}],
}


def section(path: Path, **fields: object):
    return Config.model_validate({"data": {"path": str(path), **fields}, "verifier": {"name": "tool_call"}}).data


def test_a_bad_row_fails_and_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{{broken\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: field \(whole row\): not JSON"):
        list(recorded(section(file), tmp_path))
    assert rejected_rows(section(file), tmp_path) == 0


def test_skipped_rows_are_set_aside_with_their_text(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{{broken\n{json.dumps({**GOOD, 'id': 'two'})}\n")
    told = section(file, on_bad_row="skip")
    assert [trajectory.id for trajectory in recorded(told, tmp_path)] == ["one", "two"]
    [reject] = [json.loads(line) for line in (tmp_path / REJECTS).read_text().splitlines()]
    assert (reject["line"], reject["row"]) == (2, "{broken")
    assert rejected_rows(told, tmp_path) == 1


def test_ids_and_tools_that_rows_lack_can_be_given(tmp_path: Path) -> None:
    file, tools = tmp_path / "rows.jsonl", tmp_path / "tools.json"
    file.write_text(json.dumps({"messages": GOOD["messages"]}) + "\n")
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "look"}}]))
    with pytest.raises(DataError, match="field id"):
        list(recorded(section(file), tmp_path))
    [trajectory] = recorded(section(file, make_ids=True, tools=str(tools)), tmp_path)
    assert trajectory.id == trajectory.task_id == "rows/1"
    assert [tool.name for tool in trajectory.tools] == ["look"]


def rows(path: Path, count: int, **fields: object) -> Path:
    path.write_text(
        "".join(json.dumps({**GOOD, "id": str(i), "task_id": str(i), **fields}) + "\n" for i in range(count))
    )
    return path


def test_every_task_goes_to_the_base_or_to_the_candidates(tmp_path: Path) -> None:
    told = section(rows(tmp_path / "rows.jsonl", 60), base_share=0.4)
    parts = [{item.task_id for item in part(told, tmp_path)} for part in (for_base, for_candidates)]
    assert all(parts) and not parts[0] & parts[1] and len(parts[0] | parts[1]) == 60


def test_trajectories_of_too_small_a_reward_or_none_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rewards = {"low": 0.5, "high": 1.0, "none": None}
    file.write_text(
        "".join(json.dumps({**GOOD, "id": name, "reward": reward}) + "\n" for name, reward in rewards.items())
    )
    assert [item.id for item in recorded(section(file, least_reward=1.0), tmp_path)] == ["high"]
    assert [item.id for item in recorded(section(file), tmp_path)] == list(rewards)


CALL = Message(role="assistant", tool_calls=(ToolCall(name="look", id="c"),))
LONG = Trajectory(
    id="long",
    task_id="t",
    messages=(
        Message(role="user", content="u" * 30), CALL, Message(role="tool", content="r" * 30, tool_call_id="c"),
        Message(role="assistant", content="a" * 30), Message(role="user", content="more"), CALL,
    ),
)  # fmt: skip


def test_long_tool_results_are_cut_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_trajectories(file, [LONG])
    [short] = recorded(section(file, tool_result=10), tmp_path)
    assert short.messages[2].content == "r" * 10 + " ..."
    assert [m for i, m in enumerate(short.messages) if i != 2] == [m for i, m in enumerate(LONG.messages) if i != 2]
    assert list(recorded(section(file, tool_result=30), tmp_path)) == [LONG]


def test_turns_beyond_the_longest_are_left_out(tmp_path: Path) -> None:
    tokenizer = build_bpe_tokenizer(["hello"], tmp_path / "tokenizer", 300)
    ends = [len(turn.state_ids) + len(turn.action_ids) for turn in render(LONG, tokenizer).turns]
    assert ends == sorted(ends) and len(ends) == 3
    for longest, kept in ((ends[0] - 1, 0), (ends[0], 1), (ends[1], 2), (ends[2] - 1, 2), (ends[2], 3), (0, 3)):
        found = up_to(LONG, tokenizer, longest)
        assert (len(turns(found)) if found else 0) == kept
        if found:
            assert found.messages == LONG.messages[: len(found.messages)] and found.messages[-1].role == "assistant"
