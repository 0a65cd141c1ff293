"""Software-engineering turns: the released verifier (NeMo-Gym `swe_pivot`), each of its levels a switch.

One call is expected, and compared with the first sampled one: the tool (level 0), its target (level 1), and how similar
the arguments are (level 2). The paper's own reward is level 0 alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, model_validator

from pivot_jax.records import Action, Candidate, Record, ToolCall, Verdict
from pivot_jax.verify.arguments import sampled_arguments
from pivot_jax.verify.swe_calls import Arguments, kind_of
from pivot_jax.verify.swe_levels import argument_similarity, length_penalty, same_target, same_tool
from pivot_jax.verify.verifier import Unjudgeable


class SweRules(Record):
    """What is compared, and how similarity becomes a reward.

    reward_mode: "binary": 1 from `full_credit` on, else 0. "continuous": rises from 0.5 at `partial_credit` to 1 at
        `full_credit`; edits lose `length_penalty`.
    target, similarity: whether levels 1 and 2 are checked.
    length_penalty: largest share of the reward that the length of an edit costs in the continuous mode; 0 is off.
    count_calls: a second sampled call costs the reward.
    released_faults: keep what is a fault in the released verifier. A label that is no single call scores 0 (it cannot
        be judged); arguments that do not parse count as empty (a label's cannot be judged, a sampled call's score 0); a
        shell call without a command matches any; a view of one line, or to the end of the file, does not match itself.
    """

    reward_mode: Literal["binary", "continuous"] = "binary"
    target: bool = True
    similarity: bool = True
    partial_credit: float = Field(default=0.4, ge=0, le=1)
    full_credit: float = Field(default=0.8, gt=0, le=1)
    length_penalty: float = Field(default=0.1, ge=0, le=1)
    count_calls: bool = True
    released_faults: bool = False

    @model_validator(mode="after")
    def _credit_rises(self) -> SweRules:
        if self.partial_credit >= self.full_credit:
            raise ValueError(f"partial_credit={self.partial_credit} must be below full_credit={self.full_credit}")
        return self


SWE_REFERENCE = SweRules(count_calls=False, released_faults=True)
"""The released verifier with its own defaults."""
SWE_PAPER = SweRules(target=False, similarity=False)
"""The paper's reward: the kind of the next operation, and nothing else."""


@dataclass(frozen=True)
class SweMatch:
    """Scores the sampled call against the expert's.

    Components, as far as the levels were reached: `tool_name` and `target`, 1 or 0; `similarity`, 0 to 1;
    `length_penalty`; `surplus_calls`. A reason begins with what failed: "model_output_invalid", "surplus_calls",
    "tool_name_mismatch", "target_mismatch" or "similarity_below_threshold".
    """

    rules: SweRules = field(default_factory=SweRules)
    name: str = "swe"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label is no single call or its arguments do not parse."""
        rules, labels, calls = self.rules, candidate.expert.tool_calls, action.tool_calls
        if action.malformed:
            return Verdict(reason=action.malformed)
        if len(labels) != 1:
            if rules.released_faults:
                return Verdict(components={"tool_name": 0.0}, reason="expected_action_invalid: not one call")
            raise Unjudgeable(f"label of {candidate.id}: {len(labels)} calls where one is compared")
        expected = self._label_arguments(candidate)
        if not calls:
            return Verdict(components={"tool_name": 0.0}, reason="model_output_invalid: no call")
        call, *more = calls
        surplus = {"surplus_calls": float(len(more))}
        if rules.count_calls and more:
            return Verdict(components=surplus, reason=f"surplus_calls: {len(calls)} calls, 1 expected")
        actual = sampled_arguments(call)
        if actual is None:
            if not rules.released_faults and (rules.target or rules.similarity):
                return Verdict(components=surplus, reason="model_output_invalid: arguments are not a JSON object")
            actual = {}
        verdict = self._compare(labels[0], expected, call, actual)
        return verdict.model_copy(update={"components": {**surplus, **verdict.components}})

    def _label_arguments(self, candidate: Candidate) -> Arguments:
        """The label's arguments; none are needed where only tools are compared."""
        call = candidate.expert.tool_calls[0]
        arguments = sampled_arguments(call)
        if arguments is None:
            if not self.rules.released_faults and (self.rules.target or self.rules.similarity):
                raise Unjudgeable(f"label of {candidate.id}: the arguments of {call.name!r} are not a JSON object")
            return {}
        return arguments

    def _compare(self, label: ToolCall, expected: Arguments, call: ToolCall, actual: Arguments) -> Verdict:
        rules, components, reward = self.rules, {"tool_name": 1.0}, 1.0
        expected_kind, actual_kind = kind_of(label.name), kind_of(call.name)
        if not same_tool(label.name, call.name):
            reason = f"tool_name_mismatch: expected {label.name}, got {call.name}"
            return Verdict(components={"tool_name": 0.0}, reason=reason)
        if rules.target:
            same = same_target(expected_kind, expected, actual_kind, actual, released=rules.released_faults)
            components["target"] = float(same)
            if not same:
                return Verdict(components=components, reason="target_mismatch: another file, program or lines")
        if rules.similarity:
            similarity = argument_similarity(
                expected_kind, expected, actual_kind, actual, released=rules.released_faults
            )
            components["similarity"] = similarity
            reward = credit(rules, similarity)
            if reward == 0:
                return Verdict(components=components, reason=f"similarity_below_threshold: {similarity:.3f}")
        if rules.reward_mode == "continuous" and rules.length_penalty:
            penalty = components["length_penalty"] = length_penalty(actual_kind, actual, rules.length_penalty)
            reward *= 1 - penalty
        return Verdict(reward=reward, components=components)


def credit(rules: SweRules, similarity: float) -> float:
    """What a similarity is worth, 0 to 1, before the penalty."""
    if similarity >= rules.full_credit:
        return 1.0
    if rules.reward_mode == "binary" or similarity < rules.partial_credit:
        return 0.0
    return 0.5 + 0.5 * (similarity - rules.partial_credit) / (rules.full_credit - rules.partial_credit)
