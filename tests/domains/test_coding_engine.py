"""The in-process engine: what it allows, what it computes, and that nothing runs long or grows large."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from pivot_jax.domains.coding import engine
from pivot_jax.domains.coding.language import MAX_CHARACTERS, Refused, normalised
from tests.domains.coding_cases import random_expression


def run(body: str, *arguments: Any, parameters: str = "a, x") -> engine.Outcome:
    lines = body.split("\n")
    return engine.load("\n".join([f"def f({parameters}):", *(f"    {line}" for line in lines), ""]))(arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("return a+b", "return a + b"),
        ("  t  +=1 ", "t += 1"),
        ("x[-1:]", "x [ - 1 : ]"),
        ("a**2//3!=b", "a ** 2 // 3 != b"),
        ("1if a", "1 if a"),
    ],
)
def test_lines_are_written_one_way(text: str, words: str) -> None:
    assert normalised(text) == words


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "syntax"),
        ("a\n", "syntax"),
        ("'a'", "syntax"),
        ("a ; b", "syntax"),
        ("é", "syntax"),
        ("else : t", "syntax"),
        ("a" * (MAX_CHARACTERS + 1), "limit"),
    ],
)
def test_other_lines_are_refused(text: str, kind: str) -> None:
    with pytest.raises(Refused, match=f"^{kind}$"):
        normalised(text)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("return", "ok"),
        ("return (", "syntax"),
        ("continue", "syntax"),
        ("import os", "forbidden"),
        ("return lambda : 0", "forbidden"),
        ("return x . append", "forbidden"),
        ("return x . __len__ ( )", "forbidden"),
        ("return 100", "forbidden"),
        ("return 1.5", "forbidden"),
        ("return 'a'", "forbidden"),
        ("return { a }", "forbidden"),
        ("x [ 0 ] = 1", "forbidden"),
        ("a = t = 1", "forbidden"),
        ("f = 1", "forbidden"),
        ("return ( len ) ( x )", "ok"),
        ("return x ( 1 )", "forbidden"),
        ("return sorted ( x , key = abs )", "name"),
        ("return max ( * x )", "forbidden"),
        ("return zebra", "name"),
        ("return _tick", "name"),
        ("return __builtins__", "name"),
        ("return _add", "name"),
    ],
)
def test_the_whitelist(body: str, kind: str) -> None:
    try:
        run(body, 1, [1])
        found = "ok"
    except Refused as refused:
        found = str(refused)
    assert found == kind


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a + x [ 0 ]", 6),
        ("return [ i * a for i in x if i > 1 ]", [8, 6]),
        ("return sum ( i for i in x )", 8),
        ("t = 0\nfor i in x :\n    t += i\nreturn t", 8),
        ("t = x\nt += [ a ]\nreturn x", [4, 3, 1, 2]),
        ("t = x\nt = t + [ a ]\nreturn x", [4, 3, 1]),
        ("x *= 2\nreturn x", [4, 3, 1, 4, 3, 1]),
        ("return 1 if a < 1 else f ( a - 1 , x ) * 2", 4),
        ("return list ( reversed ( x ) )", [1, 3, 4]),
        ("return list ( range ( a ) )", [0, 1]),
        ("while a < 9 :\n    a = a * a\nreturn a", 16),
        ("return x . count ( 4 ) + x . index ( 1 )", 3),
        ("return a / 2 == 1", True),
        ("pass", None),
    ],
)
def test_values(body: str, expected: object) -> None:
    assert run(body, 2, [4, 3, 1]) == engine.Outcome(expected)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("while True : pass", "error time"),
        ("while True :\n    a = a + 1", "error time"),
        ("for i in x :\n    x += [ i ]", "error memory"),
        ("for i in x :\n    x += x", "error memory"),
        ("return f ( a , x )", "error time"),
        ("return f ( a + 1 , x ) + f ( a , x )", "error time"),
        ("t = 0\nwhile a :\n    t = sum ( range ( 99 ) )", "error time"),
        ("return all ( i >= 0 for i in range ( 99 ) for t in range ( 99 ) )", "error time"),
        ("return 9 ** 9 ** 9 ** 9", "error memory"),
        ("while True : a = a * a", "error memory"),
        ("while True : a = a ** 9", "error memory"),
        ("while True : a **= 9", "error memory"),
        ("while True : x = x + x", "error memory"),
        ("while True : x += x", "error memory"),
        ("while True : x *= 9", "error memory"),
        ("return [ 0 ] * 99 * 99", "error memory"),
        ("return 99 * 99 * [ 0 ]", "error memory"),
        ("return range ( 99 ** 20 )", "error memory"),
        ("return len ( range ( 99 ** 20 , 0 , - 1 ) )", "error memory"),
        ("x = [ x , x ]", "error"),
        ("return [ x for i in x ]", "error"),
        ("return list ( x for i in x )", "error"),
        ("return ( a , x )", "error"),
        ("return ( i for i in x )", "error"),
        ("return len", "error"),
        ("return t", "error"),
        ("return a % 0", "error"),
        ("return x [ 99 ]", "error"),
    ],
)
def test_whatever_is_long_or_large_or_fails_ends_soon(body: str, error: str) -> None:
    start = time.process_time()
    assert run(body, 2, [4, 3]) == engine.Outcome(error=error)
    assert time.process_time() - start < 0.2


def test_arguments_are_never_changed() -> None:
    items = [1, 2]
    assert run("x += [ 3 ]\nreturn len ( x )", 0, items) == engine.Outcome(3)
    assert run("x += [ 3 ]\nreturn len ( x )", 0, items) == engine.Outcome(3)
    assert items == [1, 2]


def test_the_first_difference_is_found_where_it_is() -> None:
    source = "def f(a):\n    return a if a < 3 else 9 // ( a - 4 )\n"
    cases = [((n,), n) for n in range(6)]
    assert engine.first_difference(source, cases) == ((3,), engine.Outcome(-9), 3)
    assert engine.first_difference(source, cases[4:]) == ((4,), engine.Outcome(error="error"), 4)
    assert engine.first_difference(source, cases[:3]) is None
    changing = "def f(x):\n    x += [ 0 ]\n    return len ( x )\n"
    assert engine.first_difference(changing, [(([1],), 2), (([],), 2)]) == (([],), engine.Outcome(1), 2)


def test_no_text_makes_it_raise() -> None:
    rng = random.Random(0)
    words = "return t a x len f i if else for in while not and or"
    pieces = f"{words} = += ( ) [ ] : , . + - * ** / // % < == 0 9 99".split(" ")
    texts = [
        rng.choice(("return ", "t = ", "")) + " ".join(rng.choice(pieces) for _ in range(rng.randrange(1, 7)))
        for _ in range(6000)
    ]
    texts += [f"return {random_expression(rng, 3)}" for _ in range(1500)]
    loaded = 0
    for text in texts:
        try:
            outcome = run(normalised(text), 2, 1, [4, 3], parameters="a, b, x")
        except Refused:
            continue
        loaded += 1
        assert outcome.error in ("", "error", "error time", "error memory")
    assert loaded > 1000
