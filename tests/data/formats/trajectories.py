"""Generated trajectories and rows for the tests of the formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall, Trajectory

ENDING = {"chat": ".jsonl", "responses": ".jsonl", "pivot_rows": ".jsonl", "atif": ".jsonl", "swe_agent": ".jsonl"} | {
    "tau2": ".json",
    "parquet": ".parquet",
}

TEXT = st.text(max_size=12)
NAMES = st.text(min_size=1, max_size=8)
NUMBERS = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
"""JSON without null: a null field is the same as an absent one in some formats."""

OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
METADATA = st.dictionaries(NAMES.map(lambda name: f"x-{name}"), JSON, max_size=3)
TOOLS = st.builds(Tool, name=NAMES, description=TEXT, parameters=OBJECTS)


@st.composite
def messages(draw: st.DrawFn) -> tuple[Message, ...]:
    """A well-formed history: every tool message answers a call of the assistant message before it."""
    said: list[Message] = []
    if draw(st.booleans()):
        said.append(Message(role="system", content=draw(TEXT)))
    if draw(st.booleans()):
        said.append(Message(role="assistant", content=draw(TEXT)))
    said.append(Message(role="user", content=draw(TEXT)))
    for _ in range(draw(st.integers(1, 4))):
        calls = tuple(
            ToolCall(name=draw(NAMES), arguments=json.dumps(draw(OBJECTS), ensure_ascii=False), id=f"c{len(said)}.{i}")
            for i in range(draw(st.integers(0, 3)))
        )
        said.append(Message(role="assistant", content=draw(TEXT), tool_calls=calls, reasoning=draw(TEXT)))
        said += [
            Message(role="tool", content=draw(TEXT), tool_call_id=call.id, is_error=draw(st.booleans()))
            for call in draw(st.permutations(calls))[: draw(st.integers(0, 3))]
        ]
        said += [Message(role="user", content=draw(TEXT)) for _ in range(draw(st.integers(0, 1)))]
    return tuple(said)


TRAJECTORIES = st.builds(
    Trajectory,
    id=NAMES,
    domain=TEXT,
    task_id=NAMES,
    messages=messages(),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    reward=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    metadata=METADATA,
)


def written_and_read(folder: Path, format: str, *written: Trajectory, packed: str = "") -> list[Trajectory]:
    """What comes back of trajectories written in a format."""
    file = folder / f"written-{format}{ENDING[format]}{packed}"
    assert write(file, written, format, options=WriteOptions()) == len(written)
    return list(read(file, format, options=ReadOptions()))


def write_json_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
