"""What every verifier keeps to, on actions made at random: the label is right, lax rules accept more, and so on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pivot_jax.records import Action, Candidate, Tool, ToolCall
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.multi_harness import MultiHarnessMatch, MultiHarnessRules
from pivot_jax.verify.swe import SWE_PAPER, SweMatch, SweRules
from pivot_jax.verify.swe_calls import TOOLS
from pivot_jax.verify.terminal import TerminalMatch
from pivot_jax.verify.tool_call import REFERENCE, ToolCallMatch, ToolCallRules
from pivot_jax.verify.tool_name import ToolName
from pivot_jax.verify.verifier import Verifier
from tests.verify.candidates import candidate

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([name for names in TOOLS.values() for name in names.split()[:2]] + ["book", "exec_command"])
ARGUMENTS = st.dictionaries(st.sampled_from(["path", "command", "old_str", "new_str", "cmd", "x"]), VALUES, max_size=4)
CALLS = st.builds(lambda name, values: ToolCall(name=name, arguments=json.dumps(values)), NAMES, ARGUMENTS)
MESSAGES = st.builds(Action.say, TEXT)
CALLED = st.builds(lambda made: Action(tool_calls=tuple(made)), st.lists(CALLS, min_size=1, max_size=3))
ACTIONS = MESSAGES | CALLED

ANY: list[Verifier] = [Exact(), ToolName(), ToolCallMatch(), ToolCallMatch(REFERENCE, name="tool_call_reference")]
ONE_CALL: list[Verifier] = [
    *ANY, SweMatch(), SweMatch(SWE_PAPER, name="swe_paper"), SweMatch(SweRules(similarity=False), name="swe_target"),
]  # fmt: skip


def open_tools(expert: Action) -> Candidate:
    """A candidate whose tools accept any arguments."""
    tools = {call.name: Tool(name=call.name, parameters={"type": "object"}) for call in expert.tool_calls}
    return candidate(expert).model_copy(update={"tools": tuple(tools.values())})


@pytest.mark.parametrize("verifier", ANY, ids=lambda verifier: verifier.name)
@given(expert=ACTIONS)
def test_the_label_scores_one_against_itself(verifier: Verifier, expert: Action) -> None:
    assert verifier(candidate(expert), expert).reward == 1


@pytest.mark.parametrize("verifier", ONE_CALL, ids=lambda verifier: verifier.name)
@given(call=CALLS)
def test_a_single_call_scores_one_against_itself(verifier: Verifier, call: ToolCall) -> None:
    expert = Action(tool_calls=(call,))
    assert verifier(candidate(expert), expert).reward == 1


@given(expert=ACTIONS, harness=st.sampled_from(["codex", "agent006"]))
def test_the_label_scores_one_against_itself_under_every_rulebook(expert: Action, harness: Any) -> None:
    for call in expert.tool_calls:  # the arguments that a rulebook compares must be there
        assume(call.name != "exec_command" or isinstance(call.parsed().get("cmd"), str))
        assume(call.name != "update_plan" or call.parsed().get("plan"))
    assume(expert.tool_calls or expert.content.strip())
    assert MultiHarnessMatch(MultiHarnessRules(harness=harness))(open_tools(expert), expert).reward == 1


@given(keys=st.lists(TEXT, max_size=4), complete=st.booleans())
def test_a_terminal_answer_scores_one_against_itself(keys: list[str], complete: bool) -> None:
    commands = [{"keystrokes": text} for text in keys]
    answer = {"analysis": "", "plan": "", "commands": commands, "task_complete": complete}
    expert = Action.say(json.dumps(answer))
    assert TerminalMatch()(candidate(expert), expert).reward == 1


@pytest.mark.parametrize("verifier", ANY, ids=lambda verifier: verifier.name)
@given(expert=ACTIONS, actual=ACTIONS)
def test_verdicts_do_not_depend_on_ids_or_spelling(verifier: Verifier, expert: Action, actual: Action) -> None:
    """Ids of calls, the order of keys and the spacing of JSON are not part of an action."""
    respelt = Action(
        content=actual.content,
        tool_calls=tuple(
            ToolCall(
                name=call.name,
                arguments=json.dumps(dict(reversed(call.parsed().items())), indent=3),
                id="another",
            )
            for call in actual.tool_calls
        ),
    )
    there = candidate(expert)
    assert verifier(there, respelt) == verifier(there, actual)


@given(expert=CALLED, actual=CALLED, thresholds=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)))
def test_a_lower_string_threshold_never_refuses_more(
    expert: Action, actual: Action, thresholds: tuple[float, float]
) -> None:
    low, high = (ToolCallMatch(ToolCallRules(string_threshold=value)) for value in sorted(thresholds))
    assert low(candidate(expert), actual).reward >= high(candidate(expert), actual).reward


@given(expert=CALLED, actual=CALLED)
def test_rules_are_ordered(expert: Action, actual: Action) -> None:
    """What exact accepts tool_call accepts, and what that accepts has the right tools; f1 is between its neighbours."""
    there = candidate(expert)
    exact, tool_call = Exact()(there, actual).reward, ToolCallMatch()(there, actual).reward
    assert exact <= tool_call <= ToolName()(there, actual).reward
    open_gate = {"parallel_rewarding": True, "allow_subset": True, "allow_superset": True, "count_calls": False}
    strict, f1, fractional = (
        ToolCallMatch(ToolCallRules(**open_gate, reward_mode=mode))(there, actual).reward
        for mode in ("binary_strict", "f1", "fractional")
    )
    assert strict <= fractional and f1 <= fractional <= 1


@given(name=NAMES, values=ARGUMENTS)
def test_swe_does_not_look_at_the_case_of_a_tools_name(name: str, values: dict[str, Any]) -> None:
    expert, upper = Action.call(name, **values), Action.call(name.upper(), **values)
    for rules in (SweRules(), SWE_PAPER, SweRules(reward_mode="continuous", length_penalty=0)):
        assert SweMatch(rules)(candidate(expert), upper) == SweMatch(rules)(candidate(expert), expert)


@given(expert=CALLS, actual=CALLS)
def test_each_level_of_swe_only_takes_away(expert: ToolCall, actual: ToolCall) -> None:
    there, act = candidate(Action(tool_calls=(expert,))), Action(tool_calls=(actual,))
    whole, target, tool = (
        SweMatch(rules)(there, act).reward for rules in (SweRules(), SweRules(similarity=False), SWE_PAPER)
    )
    assert whole <= target <= tool
