"""Equivalence by execution of SQL statements: the same result as the demonstrated one, on the task's real database."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pivot_jax.config_verifier import SqlOptions
from pivot_jax.records import Action, Candidate, ToolCall, Verdict
from pivot_jax.verify.arguments import sampled_arguments
from pivot_jax.verify.sql_engine import SqlEngine, SqlResult
from pivot_jax.verify.verifier import Unjudgeable

ORDERED = re.compile(r"\bORDER\s+BY\b", re.IGNORECASE)


class SqlMatch:
    """1 if the action is one call of the expert's tool whose statement has the expert's result.

    Rows are compared as a multiset, or in their order where the expert's statement orders them; columns by place,
    numbers to nine digits. `SHOW TABLES`, `DESCRIBE t` and `SHOW COLUMNS FROM t`, which SQLite does not know, are
    answered from the schema. A label is not judged (Unjudgeable) if it is no single statement, fails on the database,
    or has an empty result, which too many statements share. Nor is an action that was stopped by a limit.

    Args:
        options: the limits, and whether labels with empty results count.
        databases: task id → SQLite file.
        name: what the rewards are stored under.

    Components: `rows` and `expert_rows`, how many rows each result has.
    """

    def __init__(self, options: SqlOptions, databases: Mapping[str, Path], name: str = "sql") -> None:
        self.name = name
        self._options = options
        self._databases = databases
        self._engine = SqlEngine(options)
        self._kept: tuple[str, SqlResult] = ("", SqlResult("failed"))
        # the actions of one candidate come together: its label is run once

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable as the class says."""
        # the label first: what it cannot judge is left out for every action alike, be it readable or not
        wanted, expert = self._label(candidate), candidate.expert.tool_calls[0]
        if action.malformed:
            return Verdict(reason=action.malformed)
        if len(action.tool_calls) != 1 or action.tool_calls[0].name != expert.name:
            return Verdict(reason=f"not one call of {expert.name!r}")
        written = _statement(action.tool_calls[0])
        if written is None:
            return Verdict(reason="no statement: the arguments have no text `query`")
        found = self._engine.run(self._databases[candidate.task_id], written)
        if found.kind == "limit":
            raise Unjudgeable(f"the statement was stopped: {found.reason}")
        if found.kind != "rows":
            return Verdict(reason=found.reason)
        same = found.ordered == wanted.ordered
        if not ORDERED.search(_statement(expert) or ""):
            same = found.unordered == wanted.unordered
        return Verdict(
            reward=float(same),
            components={"rows": float(found.count), "expert_rows": float(wanted.count)},
            reason="" if same else "another result than the expert's",
        )

    def close(self) -> None:
        """End the process that runs statements; the next verdict starts one."""
        self._engine.close()

    def _label(self, candidate: Candidate) -> SqlResult:
        """The expert's result; Unjudgeable if it has none to compare with."""
        label = f"label of {candidate.id}"
        if candidate.task_id not in self._databases:
            raise Unjudgeable(f"{label}: no database is known for task {candidate.task_id!r}")
        if len(candidate.expert.tool_calls) != 1:
            raise Unjudgeable(f"{label}: not one call")
        statement = _statement(candidate.expert.tool_calls[0])
        if statement is None:
            raise Unjudgeable(f"{label}: the arguments have no text `query`")
        database = self._databases[candidate.task_id]
        key = f"{database}\0{statement}"
        if self._kept[0] != key:
            self._kept = (key, self._engine.run(database, statement))
        result = self._kept[1]
        if result.kind != "rows":
            raise Unjudgeable(f"{label}: {result.reason}")
        if not result.count and not self._options.empty_labels:
            raise Unjudgeable(f"{label}: its result is empty")
        return result


def _statement(call: ToolCall) -> str | None:
    arguments = sampled_arguments(call)
    query = arguments.get("query") if arguments else None
    return query if isinstance(query, str) else None


def read_databases(folder: Path, tasks: Path) -> dict[str, Path]:
    """Task id → SQLite file.

    Args:
        folder: holds `NAME.sqlite` for every database.
        tasks: JSONL file of the tasks; a row has `task_id` (text or a whole number) and `db`, a NAME.

    Raises:
        OSError: a file that cannot be read, or a database that is not there.
        ValueError: a row without these fields; the message names file and line.
    """
    found: dict[str, Path] = {}
    with tasks.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                task, name = str(row["task_id"]), str(row["db"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{tasks}:{number}: a row needs task_id and db: {error}") from error
            found[task] = folder / f"{name}.sqlite"
            if not found[task].is_file():
                raise FileNotFoundError(f"{tasks}:{number}: db: {found[task]} is not there")
    return found
