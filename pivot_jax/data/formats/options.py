"""What a reader or a writer is told beside the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.records import Candidate

DEFAULT_AGENT = "pivot_jax_agent"


@dataclass(frozen=True)
class ReadOptions:
    """Values for what rows leave out; a row's own value always wins.

    make_ids: a row without an id is named by its file and line, and one without a task is a task of its own.
    domain: the domain of rows that name none.
    tools: the tools of rows that hold none, in the chat form: one list for all under "", or a list for each value of
        the row's `tools_ref`, or of its `domain`.
    """

    make_ids: bool = False
    domain: str = ""
    tools: Mapping[str, list[Any]] = field(default_factory=dict)

    def tools_for(self, tools_ref: object, domain: str) -> list[Any] | None:
        """The tools of a row that has none of its own; FieldError where it names a list that was not given."""
        if tools_ref is not None:
            if isinstance(tools_ref, str) and tools_ref in self.tools:
                return self.tools[tools_ref]
            known = f"known: {', '.join(sorted(self.tools))}" if self.tools else "no file of tools was given"
            raise FieldError("tools_ref", f"{tools_ref!r} names tools in another file (--tools); {known}")
        return self.tools.get("", self.tools.get(domain))


@dataclass(frozen=True)
class WriteOptions:
    """agent: the agent that pivot rows name, where the trajectory was not read with one.

    check_label: says why an expert action would not score 1 against itself, or "" if it does; for pivot rows.
    """

    agent: str = DEFAULT_AGENT
    check_label: Callable[[Candidate], str] | None = None


def tools_of_file(file: Path) -> dict[str, list[Any]]:
    """Tools as `ReadOptions` takes them, of a JSON file: a list of tools, or an object of such lists."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(file, f"not JSON: {error}") from error
    table = {"": value} if isinstance(value, list) else value
    if not isinstance(table, dict) or not all(isinstance(tools, list) for tools in table.values()):
        raise FileError(file, "neither a list of tools nor an object of such lists")
    return table
