"""Software-engineering turns: the released verifier (NeMo-Gym `swe_pivot`), each of its levels a switch.

One call is expected, and compared with the first sampled one: the tool (level 0), its target (level 1), and how similar
the arguments are (level 2). The paper's own reward is level 0 alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pivot_jax.config_verifier import SweOptions
from pivot_jax.records import Action, Candidate, ToolCall, Verdict
from pivot_jax.verify.arguments import expert_arguments, sampled_arguments
from pivot_jax.verify.swe_calls import Arguments, kind_of
from pivot_jax.verify.swe_levels import argument_similarity, length_penalty, same_target, same_tool
from pivot_jax.verify.verifier import Unjudgeable


class SweRules(SweOptions):
    """What is compared, and how similarity becomes a reward.

    count_calls: a second sampled call costs the reward.
    """

    count_calls: bool = True


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
        if self.rules.released_faults or not (self.rules.target or self.rules.similarity):
            return sampled_arguments(candidate.expert.tool_calls[0]) or {}
        [arguments] = expert_arguments(candidate)
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
