"""Recorded trajectories come in as the config says, and bad rows are counted, kept, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pivot_jax.config import Config
from pivot_jax.data.failure import DataError
from pivot_jax.pipeline.recorded import REJECTS, recorded, rejected_rows

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
