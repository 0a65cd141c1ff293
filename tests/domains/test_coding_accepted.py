"""Which actions the coding environment accepts: any that bring the episode as far forward as the demonstrated one."""

from __future__ import annotations

import pytest

from tests.domains.coding_cases import CHECK, LIST, TEST, accepted, double, edit, fix, play, single, test_of, view


@pytest.mark.parametrize(
    ("template", "right", "wrong"),
    [
        ("add", ["{p}+{q}", "{q}+{p}", "sum([{p},{q}])", "{p} - (0 - {q})", "- (- {p} - {q})", "{q} * 1 + {p}"],
         ["{p} - {q}", "{p}", "{p} + {p}", "{p} + {q} + 1", "abs ( {p} ) + {q}", "{p} + {q} if {p} < 9 else 0"]),
        ("sub", ["{p}-{q}", "- ({q}-{p})", "{p} + - {q}", "sum ( [ {p} , - {q} ] )"], ["{q}-{p}", "abs({p}-{q})"]),
        ("below", ["{q} > {p}", "not {p} >= {q}", "{p} - {q} < 0", "1 if {p} < {q} else 0",
                   "{p} != {q} and {p} == min ( {p} , {q} )"],
         ["{p} <= {q}", "{p} > {q}", "True", "{p} != {q}"]),
        ("low", ["min({q},{p})", "{p} if {p} <= {q} else {q}", "sorted([{p},{q}])[0]", "- max ( - {p} , - {q} )"],
         ["max({p},{q})", "{p}", "min(1,{p},{q})"]),
        ("gap", ["abs({q}-{p})", "max({p}-{q},{q}-{p})", "max({p},{q})-min({p},{q})"], ["{p}-{q}", "abs({p})-{q}"]),
        ("last", ["{x}[-1]", "{x}[len({x})-1]", "{x}[::-1][0]", "list(reversed({x}))[0]"], ["{x}[0]", "max({x})"]),
        ("total", ["sum({x})", "sum(sorted({x}))", "sum(i for i in {x})", "sum([i for i in {x}])"],
         ["sum({x}[1:])", "sum({x})+1", "max({x})"]),
        ("size", ["len({x})", "sum(1 for i in {x})", "len(sorted({x}))"], ["len({x})-1", "3", "sum({x})"]),
        ("sort", ["sorted({x})", "sorted({x})[::1]", "sorted({x},reverse=True)[::-1]", "list(sorted({x}))"],
         ["{x}", "sorted({x})[::-1]", "{x}[::-1]", "reversed({x})"]),
        ("has", ["{p} in {x}", "{x}.count({p})>0", "any(i=={p} for i in {x})", "not {p} not in {x}"],
         ["{p} not in {x}", "{x}.index({p})", "True"]),
        ("even", ["{p}%2==0", "not {p}%2", "{p}%2<1", "1-{p}%2", "{p}//2*2=={p}"], ["{p}%2", "{p}%2==1", "{p}%4==0"]),
    ],
)  # fmt: skip
def test_any_equal_code_is_accepted_and_no_other(template: str, right: list[str], wrong: list[str]) -> None:
    env = single(template)
    function = env.task.functions[0]
    roles = {"p": function.parameters[0], "q": function.parameters[-1], "x": function.parameters[-1]}
    play(env, TEST, view("m1"))
    for text in right:
        assert accepted(env, edit(1, "return " + text.format(**roles))), text
    for text in wrong:
        branch = env.clone()
        assert not accepted(branch, edit(1, "return " + text.format(**roles))), text
        assert play(branch, edit(1, "return " + text.format(**roles))) == ["ok"], text
        assert branch.remaining() == env.remaining(), text


def test_a_loop_is_repaired_in_any_of_its_lines() -> None:
    env = single("run")
    function = env.task.functions[0]
    x = function.parameters[0]
    play(env, TEST, view("run"))
    assert accepted(env, edit(1, f"return sum ( {x} )"))
    assert accepted(env, fix(env, 0))
    play(env, edit(1, "t = 9"), edit(4, "return 9"))
    before = env.remaining()
    for action in env.demonstrations():
        branch = env.clone()
        play(branch, action)
        assert branch.remaining() == before - 1


def test_files_may_be_viewed_by_any_name_and_in_any_order() -> None:
    env = double("add", "low", two_files=True)
    play(env, TEST)
    first, second = env.task.functions
    for name in (first.file, first.name, second.file, second.name):
        assert accepted(env, view(name))
    assert not accepted(env, view("m3"))
    assert not accepted(env, TEST) and not accepted(env, LIST) and not accepted(env, CHECK)
    # A right repair of what was not seen saves a turn.
    branch = env.clone()
    play(branch, fix(env, 1))
    assert branch.remaining() == env.remaining() - 2


def test_either_bug_may_be_repaired_first() -> None:
    env = double("add", "low", two_files=False)
    play(env, TEST, view("m1"))
    assert accepted(env, fix(env, 0)) and accepted(env, fix(env, 1))
    play(env, fix(env, 1), fix(env, 0))
    assert env.remaining() == 2
    assert accepted(env, test_of("m1")) and not accepted(env, test_of("add"))
    play(env, test_of("low"))
    assert env.remaining() == 2
    assert play(env, test_of("add")) == ["pass"]
    assert env.remaining() == 1
