"""Reading pivot rows as trajectories: each is rebuilt from its rows.

The input of every row is a prefix of its trajectory's longest row, and the row's label is the action that follows
there. Rows of one trajectory share `trajectory_id`; rows without one are matched by prefix alone. The file is read
twice: first every row leaves hashes in an index, then the longest row of each trajectory is read again and becomes the
trajectory. Memory grows with the index, not with what the rows say: a row takes some hundred bytes, 8 more for each
turn before it, and its facts (below). The order of the rows does not matter.

`metadata["pivot_rows"]` holds, by turn, what the rows said beside state and label (pass rates, uuid, agent_ref,
metadata). Without `trajectory_id` a trajectory is named by the uuid of its longest row, else by file and line.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pivot_jax.data.failure import FieldError, FileError
from pivot_jax.data.formats.bad_rows import BadRows
from pivot_jax.data.formats.options import DEFAULT_AGENT, ReadOptions
from pivot_jax.data.formats.pivot_row import LABEL, REQUEST, PivotRow, read_pivot_row
from pivot_jax.data.formats.pivot_rows import BY_TURN, TRAJECTORY, About, agent_ref, meta_info
from pivot_jax.data.formats.responses_items import tools_of_request
from pivot_jax.data.formats.rows import Row, RowSource
from pivot_jax.data.formats.wellformed import check_turns, with_failed_answers
from pivot_jax.records import Action, Trajectory


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What the first pass keeps of a row: `own` identifies (state, label), `earlier` those of the turns before it."""

    line: int
    length: int
    turn: int
    own: int
    earlier: array[int]
    facts: dict[str, Any]


def read(source: RowSource, options: ReadOptions, bad: BadRows) -> Iterator[tuple[Trajectory, Row]]:
    """The rebuilt trajectories, each where its longest row stands."""
    if source.file.is_fifo():
        raise FileError(source.file, "pivot rows are read twice: that needs a file, not a pipe")
    groups: dict[str, list[_Indexed]] = defaultdict(list)
    for row in source:
        bad.read += 1
        try:
            pivot = read_pivot_row(row.value())
            _trajectory(pivot, row, options, {})  # every row must do for the longest one
            groups[pivot.trajectory_id].append(_index(pivot, row.line))
        except (FieldError, ValidationError) as error:
            bad.refuse(source.file, row, error)
    facts: dict[int, dict[str, Any]] = {}
    faults: dict[int, FieldError] = {}
    for trajectory_id in list(groups):
        _assemble(groups.pop(trajectory_id), bool(trajectory_id), facts, faults)
    for row in source:
        if row.line in faults:
            bad.refuse(source.file, row, faults[row.line])
        elif row.line in facts:
            yield _trajectory(read_pivot_row(row.value()), row, options, facts.pop(row.line)), row


def _index(pivot: PivotRow, line: int) -> _Indexed:
    state = _hash("tools", [tool.model_dump() for tool in pivot.tools])
    earlier = array("Q")
    for position, message in enumerate(pivot.state):
        if message.role == "assistant" and position > 0:
            earlier.append(_hash(state, _identity(Action.of(message))))
        state = _hash(state, message.model_dump())
    own = _hash(state, _identity(pivot.label))
    return _Indexed(line, len(pivot.state), len(earlier), own, earlier, _facts(pivot, len(earlier)))


def _facts(pivot: PivotRow, turn: int) -> dict[str, Any]:
    """What a row says beside state and label, less what a written row says anyway."""
    derived = {
        "uuid": f"{pivot.trajectory_id}#{turn}",
        "agent_ref": agent_ref(DEFAULT_AGENT),
        "meta_info": meta_info(pivot.state),
    }
    facts = {key: item for key, item in pivot.facts.items() if key != "metadata" and derived.get(key) != item}
    metadata = {key: item for key, item in pivot.facts.get("metadata", {}).items() if key != TRAJECTORY}
    return facts | ({"metadata": metadata} if metadata else {})


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _identity(action: Action) -> object:
    """What a label says of an action: the calls, or the text where there is none."""
    return [[call.name, call.arguments] for call in action.tool_calls] or action.content


def _assemble(
    rows: list[_Indexed], named: bool, facts: dict[int, dict[str, Any]], faults: dict[int, FieldError]
) -> None:
    """Sort the rows of one group into trajectories: under the line of each longest row the facts of its turns, and
    under the line of each row that fits nowhere its fault."""
    covered: set[int] = set()
    longest: list[_Indexed] = []
    waiting: dict[int, list[_Indexed]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row.length, row.line)):
        if row.own in covered:
            waiting[row.own].append(row)
        elif named and longest:
            reason = f"not a prefix of the trajectory's longest row, line {longest[0].line}, or another action there"
            faults[row.line] = FieldError(f"{REQUEST}.input", reason)
        else:
            longest.append(row)
            covered.update(row.earlier, [row.own])
    taken: dict[int, int] = {row.own: row.line for row in longest}
    for last in sorted(longest, key=lambda row: row.line):
        by_turn = {str(last.turn): last.facts} if last.facts else {}
        for own in last.earlier:
            if waiting[own]:
                row = waiting[own].pop(0)
                taken[own] = row.line
                by_turn |= {str(row.turn): row.facts} if row.facts else {}
        facts[last.line] = dict(sorted(by_turn.items(), key=lambda item: int(item[0])))
    for own, left in waiting.items():
        for row in left:
            faults[row.line] = FieldError(LABEL, f"the same turn is already on line {taken[own]}")


def _trajectory(pivot: PivotRow, row: Row, options: ReadOptions, by_turn: dict[str, Any]) -> Trajectory:
    said = pivot.facts.get("metadata", {})
    about = said.get(TRAJECTORY, {})
    try:
        known = About.model_validate(about)
    except ValidationError as error:
        raise FieldError.of_validation(error, f"metadata.{TRAJECTORY}") from error
    own = pivot.trajectory_id or pivot.facts.get("uuid") or row.label
    domain = known.domain if known.domain is not None else str(said.get("domain", options.domain))
    # a row written here says of its own what its request held; of another's row the request is all there is
    request = {} if about else pivot.request
    metadata = known.metadata | ({"request": request} if request else {}) | ({BY_TURN: by_turn} if by_turn else {})
    place = f"metadata.{TRAJECTORY}.failed_outputs"
    trajectory = Trajectory(
        id=own,
        domain=domain,
        task_id=known.task_id or str(said.get("task_id") or own),
        messages=(*with_failed_answers(pivot.state, known.failed_outputs, place), pivot.label.message()),
        tools=pivot.tools or tools_of_request(options.tools_for(None, domain) or [], "tools"),
        reward=known.reward,
        metadata=metadata,
    )
    return check_turns(trajectory, f"{REQUEST}.input")
