from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pivot_jax.records import Action, Candidate, ToolCall, Verdict
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.tool_call import ToolCallMatch
from pivot_jax.verify.tool_name import ToolName
from pivot_jax.verify.verifier import Unjudgeable, judge
from tests.verify.candidates import calls, candidate


@dataclass
class Scripted:
    """Raises what the content of an action names, else rewards its length; remembers what it was asked."""

    name: str = "scripted"
    asked: list[Action] = field(default_factory=list)

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        self.asked.append(action)
        errors = {"unjudgeable": Unjudgeable("no label"), "slow": TimeoutError("5 s"), "bug": KeyError("row")}
        if action.content in errors:
            raise errors[action.content]
        return Verdict(reward=float(len(action.content)))


def test_every_action_gets_its_verdict_in_order() -> None:
    actions = [Action.say("four"), Action.say("a"), Action.say("four")]
    verdicts = judge([Scripted(), Scripted(name="again")], candidate(Action.say("x")), actions)
    assert list(verdicts) == ["scripted", "again"]
    assert [verdict.reward for verdict in verdicts["scripted"]] == [4.0, 1.0, 4.0]
    assert verdicts["again"] == verdicts["scripted"]


def test_equal_actions_are_judged_once_whatever_their_call_ids() -> None:
    verifier = Scripted()
    first = Action(tool_calls=(ToolCall(name="f", arguments="{}", id="1"),))
    second = Action(tool_calls=(ToolCall(name="f", arguments="{}", id="2"),))
    other = Action(tool_calls=(ToolCall(name="f", arguments='{"a": 1}', id="1"),))
    broken = Action(malformed="cut off")
    assert len(judge([verifier], candidate(Action.say("x")), [first, second, other, broken])["scripted"]) == 4
    assert verifier.asked == [second, other, broken]


def test_what_cannot_be_judged_is_an_error_and_not_a_zero() -> None:
    actions = [Action.say("unjudgeable"), Action.say("fine"), Action.say("slow")]
    verdicts = judge([Scripted()], candidate(Action.say("x")), actions)["scripted"]
    assert [verdict.status for verdict in verdicts] == ["error", "judged", "error"]
    assert verdicts[0].reason == "no label"
    assert "5 s" in verdicts[2].reason


def test_programming_errors_propagate() -> None:
    with pytest.raises(KeyError):
        judge([Scripted()], candidate(Action.say("x")), [Action.say("bug")])


def test_verifier_names_must_differ() -> None:
    with pytest.raises(ValueError, match="not distinct"):
        judge([Scripted(), Scripted()], candidate(Action.say("x")), [])


@pytest.mark.parametrize("verifier", [Exact(), ToolName(), ToolCallMatch()], ids=lambda verifier: verifier.name)
@pytest.mark.parametrize("expert", [Action.say("hello"), Action.call("f", a=1)], ids=["speak", "call"])
def test_malformed_scores_zero_and_the_label_one(verifier: Exact | ToolName | ToolCallMatch, expert: Action) -> None:
    malformed = expert.model_copy(update={"malformed": "cut off by the length limit"})
    labelled, refused = judge([verifier], candidate(expert), [expert, malformed])[verifier.name]
    assert (labelled.status, labelled.reward) == ("judged", 1.0)
    assert (refused.status, refused.reward) == ("judged", 0.0)
    assert refused.reason == "cut off by the length limit"


@pytest.mark.parametrize(
    ("actual", "reward"),
    [
        (calls(("f", '{"b": [1, {"c": 2}],   "a": "x"}')), 1.0),
        (calls(("f", '{"b": [1, {"c": 2.0}], "a": "x"}')), 0.0),
        (calls(("f", '{"b": [true, {"c": 2}], "a": "x"}')), 0.0),
        (calls(("f", '{"b": [1, {"c": 2}], "a": "x "}')), 0.0),
        (calls(("f", '{"b": [1, {"c": 2}]}')), 0.0),
        (calls(("f", '{"b": [{"c": 2}, 1], "a": "x"}')), 0.0),
        (calls(("f", '{"b": [1, {"c": 2}], "a": "x"}'), ("f", "{}")), 0.0),
        (calls(("g", '{"b": [1, {"c": 2}], "a": "x"}')), 0.0),
        (calls(("f", '{"b": ')), 0.0),
        (calls(("f", '{"a":' * 100_000)), 0.0),
        (calls(("f", "[" * 100_000)), 0.0),
        (calls(("f", '{"a": ' + "9" * 10_000 + "}")), 0.0),
        (calls(), 0.0),
    ],
)
def test_exact_compares_json_values(actual: Action, reward: float) -> None:
    expert = calls(("f", '{"a": "x", "b": [1, {"c": 2}]}'))
    assert Exact()(candidate(expert), actual).reward == reward


def test_exact_keeps_the_order_of_calls_but_not_the_spacing_of_text() -> None:
    first, second = ("f", '{"a": 1}'), ("g", "{}")
    assert Exact()(candidate(calls(first, second)), calls(first, second)).reward == 1.0
    assert Exact()(candidate(calls(first, second)), calls(second, first)).reward == 0.0
    assert Exact()(candidate(Action.say("all done now")), Action.say(" all\ndone  now ")).reward == 1.0
    assert Exact()(candidate(Action.say("all done now")), Action.say("All done now")).reward == 0.0
    assert Exact()(candidate(Action.say("all done now")), calls(first)).reward == 0.0


def test_tool_name_ignores_arguments_and_order_but_not_number() -> None:
    expert = calls(("f", '{"a": 1}'), ("g", "{}"), ("f", "{}"))
    verifier = ToolName()
    assert verifier(candidate(expert), calls(("g", "not json"), ("f", "{}"), ("f", "{}"))).reward == 1.0
    assert verifier(candidate(expert), calls(("g", "{}"), ("f", "{}"))).reward == 0.0
    assert verifier(candidate(expert), Action.say("f g f")).reward == 0.0
    assert verifier(candidate(Action.say("hello")), Action.say("anything")).reward == 1.0
    assert verifier(candidate(Action.say("hello")), calls(("f", "{}"))).reward == 0.0


@pytest.mark.parametrize("verifier", [Exact(), ToolCallMatch()], ids=lambda verifier: verifier.name)
def test_a_label_that_does_not_parse_is_an_error(verifier: Exact | ToolCallMatch) -> None:
    broken = candidate(calls(("f", "{}"), ("f", "{a: 1}")))
    for action in (calls(("f", "{}"), ("f", "{a: 1}")), calls(("f", "{}")), Action.say("hello")):
        (verdict,) = judge([verifier], broken, [action])[verifier.name]
        assert verdict.status == "error"
        assert "'f'" in verdict.reason
