"""Software-engineering turns: each level against its rule, by hand, and the released verifier's faults as a switch."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pivot_jax.records import Action
from pivot_jax.verify.swe import SWE_PAPER, SWE_REFERENCE, SweMatch, SweRules, credit
from pivot_jax.verify.swe_calls import TOOLS, kind_of, paths_in, program_of, view_range_of
from pivot_jax.verify.verifier import Unjudgeable
from tests.verify.candidates import calls, candidate

CONTINUOUS = SweRules(reward_mode="continuous")
EDIT = {"command": "str_replace", "path": "/w/proj/a.py", "old_str": "x = 1", "new_str": "x = 2"}


def score(expert: Action, actual: Action, rules: SweRules | None = None):
    return SweMatch(rules or SweRules())(candidate(expert), actual)


def bash(command: str) -> Action:
    return Action.call("bash", command=command)


def edit(**changed: str) -> Action:
    return Action.call("str_replace_editor", **{**EDIT, **changed})


def test_tools_of_one_kind_pass_for_each_other_and_for_no_other_kind() -> None:
    for (kind, names), (other, others) in itertools.product(TOOLS.items(), TOOLS.items()):
        for name, actual in itertools.product(names.split()[:3], others.split()[:3]):
            verdict = score(Action.call(name), Action.call(actual.upper()), SWE_PAPER)
            assert verdict.reward == float(kind == other), (name, actual)
            assert verdict.components["tool_name"] == verdict.reward


def test_names_are_known_as_snake_case_and_camel_case() -> None:
    assert [kind_of(name) for name in ("str_replace_editor", "StrReplaceEditor", "EXECUTE_BASH")] == [
        "edit", "edit", "bash",
    ]  # fmt: skip
    assert kind_of("exec_ute_bash") is None and kind_of("") is None
    assert score(Action.call("mytool", a=1), Action.call("MyTool", a=2)).reward == 1
    assert score(Action.call("mytool"), Action.call("yourtool")).reward == 0  # unknown is not a kind


@pytest.mark.parametrize(
    ("changed", "target"),
    [
        ({}, 1.0),
        ({"path": "/elsewhere/proj/a.py"}, 1.0),  # the last two components agree
        ({"path": "/w/other/a.py"}, 0.0),
        ({"path": ""}, 1.0),  # not named: not compared
        ({"command": "create"}, 0.0),
        ({"command": ""}, 1.0),
    ],
)
def test_edits_are_of_the_same_file_and_kind(changed: dict[str, str], target: float) -> None:
    assert score(edit(), edit(**changed)).components["target"] == target


@pytest.mark.parametrize(
    ("expected", "actual", "target"),
    [
        ([40, 80], [48, 100], 1.0),  # 32 of 40 lines
        ([40, 80], [49, 100], 0.0),
        ([40, 80], "[48, 100]", 1.0),
        ([40, 80], None, 1.0),
        ([40, 80], [1, "x"], 1.0),
        ([40, 80], [float("inf"), 3], 1.0),
        ([40, 80], [100, 200], 0.0),
    ],
)
def test_a_view_shows_four_fifths_of_the_expected_lines(expected: object, actual: object, target: float) -> None:
    shown = [Action.call("view_file", path="/p/m.py", view_range=lines) for lines in (expected, actual)]
    looked = [
        Action.call("str_replace_editor", command="view", path="/p/m.py", view_range=lines)
        for lines in (expected, actual)
    ]
    assert score(*looked).components["target"] == target
    assert score(*shown).components["target"] == 1.0  # only an editor's view has lines


@pytest.mark.parametrize("lines", [[5, 5], [10, -1]])
def test_a_view_of_one_line_or_to_the_end_is_itself_but_not_as_released(lines: list[int]) -> None:
    view = Action.call("str_replace_editor", command="view", path="/p/m.py", view_range=lines)
    assert (score(view, view).reward, score(view, view, SWE_REFERENCE).reward) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("expected", "actual", "target"),
    [
        ("/usr/bin/grep -n total src", "grep -n total src", 1.0),
        ("grep -n total src", "rg -n total src", 0.0),
        ("cat /w/proj/a/b.py", "cat /x/proj/a/b.py", 1.0),  # proj/a/b.py
        ("cat /w/proj/a/b.py", "cat /w/proj/c/b.py", 0.0),
        ("cat /w/proj/a/b.py", "cat b.py", 1.0),  # no path on one side
        ("echo aaaa", "echo zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 0.0),  # less than 0.3 alike
    ],
)
def test_commands_run_the_same_program_on_a_shared_path(expected: str, actual: str, target: float) -> None:
    assert score(bash(expected), bash(actual)).components["target"] == target


def test_reading_shell_commands() -> None:
    assert program_of("  /usr/bin/python3 -m x") == "python3" and program_of(" ") == ""
    command = "cd /srv/a && cat './b/c.py' --out=d/e.txt x=/f (g/h) 1/2 --i/j 'k' /l"
    assert paths_in(command) == ["/srv/a", "./b/c.py", "d/e.txt", "g/h", "1/2"]  # "/f" and "/l" are too short


def test_reading_and_searching_name_the_same_three_components() -> None:
    read = Action.call("read_file", path="/w/a/b/c.py")
    assert score(read, Action.call("grep", path="/x/a/b/c.py", pattern="y")).reward == 0  # another kind
    assert score(read, Action.call("view", file_path="/x/a/b/c.py")).reward == 1
    assert score(read, Action.call("view", file_path="/x/z/b/c.py")).reward == 0


def test_similarity_by_hand() -> None:
    """2 M / T: "x = 1" and "x = 2" share 4 characters of 10."""
    verdict = score(edit(), edit(new_str="x = 9"), CONTINUOUS)
    assert verdict.components["similarity"] == 0.8 and verdict.components["length_penalty"] == pytest.approx(0.0022)
    assert verdict.reward == pytest.approx(1 - 0.1 * 11 / 500)
    assert score(edit(), edit(old_str="y", new_str="x = 2")).reward == 0  # the lesser of the two counts
    assert score(edit(), edit(old_str="")).components["similarity"] == 0
    written = Action.call("write_file", path="/p/a.py", content="a" * 3000)
    longer = Action.call("write_file", path="/p/a.py", content="a" * 2000 + "b" * 3000)
    assert score(written, longer).components["similarity"] == 1  # cut to 2,000 characters


def test_similarity_credit_and_its_edges() -> None:
    for rules, expected in ((SweRules(), [0, 0, 0, 1, 1]), (CONTINUOUS, [0, 0.5, 0.75, 1, 1])):
        assert [credit(rules, s) for s in (0.39, 0.4, 0.6, 0.8, 1.0)] == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.sampled_from([SweRules(), CONTINUOUS]))
def test_credit_never_falls_with_similarity(pair: list[float], rules: SweRules) -> None:
    low, high = sorted(pair)
    assert 0 <= credit(rules, low) <= credit(rules, high) <= 1


@given(st.text(max_size=700))
def test_longer_edits_never_gain(text: str) -> None:
    short, long = (
        score(Action.call("write", content=content), Action.call("write", content=content), CONTINUOUS)
        for content in (text, text + "x")
    )
    assert 0.9 <= long.reward <= short.reward <= 1


def test_switching_levels_off_only_adds_rewards() -> None:
    pairs = [(edit(), edit(path="/z/z.py")), (edit(), edit(new_str="q")), (bash("ls /a/b"), bash("cat /c/d"))]
    for expert, actual in pairs:
        assert score(expert, actual).reward == 0
        assert score(expert, actual, SWE_PAPER).reward == 1
        without_target = score(expert, actual, SweRules(target=False))
        assert "target" not in without_target.components and "similarity" in without_target.components


def test_only_the_first_call_is_compared_and_a_second_one_costs_the_reward_here() -> None:
    two = calls(("bash", '{"command": "ls"}'), ("bash", '{"command": "rm -rf x"}'))
    free, counted = score(bash("ls"), two, SWE_REFERENCE), score(bash("ls"), two)
    assert (free.reward, counted.reward) == (1.0, 0.0)
    assert free.components["surplus_calls"] == counted.components["surplus_calls"] == 1
    assert counted.reason.startswith("surplus_calls: 2 calls")


def test_labels_that_are_no_single_call_cannot_be_judged() -> None:
    two = calls(("bash", "{}"), ("bash", "{}"))
    for label in (Action.say("done"), two, calls(("bash", "{broken"))):
        with pytest.raises(Unjudgeable, match="label of t#0"):
            score(label, bash("ls"))
    assert score(Action.say("done"), bash("ls"), SWE_REFERENCE).reward == 0
    assert score(calls(("bash", "{broken")), bash("ls"), SWE_PAPER).reward == 1  # arguments are not looked at


@pytest.mark.parametrize("hostile", ["{broken", "[" * 100_000, "[1]", "null", '{"command": ' + "9" * 9_999 + "}"])
def test_a_call_without_a_readable_command_passes_as_released_and_scores_zero_here(hostile: str) -> None:
    unreadable, no_command = calls(("bash", hostile)), calls(("bash", '{"x": 1}'))
    for actual in (unreadable, no_command):
        assert score(bash("rm a/b"), actual, SWE_REFERENCE).reward == 1
        assert score(bash("rm a/b"), actual).reward == 0
        assert score(bash("rm a/b"), actual, SweRules(target=False)).reward == 0


def test_a_value_nested_deeper_than_python_writes_is_no_text() -> None:
    for depth in (100, 400, 900):
        nested = "[" * depth + "]" * depth
        assert score(edit(), calls(("edit", f'{{"new_str": {nested}, "path": {nested}}}'))).reward == 0
    assert view_range_of({"view_range": {"1": 1, "2": 2}}) is None
    assert view_range_of({"view_range": json.dumps("12")}) is None


def test_no_call_and_credit_that_falls_are_refused() -> None:
    assert score(bash("ls"), Action.say("ls")).reason == "model_output_invalid: no call"
    assert score(bash("ls"), Action(malformed="cut off")).reason == "cut off"
    with pytest.raises(ValidationError, match=r"partial_credit=0.9 must be below full_credit=0.8"):
        SweRules(partial_credit=0.9)
