"""Turns of several agent harnesses: the rulebooks of the released verifier (NeMo-Gym `terminal_multi_harness`).

Calls must be those of the expert, fit the declared tools, and use no parameter that the expert's call does not; beyond
that only the arguments that a harness's rulebook names are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pivot_jax.config_verifier import MultiHarnessOptions
from pivot_jax.records import Action, Candidate, ToolCall, Verdict
from pivot_jax.verify.arguments import sampled_arguments
from pivot_jax.verify.schemas import schema_fault
from pivot_jax.verify.similarity import text_similarity
from pivot_jax.verify.verifier import Unjudgeable

HarnessName = Literal["codex", "agent006"]
Arguments = Mapping[str, Any]


MultiHarnessRules = MultiHarnessOptions


@dataclass(frozen=True)
class MultiHarnessMatch:
    """Scores calls pair by pair, sorted by the tool's name; any message that is not blank passes for a message.

    Components: `tool_name`, 1 if the decision and the tools agree; `similarity`, the least of the texts compared. A
    reason begins with what failed: "action_type_mismatch", "call_count_mismatch", "unexpected_tool",
    "schema_check_failed", "unexpected_argument_keys", "missing_argument" or "string_similarity_below_threshold".
    """

    rules: MultiHarnessRules = field(default_factory=MultiHarnessRules)
    name: str = "multi_harness"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label would not pass for itself."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        labels = self._sorted(candidate.expert)
        faults = [fault for label in labels if (fault := _label_fault(candidate, label, self.rules.harness))]
        if not labels and not candidate.expert.content.strip():
            faults.append("it neither says nor calls anything")
        if faults:
            raise Unjudgeable(f"label of {candidate.id}: {faults[0]}")
        calls = self._sorted(action)
        if bool(labels) != bool(calls) or not (calls or action.content.strip()):
            said = "a call" if calls else "a message" if action.content.strip() else "nothing"
            expected = "a call" if labels else "a message"
            reason = f"action_type_mismatch: expected {expected}, got {said}"
            return Verdict(components={"tool_name": 0.0}, reason=reason)
        if len(labels) != len(calls):
            reason = f"call_count_mismatch: expected {len(labels)}, got {len(calls)}"
            return Verdict(components={"tool_name": 0.0}, reason=reason)
        return self._pairs(candidate, labels, calls)

    def _sorted(self, action: Action) -> list[ToolCall]:
        """Calls by tool name; those of one tool as they were written, or by their arguments where the rulebook says."""
        if self.rules.harness == "codex":
            return sorted(action.tool_calls, key=lambda call: call.name)
        return sorted(action.tool_calls, key=lambda call: (call.name, _canonical(sampled_arguments(call))))

    def _pairs(self, candidate: Candidate, labels: list[ToolCall], calls: list[ToolCall]) -> Verdict:
        same = [label.name for label in labels] == [call.name for call in calls]
        components = {"tool_name": float(same)}
        for label, call in zip(labels, calls, strict=True):
            reason, similarity = self._pair(candidate, label, call)
            if similarity is not None:
                components["similarity"] = min(similarity, components.get("similarity", 1.0))
            if reason:
                return Verdict(components=components, reason=reason)
        return Verdict(reward=1.0, components=components)

    def _pair(self, candidate: Candidate, label: ToolCall, call: ToolCall) -> tuple[str, float | None]:
        """Why a call does not match (empty: it does), and the similarity if texts were compared."""
        if label.name != call.name:
            return f"unexpected_tool: expected {label.name}, got {call.name}", None
        expected, actual = sampled_arguments(label), sampled_arguments(call)
        if actual is None:
            return f"schema_check_failed: the arguments of {call.name} are not a JSON object", None
        if fault := _schema_fault(candidate, call.name, actual):
            return f"schema_check_failed: {call.name}: {fault}", None
        assert expected is not None  # the label passed for itself
        if surplus := sorted(actual.keys() - expected.keys()):
            return f"unexpected_argument_keys: {call.name}: {', '.join(surplus)[:200]}", None
        rule = RULEBOOKS[self.rules.harness].get(call.name)
        if rule is None:
            return "", None
        given = rule(actual)
        if given is None:
            return f"missing_argument: {call.name} lacks what the rulebook compares", None
        wanted = rule(expected)
        assert wanted is not None  # as above
        if not (wanted or given):
            return "", None
        similarity = text_similarity(wanted, given)
        if similarity < self.rules.threshold:
            return f"string_similarity_below_threshold: {similarity:.3f} < {self.rules.threshold:g}", similarity
        return "", similarity


def _label_fault(candidate: Candidate, label: ToolCall, harness: HarnessName) -> str:
    """Why a call of the label would not pass for itself; empty if it would."""
    arguments = sampled_arguments(label)
    if arguments is None:
        return f"the arguments of {label.name!r} are not a JSON object"
    if fault := _schema_fault(candidate, label.name, arguments):
        return f"{label.name!r}: {fault}"
    rule = RULEBOOKS[harness].get(label.name)
    return f"{label.name!r} lacks what the rulebook compares" if rule and rule(arguments) is None else ""


def _schema_fault(candidate: Candidate, name: str, arguments: Arguments) -> str:
    schemas = {tool.name: tool.parameters for tool in candidate.tools}
    return schema_fault(schemas[name], arguments) if name in schemas else "not among the declared tools"


def _command(arguments: Arguments) -> str | None:
    command = arguments.get("cmd")
    return command.replace("\r\n", "\n").replace("\r", "\n").strip() if isinstance(command, str) else None


def _plan(arguments: Arguments) -> str | None:
    """Plans are not compared: any that is not empty is as good as another."""
    return "" if arguments.get("plan") else None


def _code(arguments: Arguments) -> str | None:
    code = arguments.get("code")
    return code if isinstance(code, str) and code else None


def _result(arguments: Arguments) -> str | None:
    return _canonical(arguments["result"]) if "result" in arguments else None


def _canonical(value: Any) -> str:
    """A value as JSON with sorted keys; empty if it is nested deeper than Python can write it."""
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError:
        return ""


RULEBOOKS: Mapping[HarnessName, Mapping[str, Callable[[Arguments], str | None]]] = {
    "codex": {"exec_command": _command, "update_plan": _plan},
    "agent006": {"execute_python": _code, "return_result": _result},
}
"""For each harness and tool the text that is compared, empty if nothing is; None where a call lacks it. Other tools
need no more than the right parameters."""
