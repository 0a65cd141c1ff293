"""Statements that a policy wrote, run on copies of SQLite databases in a child process that can do nothing else.

What is sampled is hostile until proven otherwise. So a statement may read and no more: it runs on a copy in memory,
behind an authorizer, within limits of instructions, rows, string lengths and memory, and a process that does not answer
in time is killed. The child returns digests of a result, never the result.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pivot_jax.config_verifier import SqlOptions

Kind = Literal["rows", "failed", "large", "limit"]


@dataclass(frozen=True)
class SqlResult:
    """What became of a statement.

    `rows`: it ran, `count` rows with the digests `ordered` and `unordered` (of the rows as a multiset). `failed`: it is
    no statement that may run here, `reason` says why. `large`: more rows than are allowed. `limit`: it was stopped.
    """

    kind: Kind
    reason: str = ""
    count: int = 0
    ordered: str = ""
    unordered: str = ""


class SqlEngine:
    """Runs statements, one at a time, in a child process that is started when needed and ends with this object.

    Args:
        options: the limits.
    """

    def __init__(self, options: SqlOptions) -> None:
        self._options = options
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, database: Path, statement: str) -> SqlResult:
        """The result of a statement on a fresh state of the database (no statement changes it).

        Raises:
            FileNotFoundError: there is no such database.
            RuntimeError: the child process cannot be started, or fails on its own account.
        """
        if not database.is_file():
            raise FileNotFoundError(f"{database}: no such database")
        child = self._running()
        request = json.dumps({"database": str(database), "statement": statement}) + "\n"
        try:
            _pipe(child.stdin).write(request.encode())
            _pipe(child.stdin).flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"the SQL process ended by itself, exit code {child.wait()}") from error
        ready, _, _ = select.select([child.stdout], [], [], self._options.seconds)
        answer = _pipe(child.stdout).readline() if ready else b""
        if not answer:
            # killed by us after the time limit, or by the kernel for memory: the next statement gets a new process
            self.close()
            return SqlResult("limit", "no answer in time" if not ready else "the process that ran it died")
        return SqlResult(**json.loads(answer))

    def close(self) -> None:
        """End the child process, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            _end(child)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            options = self._options
            limits = [str(options.steps), str(options.rows), str(options.memory)]
            worker = str(Path(__file__).with_name("sql_worker.py"))
            # -I: nothing of the environment or the folder; the worker imports the standard library alone
            words = [sys.executable, "-I", worker, *limits]
            self._child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            weakref.finalize(self, _end, self._child)
        return self._child


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):  # what was not sent any more
            _pipe(pipe).close()
