"""Reading and converting hold one row, however long the file is: peaks of a file and of one ten times as long."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.formats.atomic import appearing, json_line
from pivot_jax.data.formats.options import WriteOptions
from pivot_jax.data.formats.pivot_rows import write_rows as pivot_rows
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, Tool, ToolCall, Trajectory

SMALL, LARGE = 200, 2000
ROW_BYTES = 26_000
BYTES_BESIDE = 400
"""What may be kept of a row: its id as a number, the line, the places of both in a table."""


def episode(number: int) -> Trajectory:
    """About ROW_BYTES of text."""
    call = ToolCall(name="look", arguments=json.dumps({"at": number}), id=f"c{number}")
    said = (
        Message(role="user", content=f"look at {number}"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content=f"{number:06d} " * (ROW_BYTES // 7), tool_call_id=call.id),
        Message(role="assistant", content="seen"),
    )
    return Trajectory(id=f"run/{number}", task_id=str(number), messages=said, tools=(Tool(name="look"),))


def episodes(count: int) -> Iterator[Trajectory]:
    return (episode(number) for number in range(count))


def peak(action: Callable[[], Any]) -> int:
    """Bytes that Python held at most during the action, which was done before: imports and caches are not counted."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def count(path: Path, format: str) -> int:
    return sum(1 for _ in read(path, format))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "ending"), [("chat", ".jsonl"), ("chat", ".jsonl.gz"), ("tau2", ".json"), ("responses", ".jsonl")]
)
def test_reading_holds_one_row(format: str, ending: str, tmp_path: Path) -> None:
    peaks = {}
    for size in (SMALL, LARGE):
        file = tmp_path / f"rows{size}{ending}"
        write(file, episodes(size), format)
        assert ending.endswith(".gz") or file.stat().st_size > size * ROW_BYTES
        assert count(file, format) == size
        peaks[size] = peak(lambda file=file: count(file, format))
    assert peaks[LARGE] < peaks[SMALL] + (LARGE - SMALL) * BYTES_BESIDE
    assert peaks[LARGE] < 4 * 2**20


@pytest.mark.slow
def test_columns_hold_a_batch(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is absent")
    peaks, held = {}, {}
    for size in (SMALL, LARGE):
        file = tmp_path / f"rows{size}.parquet"
        write(file, episodes(size))
        assert count(file, "auto") == size
        peaks[size] = peak(lambda file=file: count(file, "auto"))
        pool = arrow.default_memory_pool()
        held[size] = max(pool.bytes_allocated() for _ in read(file))
    assert peaks[LARGE] < peaks[SMALL] + (LARGE - SMALL) * BYTES_BESIDE
    assert held[LARGE] < 2 * held[SMALL] + 2**20


def test_writing_holds_one_row(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl", episodes(1), "chat")
    peaks = {
        size: peak(lambda size=size: write(tmp_path / "out.jsonl", episodes(size), "chat"))
        for size in (SMALL // 10, LARGE // 10)
    }
    assert (tmp_path / "out.jsonl").stat().st_size > LARGE // 10 * ROW_BYTES
    assert peaks[LARGE // 10] < peaks[SMALL // 10] + 2**17


def test_rebuilding_holds_an_index_and_one_trajectory(tmp_path: Path) -> None:
    peaks = {}
    for size in (SMALL // 10, LARGE // 10):
        file = tmp_path / f"pivots{size}.jsonl"
        with appearing(file) as into:
            for trajectory in episodes(size):
                into.writelines(map(json_line, pivot_rows(trajectory, WriteOptions())))
        assert count(file, "pivot_rows") == size
        peaks[size] = peak(lambda file=file: count(file, "pivot_rows"))
    rows = 2 * (LARGE - SMALL) // 10
    assert peaks[LARGE // 10] < peaks[SMALL // 10] + rows * 1500
    assert (tmp_path / f"pivots{LARGE // 10}.jsonl").stat().st_size > 10 * peaks[LARGE // 10]


def test_rejects_are_written_as_they_come(tmp_path: Path) -> None:
    def skip(size: int) -> None:
        file = tmp_path / f"bad{size}.jsonl"
        with appearing(file) as into:
            into.writelines(b'{"id": "%d", "text": "%s"}\n' % (number, b"x" * ROW_BYTES) for number in range(size))
        assert not list(read(file, "chat", on_bad_row="skip", rejects=tmp_path / "rejects.jsonl"))
        assert (tmp_path / "rejects.jsonl").stat().st_size > size * ROW_BYTES

    skip(1)
    peaks = {size: peak(lambda size=size: skip(size)) for size in (SMALL // 10, LARGE // 10)}
    assert peaks[LARGE // 10] < peaks[SMALL // 10] + 2**17
