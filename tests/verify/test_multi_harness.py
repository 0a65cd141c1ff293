"""Several harnesses: the rulebooks of Codex and Agent006, rule by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.records import Action, Candidate, Tool, Verdict
from pivot_jax.verify.multi_harness import MultiHarnessMatch, MultiHarnessRules
from pivot_jax.verify.responses import BatchLabel, CallLabel, MessageLabel
from pivot_jax.verify.verifier import Unjudgeable
from tests.verify.candidates import calls, candidate

ROWS = Path(__file__).parents[3] / "shared" / "data" / "gym" / "terminal_multi_harness_example.jsonl"
LABELS = {"message": MessageLabel, "function_call": CallLabel, "function_call_batch": BatchLabel}


def tool(name: str, required: list[str], **properties: dict[str, Any]) -> Tool:
    return Tool(
        name=name,
        parameters={
            "type": "object", "properties": properties, "required": required, "additionalProperties": False,
        },
    )  # fmt: skip


TEXT = {"type": "string"}
TOOLS = (
    tool("exec_command", ["cmd"], cmd=TEXT, workdir=TEXT),
    tool("update_plan", ["plan"], plan={"type": "array"}),
    tool("write_stdin", ["session_id"], session_id={"type": "integer"}, chars=TEXT),
    tool("execute_python", ["code"], code=TEXT),
    tool("return_result", ["result"], result={}),
)


def at(expert: Action) -> Candidate:
    return candidate(expert).model_copy(update={"tools": TOOLS})


def score(expert: Action, actual: Action, **rules: Any) -> Verdict:
    return MultiHarnessMatch(MultiHarnessRules(**rules))(at(expert), actual)


def run(cmd: str, **more: str) -> Action:
    return Action.call("exec_command", cmd=cmd, **more)


@pytest.mark.skipif(not ROWS.exists(), reason="the released example rows are not at hand")
def test_released_rows_match_themselves_and_nothing_else() -> None:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    experts = [LABELS[row["expected_action"]["type"]](**row["expected_action"]).action() for row in rows]
    for row, expert in zip(rows, experts, strict=True):
        tools = tuple(Tool(name=t["name"], parameters=t["parameters"]) for t in row["declared_tools"])
        there = candidate(expert).model_copy(update={"tools": tools})
        verifier = MultiHarnessMatch(MultiHarnessRules(harness=row["harness"]))
        assert [verifier(there, actual).reward for actual in experts] == [float(one == expert) for one in experts]
    assert len(rows) == 5


def test_any_message_that_is_not_blank_passes_for_a_message_and_only_there() -> None:
    for said, reward in (("something else", 1.0), (" \n", 0.0), ("", 0.0)):
        assert score(Action.say("done"), Action.say(said)).reward == reward
    assert score(Action.say("done"), run("ls")).reason == "action_type_mismatch: expected a message, got a call"
    assert score(run("ls"), Action.say("ls")).reason == "action_type_mismatch: expected a call, got a message"
    speaking = run("ls").model_copy(update={"content": "let me look"})
    assert score(run("ls"), speaking).reward == 1


def test_commands_are_compared_without_outer_space_and_by_similarity() -> None:
    assert score(run("ls -la\npwd"), run("  ls -la\r\npwd\n")).components == {"tool_name": 1.0, "similarity": 1.0}
    verdict = score(run("abcdefghij"), run("abcdefghix"))  # 9 of 10: 0.9, at the threshold
    assert (verdict.reward, verdict.components["similarity"]) == (1.0, 0.9)
    assert score(run("abcdefghij"), run("abcdefghix"), threshold=0.91).reason.startswith("string_similarity_below")
    assert score(run("ls", workdir="/a"), run("ls", workdir="/b")).reward == 1  # no other argument is compared


def test_parameters_beyond_the_experts_are_refused_and_fewer_are_not() -> None:
    more = score(run("ls"), run("ls", workdir="/a"))
    assert more.reason == "unexpected_argument_keys: exec_command: workdir"
    assert score(run("ls", workdir="/a"), run("ls")).reward == 1


def test_calls_fit_the_declared_tools() -> None:
    number = Action.call("exec_command", cmd=3)
    assert score(run("ls"), number).reason.startswith("schema_check_failed: exec_command: $.cmd")
    assert score(run("ls"), Action.call("exec_command")).reason.startswith("schema_check_failed")
    assert score(run("ls"), calls(("exec_command", "{broken"))).reason.startswith("schema_check_failed")
    assert score(run("ls"), Action.call("shell", cmd="ls")).reason.startswith("unexpected_tool: expected exec_command")
    deep = '{"cmd": "ls", "workdir": ' + "[" * 900 + "]" * 900 + "}"
    assert score(run("ls", workdir="/"), calls(("exec_command", deep))).reward == 0


def test_plans_are_there_and_not_compared() -> None:
    plan = Action.call("update_plan", plan=[{"step": "look", "status": "pending"}])
    assert score(plan, Action.call("update_plan", plan=[{"step": "give up"}])).reward == 1
    assert score(plan, Action.call("update_plan", plan=[])).reason.startswith("missing_argument")
    stdin = Action.call("write_stdin", session_id=7, chars="y")
    assert score(stdin, Action.call("write_stdin", session_id=8, chars="n")).reward == 1  # no rule: parameters alone


def test_batches_have_one_count_and_are_aligned_by_tool_name() -> None:
    plan, look = ("update_plan", '{"plan": [1]}'), ("exec_command", '{"cmd": "ls"}')
    wait = ("write_stdin", '{"session_id": 1}')
    expert = calls(plan, look, wait)
    assert score(expert, calls(wait, look, plan)).reward == 1
    assert score(expert, calls(look, plan)).reason.startswith("call_count_mismatch: expected 3, got 2")
    assert score(expert, calls(look, look, plan)).components["tool_name"] == 0
    other = ("exec_command", '{"cmd": "something quite different"}')
    assert score(calls(look, other), calls(look, other)).reward == 1
    assert score(calls(look, other), calls(other, look)).reward == 0  # of one tool: as they were written
    near = [("exec_command", f'{{"cmd": "{cmd}"}}') for cmd in ("abcdefghij", "abcdefghix")]
    least = score(calls(look, near[0]), calls(look, near[1]))
    assert least.components["similarity"] == 0.9


def test_agent006_compares_code_and_results() -> None:
    python = Action.call("execute_python", code="print(1 + 1)")
    assert score(python, python, harness="agent006").components["similarity"] == 1
    assert score(python, Action.call("execute_python", code="raise"), harness="agent006").reward == 0
    assert score(python, Action.call("execute_python", code="raise")).reward == 1  # Codex has no rule for it
    empty = Action.call("execute_python", code="")
    assert score(python, empty, harness="agent006").reason.startswith("missing_argument")
    result = Action.call("return_result", result={"a": 1, "b": [2]})
    again = calls(("return_result", '{"result": {"b": [2], "a": 1}}'))
    assert score(result, again, harness="agent006").components["similarity"] == 1
    other = Action.call("return_result", result="no")
    assert score(result, other, harness="agent006").reason.startswith("string_similarity_below_threshold")
    pair = [("execute_python", '{"code": "a"}'), ("execute_python", '{"code": "b"}')]
    assert score(calls(*pair), calls(*reversed(pair)), harness="agent006").reward == 1  # ties go by the arguments


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (Action.say(" "), "neither says nor calls"),
        (Action.call("shell", cmd="ls"), "'shell': not among the declared tools"),
        (Action.call("exec_command", cmd=1), "'exec_command': .*string"),
        (calls(("exec_command", "{")), "not a JSON object"),
        (Action.call("update_plan", plan=[]), "lacks what the rulebook compares"),
    ],
)
def test_a_label_that_would_not_match_itself_cannot_be_judged(label: Action, why: str) -> None:
    with pytest.raises(Unjudgeable, match=f"label of t#0: .*{why}"):
        score(label, run("ls"))


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "http://127.0.0.1:9/schema.json"}])
def test_a_schema_that_cannot_be_used_is_an_error_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    there = candidate(run("ls")).model_copy(update={"tools": (Tool(name="exec_command", parameters=schema),)})
    with pytest.raises(Unjudgeable, match="the schema cannot be used"):
        MultiHarnessMatch()(there, run("ls"))
