"""Comparison of tool calls and their arguments: the field's reference rules, each as an option.

The rules are those of the published single-step tool-use verifier (NeMo-Gym). It lets surplus calls go free, and a
policy trained on it learns to call ever more tools; so here they cost the reward unless the rules say otherwise.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, model_validator

from pivot_jax.config_verifier import ToolCallOptions
from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.arguments import expert_arguments, sampled_arguments
from pivot_jax.verify.matching import maximum_matching
from pivot_jax.verify.tool_name import tool_names

FLOAT_TOLERANCE = 1e-6


class ToolCallRules(ToolCallOptions):
    """How calls are compared and rewarded.

    string_threshold: least word overlap of two strings of two or more words, 0 to 0.5 (equal strings overlap by 0.5).
    count_calls: a surplus call costs the reward.
    """

    string_threshold: float = Field(default=0.1, ge=0.0)
    count_calls: bool = True

    @model_validator(mode="after")
    def _surplus_is_allowed_or_counted(self) -> ToolCallRules:
        if self.allow_superset and self.count_calls:
            raise ValueError("allow_superset=true accepts surplus calls, count_calls=true refuses them; unset one")
        return self


REFERENCE = ToolCallRules(count_calls=False)
"""The reference's behaviour with its own defaults."""


@dataclass(frozen=True)
class ToolCallMatch:
    """Scores an action by its tool calls, compared with the expert's under `rules`.

    Any message is accepted where the expert spoke (its text is not compared, and may be empty). Components:
    `tool_name`, 1 if the decision and the names agree; `arguments`, the share of the expected calls that were matched
    in name and arguments; `surplus_calls`, calls beyond the expected number.
    """

    rules: ToolCallRules = field(default_factory=ToolCallRules)
    name: str = "tool_call"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label's arguments do not parse."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        expected = candidate.expert.tool_calls
        wanted = expert_arguments(candidate)
        surplus = max(0, len(action.tool_calls) - len(expected))
        components = {
            "tool_name": float(tool_names(candidate.expert) == tool_names(action)),
            "surplus_calls": float(surplus),
        }
        if not expected:
            return Verdict(
                reward=float(not action.tool_calls),
                components={**components, "arguments": 1.0},
                reason="called where the expert spoke" if action.tool_calls else "",
            )
        given = [sampled_arguments(call) for call in action.tool_calls]
        matched = maximum_matching(
            [
                [
                    label.name == call.name and same_value(arguments, sampled, self.rules.string_threshold)
                    for call, sampled in zip(action.tool_calls, given, strict=True)
                ]
                for label, arguments in zip(expected, wanted, strict=True)
            ]
        )
        reward = batch_reward(self.rules, expected=len(expected), actual=len(given), matched=matched)
        return Verdict(
            reward=reward,
            components={**components, "arguments": matched / len(expected)},
            reason="" if reward == 1.0 else f"{matched} of {len(expected)} expected calls matched, {surplus} surplus",
        )


def batch_reward(rules: ToolCallRules, *, expected: int, actual: int, matched: int) -> float:
    """The reward of a batch in which `matched` of `expected` (at least 1) calls were found among `actual` ones."""
    if actual == 0 or (rules.count_calls and actual > expected):
        return 0.0
    if not rules.parallel_rewarding:
        return float(matched == expected)
    if (actual < expected and not rules.allow_subset) or (actual > expected and not rules.allow_superset):
        return 0.0
    required = min(expected, actual)
    if rules.reward_mode == "binary_strict":
        return float(matched == required)
    if rules.reward_mode == "fractional":
        return matched / required
    return 2 * matched / (expected + actual)


def same_value(expected: Any, actual: Any, string_threshold: float) -> bool:
    """Whether a sampled JSON value is as good as the expected one.

    Types must agree as `isinstance` sees it (True passes for 1, 1 does not pass for True or 1.0); objects have the same
    keys, lists the same length and order; floats agree to 1e-6; strings as in `same_text`.
    """
    if not isinstance(actual, type(expected)):
        return False
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(
            same_value(value, actual[key], string_threshold) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(expected) == len(actual) and all(
            same_value(one, other, string_threshold) for one, other in zip(expected, actual, strict=True)
        )
    if isinstance(expected, float):
        return abs(expected - actual) < FLOAT_TOLERANCE
    if isinstance(expected, str):
        return same_text(expected, actual, string_threshold)
    return expected == actual


def same_text(expected: str, actual: str, threshold: float) -> bool:
    """Whether two texts share enough words, as multisets without regard to case; below two words a side, equality."""
    words = [text.lower().split() for text in (expected, actual)]
    if min(map(len, words)) < 2:
        return expected == actual
    shared = (Counter(words[0]) & Counter(words[1])).total()
    return shared / (len(words[0]) + len(words[1])) >= threshold
