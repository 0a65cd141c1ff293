"""SQL verdicts by execution: equal results pass whatever the text; hostile statements reach and stop nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.config_verifier import SqlOptions
from pivot_jax.records import Action
from pivot_jax.verify.sql import SqlMatch, read_databases
from pivot_jax.verify.sql_engine import SqlEngine
from pivot_jax.verify.verifier import Unjudgeable
from tests.verify.candidates import candidate

OPTIONS = SqlOptions(databases="d", tasks="t", steps=200_000, rows=50, memory=32, seconds=20)
VOCABULARY = """
    SELECT * FROM singer WHERE age > name ORDER BY LIMIT ( ) , ; ' " -- /* 1 -1 NULL ATTACH DATABASE PRAGMA WITH
    RECURSIVE UNION ALL DELETE UPDATE INSERT DROP TABLE CREATE VACUUM INTO load_extension writefile readfile
    zeroblob(99) EXPLAIN randomblob(9) printf('%99d',1) x AS t JOIN USING BEGIN COMMIT SAVEPOINT REINDEX ANALYZE
    DETACH SHOW TABLES DESCRIBE
"""
WORDS = st.sampled_from(VOCABULARY.split())


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sql") / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE singer (id INTEGER, name TEXT, age INTEGER, share REAL)")
        rows = [(1, "Ann", 30, 0.1), (2, "Bo", 20, 0.2), (3, "Cy", 40, 0.3)]
        connection.executemany("INSERT INTO singer VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE song (title TEXT)")
    connection.close()
    return path


@pytest.fixture(scope="module")
def verifier(database: Path):
    made = SqlMatch(OPTIONS, {"d/0": database})
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine():
    made = SqlEngine(OPTIONS)
    yield made
    made.close()


def query(text: str) -> Action:
    return Action.call("sql", query=text)


@pytest.mark.parametrize(
    ("expert", "sampled", "accepted"),
    [
        ("SELECT name FROM singer WHERE age > 25", "select t.NAME from singer t where t.age >= 26", True),
        ("SELECT name FROM singer", "SELECT name FROM singer ORDER BY age", True),  # no order was asked for
        ("SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY age DESC", False),
        ("SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY share DESC LIMIT 3", False),
        ("SELECT count(*) FROM singer", "SELECT 3.0", True),
        ("SELECT sum(share) FROM singer", "SELECT 0.6", True),  # 0.1 + 0.2 + 0.3 is not 0.6 in binary
        ("SELECT name FROM singer", "SELECT name FROM singer UNION ALL SELECT name FROM singer", False),
        ("SELECT name, age FROM singer", "SELECT age, name FROM singer", False),
        ("SELECT age FROM singer WHERE id = 1", "SELECT '30'", False),
        ("SHOW TABLES", "SELECT name FROM sqlite_master WHERE type = 'table'", True),
        ("DESCRIBE singer", "SHOW COLUMNS FROM Singer;", True),
        ("DESCRIBE singer", "DESCRIBE song", False),
        ("DESCRIBE singer", "DESCRIBE nothing", False),
        ("SELECT name FROM singer", "SELECT nome FROM singer", False),
        ("SELECT name FROM singer", "SELECT a.id FROM singer a, singer b, singer c, singer d", False),  # too many rows
        ("SELECT name FROM singer", "DROP TABLE singer", False),
        ("SELECT name FROM singer", "", False),
    ],
)
def test_equal_results_pass(verifier, expert, sampled, accepted):
    assert verifier(candidate(query(expert)), query(sampled)).reward == accepted


@pytest.mark.parametrize(
    "action",
    [
        Action.say("there are three"),
        Action.call("bash", query="SELECT name FROM singer"),
        Action.call("sql", statement="SELECT name FROM singer"),
        Action(tool_calls=query("SELECT name FROM singer").tool_calls * 2),
        Action(malformed="cut off"),
    ],
)
def test_what_is_no_single_statement_scores_zero(verifier, action):
    assert verifier(candidate(query("SELECT name FROM singer")), action).reward == 0


@pytest.mark.parametrize(
    ("expert", "why"),
    [
        (query("SELECT name FROM singers"), "no such table: singers"),
        (query("SELECT name FROM singer WHERE age > 99"), "its result is empty"),
        (query("UPDATE singer SET age = 1"), "not authorized"),
        (Action.say("done"), "not one call"),
    ],
)
def test_a_label_without_a_result_judges_nothing(verifier, expert, why):
    with pytest.raises(Unjudgeable, match=why):
        verifier(candidate(expert), query("SELECT name FROM singer"))
    with pytest.raises(Unjudgeable, match=why):
        verifier(candidate(expert), Action(malformed="cut off"))
    with pytest.raises(Unjudgeable, match="no database is known for task 'd/1'"):
        verifier(candidate(query("SELECT 1"), task_id="d/1"), query("SELECT 1"))


def test_empty_labels_can_be_judged(database):
    lax = SqlMatch(OPTIONS.model_copy(update={"empty_labels": True}), {"d/0": database})
    empty = candidate(query("SELECT name FROM singer WHERE age > 99"))
    assert lax(empty, query("SELECT 1 WHERE 0")).reward == 1 and lax(empty, query("SELECT 1")).reward == 0
    lax.close()


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (ENDLESS + "SELECT max(x) FROM c", "limit"),
        (ENDLESS + "SELECT zeroblob(90000) || x AS y FROM c LIMIT 9000 ORDER BY y", "failed"),  # no such grammar
        (ENDLESS + "SELECT y FROM (SELECT hex(zeroblob(40000)) || x AS y FROM c LIMIT 9000) ORDER BY y", "limit"),
        ("SELECT zeroblob(1000000000)", "failed"),
        ("SELECT replace(hex(zeroblob(30000)), '00', hex(zeroblob(30000)))", "failed"),
        ("SELECT '" + "a" * 90_000 + "' LIKE '" + "%a" * 90 + "b'", "rows"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "failed"),
        ("SELECT random()", "failed"),
        ("PRAGMA hard_heap_limit = 0", "failed"),
        ("SELECT load_extension('x')", "failed"),
        ("SELECT 1; DROP TABLE singer", "failed"),
        ("SELECT '\x00'", "failed"),
        ("SELECT '\ud800'", "failed"),
        (ENDLESS + "SELECT x FROM c", "large"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_hostile_statements_end_and_the_next_one_is_answered(engine, database, statement, kind):
    began = time.monotonic()
    assert engine.run(database, statement).kind == kind
    assert time.monotonic() - began < OPTIONS.seconds
    assert engine.run(database, "SELECT count(*) FROM singer").count == 1


@pytest.mark.parametrize("verb", ["ATTACH '{}' AS other", "VACUUM INTO '{}'", "SELECT writefile('{}', 'x')"])
def test_no_file_is_made(engine, database, tmp_path, verb):
    assert engine.run(database, verb.format(tmp_path / "made")).kind == "failed"
    assert not (tmp_path / "made").exists()


@given(words=st.lists(WORDS, max_size=14))
@settings(deadline=None, max_examples=150)
def test_no_statement_changes_the_database_or_the_process(engine, database, words):
    before = hashlib.sha256(database.read_bytes()).digest()
    found = engine.run(database, " ".join(words))
    assert found.kind in ("rows", "failed", "large", "limit")
    assert engine.run(database, "SELECT name, age FROM singer").count == 3
    assert engine.run(database, " ".join(words)) == found  # nothing is left of the first time
    assert hashlib.sha256(database.read_bytes()).digest() == before


def test_a_process_that_does_not_answer_is_replaced(database):
    slow = SqlEngine(OPTIONS.model_copy(update={"steps": 10**9, "seconds": 1.0}))
    assert slow.run(database, ENDLESS + "SELECT max(x) FROM c").kind == "limit"
    slow.close()
    patient = SqlEngine(OPTIONS)
    assert patient.run(database, "SELECT 1").kind == "rows"
    patient.close()


def test_databases_are_found_by_task(tmp_path, database):
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps({"task_id": 7, "db": "shop"}) + "\n")
    assert read_databases(database.parent, tasks) == {"7": database}
    tasks.write_text(json.dumps({"task_id": 7}) + "\n")
    with pytest.raises(ValueError, match=r"tasks\.jsonl:1: a row needs task_id and db"):
        read_databases(database.parent, tasks)
    tasks.write_text(json.dumps({"task_id": 7, "db": "other"}) + "\n")
    with pytest.raises(FileNotFoundError, match=r"tasks\.jsonl:1: db: .*other\.sqlite is not there"):
        read_databases(database.parent, tasks)
