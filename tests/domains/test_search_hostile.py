"""Hostile and random actions: answered from the closed vocabulary, contained by the engine, harmless to the host."""

from __future__ import annotations

import json
import random
import sqlite3
import string
import threading
from pathlib import Path

import pytest

from pivot_jax.domains.search import Knobs, Search, collection, reset
from pivot_jax.domains.search.collection import Collection, Document, Refused
from pivot_jax.domains.search.generation import draw_task
from pivot_jax.domains.search.lexicon import HANDLES
from pivot_jax.records import Action, ToolCall

QUERIES = (
    '"',
    '"elm',
    "elm*",
    "title:elm",
    "handle : a1",
    "{title text} : elm",
    "NEAR(elm team, 2)",
    "elm AND NOT team",
    "^elm + team",
    "-elm",
    "(((((",
    "elm') ; drop table docs; --",
    "' union select sql from sqlite_master --",
    "load_extension('x')",
    "\0elm\0",
    "elm\u202eteam \ud800",
    "\N{KELVIN SIGN}im black",
    "٣ ② ½",
    "é" * 100,
)


def call(name: str, arguments: str) -> Action:
    return Action(tool_calls=(ToolCall(name=name, arguments=arguments),))


def closed_vocabulary(env: Search) -> set[str]:
    """Every word that the environment may say: its documents, its handles and its fixed phrases."""
    documents = env.task.collection.documents.values()
    words = " ".join(f"{one.handle} {one.title} {one.text}" for one in documents).split()
    phrases = "ok busy none i do not understand no thanks goodbye error unknown wrong call too long found now search"
    return {*words, *phrases.split(), "first", "note", "back", "check", "wait"}


def hostile_action(rng: random.Random) -> Action:
    names = ("search", "next", "open", "note", "back", "check", "wait", "rm", "", "search\0", "\ud800", "😀")
    keys = ("query", "id", "text", "", "more", "\ud800")
    values: tuple[object, ...] = (
        *QUERIES, None, 3, 1e308, True, [], {}, ["elm"], {"a": 1}, "x " * 5000, "elm " * 9, "a1", "../../etc/passwd",
    )  # fmt: skip
    kind = rng.randrange(8)
    if kind == 0:
        return Action.say("".join(rng.choices(string.printable, k=rng.randrange(60))))
    if kind == 1:
        return Action(malformed="no reading")
    if kind == 2:
        return Action(tool_calls=tuple(ToolCall(name="search", arguments='{"query": "elm"}') for _ in range(9)))
    if kind == 3:
        return call(rng.choice(names), rng.choice(("", "[" * 9000, '{"a":' * 9000, "null", "[]", "{", "NaN", "\0")))
    if kind == 4:
        return call(rng.choice(names), json.dumps(dict.fromkeys(rng.sample(keys, 2), rng.choice(values))))
    tool, key = rng.choice((("search", "query"), ("open", "id"), ("note", "id")))
    return call(tool, json.dumps({key: rng.choice(values)}))


def test_a_thousand_hostile_actions_are_answered_and_leave_the_environment_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    kinds: dict[str, int] = {}
    for number in range(1000):
        env = reset(number % 20)
        for _ in range(rng.randrange(5)):
            env.step(env.demonstrations()[0])
        allowed, before = closed_vocabulary(env), dict(env.task.collection.documents)
        branch = env.clone()
        messages = branch.step(hostile_action(rng))
        assert messages
        for message in messages:
            assert set(message.content.split()) <= allowed, message
            assert message.is_error == message.content.startswith("error ")
            if message.is_error:
                kinds[message.content] = kinds.get(message.content, 0) + 1
        assert env.task.collection.documents == before
        branch.step(branch.demonstrations()[0])
        assert branch.remaining() == branch.clone().remaining() < float("inf")
    assert {"error unknown call", "error wrong call", "error too long", "error not found"} <= set(kinds)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("query", QUERIES)
def test_no_operator_reaches_the_engine(query: str) -> None:
    env = reset(1, Knobs(listed=0.0))
    (message,) = env.step(Action.call("search", query=query))
    assert set(message.content.split()) <= closed_vocabulary(env)
    assert not message.is_error or message.content in ("error wrong call", "error too long")


def test_operators_are_read_as_words() -> None:
    found = Collection([Document("a1", "elm team", "", "near"), Document("a2", "oak town", "", "not")])
    assert found.search(("elm", "not")) == ("a1", "a2")
    assert found.search(("not",)) == ("a2",)
    assert found.search(("near",)) == ("a1",)
    assert found.search(('el"m*',)) == found.search(("title:elm",)) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into docs values ('x', 'x', 'x', 'x')",
        "delete from docs",
        "drop table docs",
        "create table t (a)",
        "attach '/nowhere/file' as other",
        "pragma query_only = off",
        "vacuum into '/nowhere/file'",
        "begin",
        "select load_extension('x')",
        "select writefile('x', 'y')",
        "select hex(zeroblob(1000000000))",
        "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c",
        "insert into docs(docs) values ('rebuild')",
    ],
)
def test_the_connection_can_only_read(statement: str) -> None:
    connection = Collection(reset(2).task.collection.documents.values())._connection
    with pytest.raises(sqlite3.Error):
        connection.execute(statement).fetchall()
    assert len(connection.execute("select id from docs_content").fetchall()) == len(HANDLES)


def test_a_query_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    env = reset(3, Knobs(listed=0.0))
    monkeypatch.setattr(collection, "MOST_TICKS", 0)
    with pytest.raises(Refused, match="interrupted"):
        env.task.collection.search(("elm", "slow"))
    (message,) = env.step(Action.call("search", query="team slow"))
    assert (message.content, message.is_error) == ("error too long", True)
    monkeypatch.undo()
    (message,) = env.step(Action.call("search", query="team slow"))
    assert len(message.content.split()) == 9


def test_what_is_kept_is_bounded() -> None:
    env = reset(4)
    for number in range(2 * collection.CACHED_QUERIES):
        env.task.collection.search((f"w{number}",))
    assert len(env.task.collection._rankings) == collection.CACHED_QUERIES
    before = env.task.collection.search(("elm",))
    for seed in range(1000, 1080):
        reset(seed)
    info = draw_task.cache_info()
    assert info.maxsize is not None and info.currsize <= info.maxsize
    assert reset(4).task is not env.task
    assert env.task.collection.search(("elm", "elm")) == before == reset(4).task.collection.search(("elm",))


def test_threads_may_share_a_collection() -> None:
    found = reset(5).task.collection
    words = [(first, second) for first in ("elm", "oak", "ann", "bob") for second in ("team", "town", "blue", "red")]
    expected = {pair: Collection(found.documents.values()).search(pair) for pair in words}
    wrong: list[tuple[str, str]] = []

    def work() -> None:
        wrong.extend(pair for _ in range(20) for pair in words if found.search(pair) != expected[pair])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(("query", "error"), [("elm " * 8, False), ("elm " * 9, True), ("é" * 201, True)])
def test_the_words_and_characters_of_a_query_are_bounded(query: str, error: bool) -> None:
    (message,) = reset(6, Knobs(listed=0.0)).step(Action.call("search", query=query))
    assert (message.content == "error too long") == error
