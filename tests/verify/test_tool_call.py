from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pivot_jax.records import Action
from pivot_jax.verify.matching import maximum_matching
from pivot_jax.verify.tool_call import REFERENCE, ToolCallMatch, ToolCallRules, same_text
from tests.verify.candidates import calls, candidate

VECTORS = [json.loads(line) for line in (Path(__file__).parent / "tool_call_vectors.jsonl").read_text().splitlines()]

OPTION_NAMES = {
    "word_count_similarity_threshold": "string_threshold",
    "parallel_tool_call_rewarding": "parallel_rewarding",
    "parallel_tool_call_reward_mode": "reward_mode",
    "allow_subset": "allow_subset",
    "allow_superset": "allow_superset",
}


def action_of(row: dict[str, Any]) -> Action:
    """An action as the reference writes it."""
    if row["type"] == "message":
        return Action.say(row["content"])
    batch = row["calls"] if row["type"] == "function_call_batch" else [row]
    return calls(*((call["name"], call["arguments"]) for call in batch))


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: f"{row['desc']} at {row['config']}")
def test_agrees_with_the_reference(row: dict[str, Any]) -> None:
    options = {OPTION_NAMES[name]: value for name, value in row["config"].items()}
    rules = ToolCallRules(**{**REFERENCE.model_dump(), **options})
    verdict = ToolCallMatch(rules)(candidate(action_of(row["expected_action"])), action_of(row["actual_action"]))
    assert verdict.status == "judged"
    assert verdict.reward == pytest.approx(row["reward"], abs=1e-12)


def test_all_reference_rows_are_there() -> None:
    assert len(VECTORS) == 40


def test_surplus_calls_are_free_in_the_reference_and_cost_the_reward_here() -> None:
    expert = calls(("f", "{}"))
    greedy = calls(("g", "{}"), ("f", "{}"), ("f", "{}"))
    free, counted = ToolCallMatch(REFERENCE)(candidate(expert), greedy), ToolCallMatch()(candidate(expert), greedy)
    assert (free.reward, counted.reward) == (1.0, 0.0)
    assert free.components == counted.components == {"tool_name": 0.0, "arguments": 1.0, "surplus_calls": 2.0}


def test_components_tell_a_wrong_tool_from_wrong_arguments() -> None:
    expert = calls(("f", '{"a": 1}'), ("g", "{}"))
    wrong_argument = ToolCallMatch()(candidate(expert), calls(("g", "{}"), ("f", '{"a": 2}')))
    assert wrong_argument.components == {"tool_name": 1.0, "arguments": 0.5, "surplus_calls": 0.0}
    wrong_tool = ToolCallMatch()(candidate(expert), calls(("g", "{}"), ("h", '{"a": 1}')))
    assert wrong_tool.components == {"tool_name": 0.0, "arguments": 0.5, "surplus_calls": 0.0}


def test_messages_are_accepted_where_the_expert_spoke_and_only_there() -> None:
    verifier = ToolCallMatch(REFERENCE)
    assert verifier(candidate(Action.say("hello")), Action.say("")).reward == 1.0
    assert verifier(candidate(Action.say("hello")), calls(("f", "{}"))).reward == 0.0
    assert verifier(candidate(calls(("f", "{}"))), Action.say("f")).reward == 0.0
    speaks_and_calls = calls(("f", "{}")).model_copy(update={"content": "one moment"})
    assert verifier(candidate(calls(("f", "{}"))), speaks_and_calls).reward == 1.0


@pytest.mark.parametrize("hostile", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 10_000 + "}", "null", "", "\0"])
def test_unreadable_sampled_arguments_score_zero(hostile: str) -> None:
    verdict = ToolCallMatch()(candidate(calls(("f", '{"a": 1}'))), calls(("f", hostile)))
    assert (verdict.status, verdict.reward) == ("judged", 0.0)


def test_allowing_and_counting_surplus_calls_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="count_calls=true refuses"):
        ToolCallRules(parallel_rewarding=True, allow_superset=True)


@pytest.mark.parametrize(
    ("expected", "actual", "overlap"),
    [
        ("the red car", "a red car", 2 / 6),
        ("go go go", "go stop", 1 / 5),
        ("New York", "york NEW", 0.5),
        ("one two", "three four", 0.0),
    ],
)
def test_word_overlap_by_hand(expected: str, actual: str, overlap: float) -> None:
    assert same_text(expected, actual, overlap)
    assert not same_text(expected, actual, overlap + 1e-9)


def test_single_words_are_compared_as_they_stand() -> None:
    assert same_text("Paris", "Paris", 0.9)
    assert not same_text("Paris", "paris", 0.0)
    assert not same_text("a b", "a", 0.0)


def test_matching_equals_trying_every_assignment() -> None:
    rng = random.Random(0)
    for _ in range(300):
        rows, columns = rng.randint(1, 4), rng.randint(0, 4)
        compatible = [[rng.random() < 0.4 for _ in range(columns)] for _ in range(rows)]
        # A row left alone is a row paired with one of as many extra columns that suit nobody.
        padded = [row + [False] * rows for row in compatible]
        assignments = itertools.permutations(range(columns + rows), rows)
        best = max(sum(padded[row][column] for row, column in enumerate(chosen)) for chosen in assignments)
        assert maximum_matching(compatible) == best
