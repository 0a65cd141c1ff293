"""The same functions in a real Python interpreter inside bubblewrap: the truth that the engine is compared with.

Nothing is checked or metered here, so the source may be any program. The sandbox is the terminal domain's: no network,
nothing of the host but its read-only `/usr`, limits on time, memory, processes, files and output.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pivot_jax.domains.coding.engine import Arguments, Outcome
from pivot_jax.domains.terminal import sandbox
from pivot_jax.domains.terminal.filesystem import FileSystem

_JOBS, _RESULTS, _DRIVER_FILE = "jobs.json", "results.json", "run.py"
_COMMAND = f"python3 -I -S {_DRIVER_FILE}"
_DRIVER = """
import json, signal

class OutOfTime(BaseException):
    pass

def alarm(*_):
    raise OutOfTime

def outcome(function, arguments, seconds):
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        value = function(*arguments)
        if value is None or isinstance(value, (int, float, list)):
            json.dumps(value)
            return [value, ""]
        return [None, "error"]
    except (OutOfTime, RecursionError):
        return [None, "error time"]
    except MemoryError:
        return [None, "error memory"]
    except BaseException:
        return [None, "error"]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)

signal.signal(signal.SIGPROF, alarm)
results = []
for source, name, seconds, cases in json.load(open("jobs.json")):
    names, calls = {}, []
    loaded = outcome(lambda: exec(source, names), (), seconds)
    while cases:
        # The arguments are let go with the call: a list may have grown to all of the memory.
        arguments = cases.pop(0)
        calls.append(loaded if loaded[1] else outcome(names.get(name), arguments, seconds))
        del arguments
    results.append(calls)
with open("results.json", "w") as file:
    json.dump(results, file)
"""


@dataclass(frozen=True)
class Job:
    """A program, the function in it to be called, and the arguments of each call."""

    source: str
    name: str
    cases: tuple[Arguments, ...]


@dataclass(frozen=True)
class Report:
    """What the interpreter made of the jobs, and what it left behind.

    Attributes:
        outcomes: for each job, one outcome a case; None when the interpreter did not live to write them. (A hostile
            program could write them itself: they are the truth for programs that mean to tell it.)
        code: its exit code.
        error: the first line of its errors in short; "limit reached" when a limit ended it.
        stdout: what the programs printed, cut at the limit.
        left: files that the programs left in their directory.
    """

    outcomes: tuple[tuple[Outcome, ...], ...] | None
    code: int
    error: str
    stdout: str
    left: frozenset[str]


def run(jobs: Sequence[Job], limits: sandbox.Limits = sandbox.DEFAULT_LIMITS, seconds: float = 1.0) -> Report:
    """Run the jobs in turn in one interpreter, each call for at most `seconds` of CPU time.

    Raises:
        RuntimeError: bubblewrap is not installed, or could not start.
    """
    described = [(job.source, job.name, seconds, job.cases) for job in jobs]
    files = {_JOBS: json.dumps(described), _DRIVER_FILE: _DRIVER}
    result = sandbox.run(FileSystem.of(files), _COMMAND, limits)
    written = dict(result.tree.files())
    outcomes = _read(written.get(_RESULTS, ""), jobs) if result.code == 0 else None
    left = frozenset(written) - {_JOBS, _RESULTS, _DRIVER_FILE}
    return Report(outcomes, result.code, result.error, result.stdout, left)


def _read(text: str, jobs: Sequence[Job]) -> tuple[tuple[Outcome, ...], ...] | None:
    """The outcomes that were written; None if it is not one for each call. Children that a hostile program forked
    write to the same file."""
    try:
        outcomes = tuple([tuple([Outcome(*call) for call in calls]) for calls in json.loads(text)])
    except (ValueError, TypeError, RecursionError):
        return None
    return outcomes if list(map(len, outcomes)) == [len(job.cases) for job in jobs] else None
