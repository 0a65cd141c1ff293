"""Tasks of one bug, hostile actions and edits, and random code, for the tests of the coding domain."""

from __future__ import annotations

import json
import random

from pivot_jax.domains.coding import Coding, Knobs, reset
from pivot_jax.records import Action, ToolCall

INF = float("inf")
TEST, LIST, CHECK, UNDO, SUBMIT = (Action.call(name) for name in ("test", "list", "check", "undo", "submit"))

HOSTILE_PROGRAMS: dict[str, str] = {
    "endless": "while True: pass",
    "fork": "import os\n    while True: os.fork()",
    "processes": "import os\n    while True: os.system('sleep 30 &')",
    "outside": "open('/outside', 'w').write('x')",
    "system": "open('/usr/outside', 'w').write('x')",
    "secret": "return len(open('{secret}').read())",
    "beside": "open('{secret}x', 'w').write('x')",
    "socket": "import socket\n    socket.create_connection(('127.0.0.1', {port}), 1)",
    "list": "return len([0] * (10 ** 9))",
    "number": "return 10 ** 10 ** 10",
    "text": "return len('x' * 10 ** 10)",
    "print": "while True: print('x' * 1000)",
    "recursion": "return f(a)",
    "exit": "import os\n    os._exit(0)",
    "kill": "import os, signal\n    os.kill(-1, signal.SIGKILL)",
    "fill": "n = 0\n    while True:\n        open(str(n), 'w').write('x' * 10 ** 6)\n        n += 1",
}
"""Bodies of `def f(a)` that no sandbox may let out; in one line each is a hostile edit too."""

HOSTILE_EDITS = (
    "import os",
    "from os import system",
    "return __import__ ( 'os' )",
    "return ( 1 ) . __class__",
    "return a . __class__ . __bases__",
    "return open ( 'x' )",
    "return eval ( '1' )",
    "exec ( 'x' )",
    "return lambda : 0",
    "global a",
    "del a",
    "raise a",
    "assert a",
    "return f'{a}'",
    'return "x" * 9',
    "return 'x'",
    "return 10 ** 10 ** 10",
    "return 9 ** 9 ** 9 ** 9",
    "return [ 0 ] * 99 * 99 * 99 * 99",
    "return sum ( range ( 99 ** 9 ) )",
    "while True : pass",
    "while True : t = 1",
    "for i in range ( 99 * 99 * 99 ) : t = i",
    "return all ( i for i in range ( 99 ** 99 ) )",
    "return ( yield )",
    "return ( t := 1 )",
    "return { 1 : 2 }",
    "return 1.5",
    "return 1j",
    "return 0x1f",
    "return 1_000",
    "return zebra",
    "len = 1",
    "return a [ 0 ] . append ( 1 )",
    "a . append ( 1 )",
    "return a if",
    "return (",
    "(" * 90,
    "-" * 90 + "1",
    "not " * 24 + "1",
    "a" * 100_000,
    "return a # why",
    "return a ; return b",
    "return\ta",
    "return a\nimport os",
    "return \u00e9",
    "return \u0000",
    "\ud800",
    "return \u202ea",
    "",
    " ",
    "else : pass",
    "break",
    "return a is a",
    "return ~ a",
    "return a << 99",
    "return * a",
    "return print ( 1 )",
    "async def f ( ) : pass",
    "def f ( ) : pass",
    "@ a",
    "match a : pass",
    "try : pass",
    "with a : pass",
)

_OPERATORS = ("+", "-", "*", "%", "/", "//", "<", ">", "<=", ">=", "==", "!=", "and", "or", "&", "|")
_CALLS = ("len", "min", "max", "sum", "abs", "sorted", "list", "int", "bool", "all", "any", "range")


def edit(line: int, text: str) -> Action:
    return Action.call("edit", line=line, text=text)


def random_expression(rng: random.Random, depth: int = 2) -> str:
    """An expression over `a`, `b` (numbers) and `x` (a list); many raise, as policies' code does."""
    if depth == 0:
        return rng.choice(("a", "b", "x", "i", "t", str(rng.randrange(10)), "x [ 0 ]", "True", "a", "b", "x"))
    left, right = random_expression(rng, depth - 1), random_expression(rng, depth - 1)
    return rng.choice(
        (
            f"{left} {rng.choice(_OPERATORS)} {right}",
            f"( {left} {rng.choice(_OPERATORS)} {right} )",
            f"{rng.choice(_CALLS)} ( {left} )",
            f"{rng.choice(('min', 'max'))} ( {left} , {right} )",
            f"{left} if {right} else {random_expression(rng, 0)}",
            f"- {left}",
            f"not {left}",
            f"x [ {left} ]",
            f"x [ {left} : {right} ]",
            "x [ : : - 1 ]",
            f"x . count ( {left} )",
            f"[ a , b , {rng.randrange(10)} ]",
            f"sum ( {left} for i in x )",
            f"[ i {rng.choice(_OPERATORS)} {rng.randrange(9)} for i in x if i > {rng.randrange(5)} ]",
        )
    )


def random_function(rng: random.Random) -> str:
    """A `def f` of one or a few lines, with loops and changes in place."""
    lines = [f"return {random_expression(rng)}"]
    if rng.random() < 0.5:
        start = rng.choice(("0", "1", "x", "[ ]", "a"))
        header = rng.choice(("for i in x :", f"for i in range ( {random_expression(rng, 0)} ) :", "if a > b :"))
        change = rng.choice(("t = t + i", "t += i", "t = max ( t , i )", "t *= 2", "x += [ a ]", "t -= a", "t += x"))
        lines = [
            f"t = {start}",
            header,
            f"    {change}",
            f"return {rng.choice(('t', 'x', 't', random_expression(rng)))}",
        ]
    return "\n".join(["def f ( a , b , x ) :", *(f"    {line}" for line in lines), ""])


def hostile_action(rng: random.Random, env: Coding) -> Action:
    """A malformed, ill-typed, unknown or hostile action; sometimes a plain one."""
    tools = [tool.name for tool in env.tools if tool.name != "submit"]
    scraps = (*HOSTILE_EDITS, "m1", "m2", "m3", "../m1", "/etc/passwd", "name", *tools)
    values = (None, True, -1, 0, 1, 2, 10**30, 1.5, [], ["m1"], {"a": 1}, *scraps)
    kind = rng.random()
    if kind < 0.1:
        return rng.choice((Action(), Action.say("zebra \x00"), Action(malformed="no call")))
    if kind < 0.2:
        text = rng.choice(("", "{", "[" * 5000, '{"a":' * 3000, "null", "[1]", '"x"', "\ud800", "{" * 99, "NaN"))
        return Action(tool_calls=(ToolCall(name=rng.choice((*tools, "zebra")), arguments=text),))
    if kind < 0.6:
        return edit(rng.randrange(-1, 12), rng.choice(scraps))
    arguments = {rng.choice(("name", "line", "text", "zebra")): rng.choice(values) for _ in range(rng.randrange(4))}
    call = ToolCall(name=rng.choice((*tools, "zebra", "")), arguments=json.dumps(arguments))
    return Action(tool_calls=(call,) * rng.choice((1, 1, 1, 2, 9)))


def single(template: str, seed: int = 0) -> Coding:
    """A task with one broken function and no further routine."""
    return reset(seed, Knobs(bugs=(1, 1), routine=0.0, sibling=0.0, templates=(template,)))


def play(env: Coding, *actions: Action) -> list[str]:
    return [env.step(action)[0].content for action in actions]


def view(name: str) -> Action:
    return Action.call("view", name=name)


def test_of(name: str) -> Action:
    return Action.call("test", name=name)


test_of.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def accepted(env: Coding, action: Action) -> bool:
    """Brings the episode as far forward as the canonical demonstration."""
    expert, branch = env.clone(), env.clone()
    expert.step(env.demonstrations()[0])
    branch.step(action)
    return branch.remaining() < INF and branch.remaining() <= expert.remaining()


def double(first: str, second: str, *, two_files: bool) -> Coding:
    knobs = Knobs(bugs=(2, 2), routine=0.0, second_file=float(two_files), templates=(first, second))
    return reset(0, knobs)


def fix(env: Coding, number: int) -> Action:
    function = env.task.functions[number]
    return edit(env.task.start_of(number) + function.bug_line + 1, function.right[function.bug_line])
