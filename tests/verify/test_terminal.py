"""Terminal answers: reading, schema, one-sided completion, similarity, and the fallback."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.terminal import TerminalMatch, TerminalRules
from pivot_jax.verify.verifier import Unjudgeable, judge
from tests.verify.candidates import candidate


def second(*keystrokes: str, **changed: Any) -> Action:
    """An answer of terminus_2."""
    commands = [{"keystrokes": keys, "duration": 0.5} for keys in keystrokes]
    return Action.say(json.dumps({"analysis": "a", "plan": "p", "commands": commands, **changed}))


def first(*keystrokes: str, complete: bool = False) -> Action:
    """An answer of terminus_1."""
    commands = [{"keystrokes": keys, "is_blocking": True, "timeout_sec": 5} for keys in keystrokes]
    answer = {"state_analysis": "s", "explanation": "e", "commands": commands, "is_task_complete": complete}
    return Action.say(json.dumps(answer))


def score(expert: Action, actual: Action, rules: TerminalRules | None = None, fallback: Any = None) -> Verdict:
    return TerminalMatch(rules or TerminalRules(), fallback)(candidate(expert), actual)


@dataclass
class Scripted:
    """A fallback that says the same of everything, and remembers what it was asked."""

    says: Verdict | Exception
    name: str = "scripted"
    asked: list[Action] = field(default_factory=list)

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        self.asked.append(action)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def test_the_answer_is_what_follows_the_last_thought() -> None:
    thought = Action.say("<think> maybe </think> no </think>\n" + second("ls\n").content)
    assert score(second("ls\n"), thought).reward == 1
    assert score(thought, second("ls\n")).reward == 1  # recorded turns may hold their thoughts, too
    assert score(second("ls\n"), Action.say("so: " + second("ls\n").content)).reason.startswith("model_output_invalid")


@pytest.mark.parametrize("said", ["", "ls", "[1]", "null", '"ls"', "{", '{"a":' * 100_000, "```json\n{}\n```"])
def test_what_is_no_json_object_scores_zero(said: str) -> None:
    verdict = score(second("ls\n"), Action.say(said))
    assert (verdict.status, verdict.reward, verdict.components) == ("judged", 0.0, {})
    assert verdict.reason.startswith("model_output_invalid")


@pytest.mark.parametrize(
    "changed",
    [
        {"note": 1},
        {"task_complete": "yes"},
        {"task_complete": None},
        {"plan": 3},
        {"commands": {}},
        {"commands": ["ls"]},
        {"commands": [{"duration": 1}]},
        {"commands": [{"keystrokes": 1}]},
        {"commands": [{"keystrokes": "ls\n", "duration": True}]},
        {"commands": [{"keystrokes": "ls\n", "extra": 1}]},
        {"commands": [{"keystrokes": "ls\n", "duration": "1"}]},
    ],
)
def test_the_schema_is_closed_and_typed(changed: dict[str, Any]) -> None:
    assert score(second("ls\n"), second("ls\n", **changed)).reason.startswith("schema_check_failed: $")


def test_answers_of_one_harness_are_not_those_of_the_other() -> None:
    assert score(first("ls\n"), first("ls\n")).reward == 1
    assert score(second("ls\n"), first("ls\n")).reason.startswith("schema_check_failed")
    assert score(first("ls\n"), second("ls\n")).reason.startswith("schema_check_failed")
    for name, expert in (("terminus_1", first("ls\n")), ("terminus_2", second("ls\n"))):
        assert score(expert, expert, TerminalRules(harness=name)).reward == 1
    lone = Action.say('{"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls\\n"}]}')
    assert score(lone, lone).reward == 1  # duration and task_complete may be left out
    unblocking = json.loads(first("ls\n").content)
    del unblocking["commands"][0]["is_blocking"]
    assert score(first("ls\n"), Action.say(json.dumps(unblocking))).reason.startswith("schema_check_failed")


@pytest.mark.parametrize("make", [first, lambda *keys, complete: second(*keys, task_complete=complete)])
def test_completion_is_asked_of_the_action_only_where_the_expert_completes(make: Any) -> None:
    done, going_on = make("ls\n", complete=True), make("ls\n", complete=False)
    assert score(done, going_on).reason.startswith("task_complete_check_failed")
    assert score(going_on, done).reward == score(done, done).reward == 1


def test_similarity_is_of_all_keystrokes_in_sequence() -> None:
    verdict = score(second("abc\n", "def\n"), second("abc\ndef\n"))  # one command or two: the same keys
    assert (verdict.reward, verdict.components) == (1.0, {"similarity": 1.0})
    swapped = score(second("aaaa\n", "bbbb\n"), second("bbbb\n", "aaaa\n"))
    assert swapped.components["similarity"] == 0.5 and swapped.reward == 0  # 5 of 10 characters in one block
    assert score(second(), second()).components["similarity"] == 1
    assert score(second(), second("ls\n")).components["similarity"] == 0
    assert score(second(""), second()).components["similarity"] == 0  # an empty command is a command


@given(st.text("ab \n", max_size=8), st.text("ab \n", max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_never_refuses_more(expected: str, actual: str, one: float, other: float) -> None:
    rules = [TerminalRules(threshold=threshold) for threshold in sorted((one, other))]
    lax, strict = (score(second(expected), second(actual), each) for each in rules)
    assert lax.reward >= strict.reward
    assert lax.reward == float(lax.components["similarity"] >= min(one, other))


def test_the_fallback_is_asked_only_where_keystrokes_differ() -> None:
    yes = Scripted(Verdict(reward=1.0, components={"judge": 1.0}))
    assert score(second("ls\n"), second("ls\n"), fallback=yes).reward == 1
    for refused in (Action.say("{"), second("ls\n", note=1), first("ls\n")):
        assert score(second("ls\n"), refused, fallback=yes).reward == 0
    assert score(second("ls\n", task_complete=True), second("pwd\n"), fallback=yes).reward == 0
    assert yes.asked == []
    accepted = score(second("ls\n"), second("pwd\n"), fallback=yes)
    assert accepted.reward == 1 and accepted.components == {"similarity": 2 / 7, "judge": 1.0}
    assert yes.asked == [second("pwd\n")]


def test_the_fallbacks_verdict_is_the_verdict_errors_too() -> None:
    no = Scripted(Verdict(reward=0.0, reason="judge_not_equivalent: it said so"))
    assert score(second("ls\n"), second("pwd\n"), fallback=no).reason == "judge_not_equivalent: it said so"
    torn = TerminalMatch(TerminalRules(), Scripted(Unjudgeable("torn")))
    (verdict,) = judge([torn], candidate(second("ls\n")), [second("pwd\n")])["terminal"]
    assert (verdict.status, verdict.reason) == ("error", "torn")


def test_without_string_similarity_the_judge_decides_alone_or_the_checks_do() -> None:
    rules = TerminalRules(string_similarity=False)
    assert score(second("ls\n"), second("rm -r x\n"), rules) == Verdict(reward=1.0)
    no = Scripted(Verdict(reward=0.0))
    assert score(second("ls\n"), second("ls\n"), rules, no).reward == 0 and len(no.asked) == 1


@pytest.mark.parametrize("label", ["ls", "{}", '{"analysis": 1, "plan": "p", "commands": []}', '{"commands": []}'])
def test_a_label_that_is_no_answer_cannot_be_judged(label: str) -> None:
    with pytest.raises(Unjudgeable, match="label of t#0"):
        score(Action.say(label), second("ls\n"))
    with pytest.raises(Unjudgeable, match="label of t#0"):
        score(first("ls\n"), second("ls\n"), TerminalRules(harness="terminus_2"))
