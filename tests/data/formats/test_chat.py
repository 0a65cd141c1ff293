"""Chat rows: what the options give for what a row leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError, FileError
from pivot_jax.data.formats.options import ReadOptions, tools_of_file
from pivot_jax.data.formats.registry import read
from pivot_jax.records import Trajectory
from tests.data.formats.trajectories import write_json_lines

SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
LOOK = {"type": "function", "function": {"name": "look"}}
BUY = {"type": "function", "function": {"name": "buy"}}


def read_one(tmp_path: Path, row: dict[str, Any], options: ReadOptions | None = None) -> Trajectory:
    [trajectory] = read(write_json_lines(tmp_path / "rows.jsonl", {"messages": SAID, **row}), "chat", options=options)
    return trajectory


def test_whole_numbers_as_ids_become_their_text(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, {"id": 7, "task_id": 0})
    assert (trajectory.id, trajectory.task_id) == ("7", "0")


@pytest.mark.parametrize("task_id", [True, 1.0, "", None])
def test_other_things_are_no_task_id(task_id: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=":1: field task_id: "):
        read_one(tmp_path, {"id": "a", "task_id": task_id})


def test_rows_without_ids_are_named_by_file_and_line_when_asked(tmp_path: Path) -> None:
    file = write_json_lines(tmp_path / "rows.jsonl", {"messages": SAID}, {"messages": SAID, "id": "own"})
    with pytest.raises(DataError, match=r":1: field id: Field required; --make-ids"):
        list(read(file, "chat"))
    found = list(read(file, "chat", options=ReadOptions(make_ids=True)))
    assert [(one.id, one.task_id) for one in found] == [("rows/1", "rows/1"), ("own", "own")]


def test_ids_made_for_several_files_differ(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_json_lines(tmp_path / folder / "rows.jsonl", {"messages": SAID})
    found = list(read(tmp_path, "chat", options=ReadOptions(make_ids=True)))
    assert [one.id for one in found] == ["a/rows/1", "b/rows/1"]


def test_a_domain_for_rows_that_name_none(tmp_path: Path) -> None:
    options = ReadOptions(domain="shop")
    assert read_one(tmp_path, {"id": "a", "task_id": "t"}, options).domain == "shop"
    assert read_one(tmp_path, {"id": "a", "task_id": "t", "domain": "own"}, options).domain == "own"


def test_tools_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps([LOOK]))
    (tmp_path / "named.json").write_text(json.dumps({"v1": [BUY], "shop": [LOOK, BUY]}))
    for_all = ReadOptions(tools=tools_of_file(tmp_path / "one.json"))
    named = ReadOptions(tools=tools_of_file(tmp_path / "named.json"))
    row = {"id": "a", "task_id": "t"}
    cases = [
        (row, for_all, ["look"]),
        (row | {"tools": [BUY]}, for_all, ["buy"]),
        (row | {"tools": []}, for_all, []),
        (row | {"tools_ref": "v1"}, named, ["buy"]),
        (row | {"domain": "shop"}, named, ["look", "buy"]),
        (row | {"domain": "shop", "tools_ref": "v1"}, named, ["buy"]),
        (row | {"domain": "elsewhere"}, named, []),
    ]
    for given, options, names in cases:
        assert [tool.name for tool in read_one(tmp_path, given, options).tools] == names


def test_a_row_whose_tools_are_elsewhere_is_not_read_without_them(tmp_path: Path) -> None:
    row = {"id": "a", "task_id": "t", "tools_ref": "v1"}
    with pytest.raises(DataError, match=r":1: field tools_ref: 'v1' names tools in another file .*no file of tools"):
        read_one(tmp_path, row)
    with pytest.raises(DataError, match="known: v2, v3"):
        read_one(tmp_path, row, ReadOptions(tools={"v3": [], "v2": []}))


@pytest.mark.parametrize("text", ["{", '"tools"', '{"a": 1}', "null"])
def test_a_file_that_holds_no_tools(text: str, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(text)
    with pytest.raises(FileError, match=r"tools\.json: "):
        tools_of_file(tmp_path / "tools.json")


def test_a_byte_order_mark_and_other_line_ends(tmp_path: Path) -> None:
    row = json.dumps({"id": "a", "task_id": "t", "messages": SAID})
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode() + b"\r\n\r\n")
    assert [one.id for one in read(tmp_path / "rows.jsonl", "chat")] == ["a"]
