"""Recorded rewards of the released verifiers: every one is reproduced, and a bad file is told by line and field."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.verify.vectors import VectorError, read_vectors, score_vectors

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "gym" / "vectors.jsonl"
SWE: dict[str, Any] = {
    "server": "swe_pivot",
    "desc": "another file",
    "config": {},
    "expected_action": {"type": "function_call", "name": "read", "arguments": '{"path": "/a/b"}'},
    "actual_calls": [{"type": "function_call", "name": "view", "arguments": '{"path": "/a/c"}'}],
    "reward": 0.0,
    "tool_name_match": True,
    "target_match": False,
    "similarity_score": None,
    "diff_size_penalty": None,
    "failure_reason": "target_mismatch",
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded vectors are not at hand")
def test_all_recorded_vectors_agree_in_rewards_components_and_failures() -> None:
    outcomes = score_vectors(read_vectors(RECORDED))
    assert Counter(one.vector.server for one in outcomes) == {
        "single_step_tool_use_with_argument_comparison": 40,
        "swe_pivot": 15,
        "terminus_judge(string_only)": 8,
    }
    assert [(one.vector.desc, one.differences) for one in outcomes if one.differences] == []
    compared = [name for one in outcomes for name, value in one.vector.recorded().items() if value is not None]
    assert Counter(compared) == {
        "reward": 63, "failure": 23, "similarity": 12, "tool_name": 15, "target": 11, "length_penalty": 2,
    }  # fmt: skip


def test_each_recorded_value_is_compared(tmp_path: Path) -> None:
    """A record that is changed in any one of its values disagrees in that value alone."""
    (clean,) = score_vectors(read_vectors(write(tmp_path / "a", SWE)))
    assert clean.differences == ()
    other = {
        "reward": 1.0, "tool_name_match": False, "target_match": True,
        "similarity_score": 0.5, "diff_size_penalty": 0.1, "failure_reason": "none",
    }  # fmt: skip
    for field, value in other.items():
        (outcome,) = score_vectors(read_vectors(write(tmp_path / "b", {**SWE, field: value})))
        shown = value if isinstance(value, str) else float(value)
        assert len(outcome.differences) == 1 and f"recorded {shown}, found" in outcome.differences[0], field


def test_an_absent_action_scores_zero_even_where_the_expert_spoke(tmp_path: Path) -> None:
    row = {
        "server": "single_step_tool_use_with_argument_comparison",
        "desc": "nothing at all",
        "config": {"word_count_similarity_threshold": 0.1},
        "expected_action": {"type": "message", "content": "hello"},
        "reward": 0.0,
    }
    spoke = {**row, "actual_action": {"type": "message", "content": ""}, "reward": 1.0}
    outcomes = score_vectors(read_vectors(write(tmp_path / "v", {**row, "actual_action": None}, "", spoke)))
    assert [one.differences for one in outcomes] == [(), ()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "v:2: not JSON"),
        ({"server": "other"}, "v:2: server: .*'other'"),
        ({**SWE, "reward": "high"}, "v:2: reward: .*number"),
        ({**SWE, "config": {"reward_mod": "binary"}}, "v:2: config.reward_mod: Extra"),
        ({**SWE, "actual_calls": [{"type": "function_call", "name": "f"}]}, "v:2: actual_calls.0.arguments: Field"),
        ({**SWE, "config": {"similarity_threshold": 0.9}}, "v:2: config: .*partial_credit=0.9 must be below"),
        ({name: value for name, value in SWE.items() if name != "desc"}, "v:2: desc: Field required"),
    ],
)
def test_a_bad_line_is_told_by_file_line_and_field(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        read_vectors(write(tmp_path / "v", SWE, row))


def test_a_line_ends_at_a_newline_and_at_nothing_else(tmp_path: Path) -> None:
    text = json.dumps({**SWE, "desc": "a\u2028b\x85c"}, ensure_ascii=False)
    assert [vector.desc for vector in read_vectors(write(tmp_path / "v", text, text))] == ["a\u2028b\x85c"] * 2


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="cannot be read: No such file"):
        read_vectors(tmp_path / "absent")
    with pytest.raises(VectorError, match="holds no vector"):
        read_vectors(write(tmp_path / "empty", "", " "))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(VectorError, match="not UTF-8"):
        read_vectors(tmp_path / "binary")


def test_an_error_verdict_never_agrees(tmp_path: Path) -> None:
    label = {"type": "function_call", "name": "f", "arguments": "{broken"}
    row = {
        "server": "single_step_tool_use_with_argument_comparison", "desc": "a label that does not parse",
        "config": {"word_count_similarity_threshold": 0.1},
        "expected_action": label, "actual_action": label, "reward": 0.0,
    }  # fmt: skip
    (outcome,) = score_vectors(read_vectors(write(tmp_path / "v", row)))
    assert outcome.differences == ("reward: recorded 0.0, found an error",)
