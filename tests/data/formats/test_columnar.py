"""Parquet files and `datasets` folders, made with pyarrow as others make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError, FileError
from pivot_jax.data.formats.chat import write_rows as chat_rows
from pivot_jax.data.formats.columnar import BATCH_ROWS
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.pivot_rows import write_rows as pivot_rows
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, ToolCall
from tests.data.episodes import shop_episode, thinking_episode

pa = pytest.importorskip("pyarrow", reason="the extra 'parquet' is absent")
ipc = pytest.importorskip("pyarrow.ipc")
pq = pytest.importorskip("pyarrow.parquet")

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "task_id": "t",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_call_id": "c"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}}},
            {"type": "function", "function": {"name": "g", "parameters": {"properties": {"b": {"type": "string"}}}}},
        ],
        "score": 0.5,
    }
    for number in range(3)
]


def save_dataset(folder: Path, table: Any, stream: bool = True) -> Path:
    """As `datasets` saves to disk: arrow files and their state."""
    folder.mkdir()
    opened = ipc.new_stream if stream else ipc.new_file
    with opened(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("layout", ["parquet", "stream", "file"])
def test_chat_rows_in_structures(layout: str, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    if layout == "parquet":
        pq.write_table(table, tmp_path / "rows.parquet")
        path = tmp_path / "rows.parquet"
    else:
        path = save_dataset(tmp_path / "saved", table, stream=layout == "stream")
    told: list[str] = []
    found = list(read(path, on_format=lambda *what: told.append(what[1])))
    assert told == ["chat"]
    assert [one.id for one in found] == ["0", "1", "2"]
    assert found[0].messages == (
        Message(role="user", content="hi"),
        Message(role="assistant", tool_calls=(ToolCall(name="f", arguments='{"a": 1}', id="c"),)),
        Message(role="tool", content="1", tool_call_id="c"),
    )
    # columns give both schemas the properties of both; what is null was not there
    assert [tool.parameters for tool in found[0].tools] == [
        {"properties": {"a": {"type": "integer"}}},
        {"properties": {"b": {"type": "string"}}},
    ]
    assert found[0].metadata == {"score": 0.5}
    name = "parquet" if layout == "parquet" else "datasets"
    assert list(read(path, name)) == found


def test_chat_rows_in_json_text(tmp_path: Path) -> None:
    texts = [row | {key: json.dumps(row[key]) for key in ("messages", "tools")} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(texts), tmp_path / "texts.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert list(read(tmp_path / "texts.parquet")) == list(read(tmp_path / "rows.parquet"))


def test_pivot_rows_are_rebuilt_from_columns(tmp_path: Path) -> None:
    rows = pivot_rows(shop_episode(), WriteOptions())
    texts = [{key: json.dumps(item) if isinstance(item, dict) else item for key, item in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist([text | {"pass_rate": 0.5} for text in texts]), tmp_path / "pivots.parquet")
    [found] = read(tmp_path / "pivots.parquet")
    assert (found.id, len(found.messages), found.task_id) == ("shop/1", 8, "shop/1")
    assert [facts["pass_rate"] for facts in found.metadata["pivot_rows"].values()] == [0.5] * 3


def test_more_rows_than_a_batch_in_order(tmp_path: Path) -> None:
    written = [shop_episode(str(number)) for number in range(2 * BATCH_ROWS + 1)]
    assert write(tmp_path / "rows.parquet", written) == len(written)
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 3
    assert list(read(tmp_path / "rows.parquet")) == written


def test_bad_rows_are_named_by_number_and_keep_their_columns(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0] | {"id": 3, "messages": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet:4: field messages: .*at least 1"):
        list(read(tmp_path / "rows.parquet"))
    found = list(read(tmp_path / "rows.parquet", on_bad_row="skip", rejects=tmp_path / "rejects.jsonl"))
    assert len(found) == 3
    [reject] = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert (reject["line"], json.loads(reject["row"])["id"]) == (4, 3)


def test_json_text_that_is_none_is_a_bad_row(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROWS[0] | {"messages": "[{"}]), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=":1: field messages: not JSON"):
        list(read(tmp_path / "rows.parquet", "chat"))


def test_several_splits_are_not_mixed(tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        save_dataset(both / split, pa.Table.from_pylist(ROWS))
    with pytest.raises(FileError, match="several splits; name the folder of one: test, train"):
        list(read(both))
    assert len(list(read(both / "train"))) == 3


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_a_file_of_another_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not columns at all")
    with pytest.raises(FileError, match="cannot be read"):
        list(read(tmp_path / name))


def test_a_state_that_is_none(tmp_path: Path) -> None:
    saved = save_dataset(tmp_path / "saved", pa.Table.from_pylist(ROWS))
    (saved / "state.json").write_text("[]")
    with pytest.raises(FileError, match=r"state\.json: not the state"):
        list(read(saved))


def test_other_files_are_no_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(chat_rows(shop_episode(), WriteOptions())[0]))
    with pytest.raises(FileError, match="is not parquet"):
        list(read(tmp_path / "rows.jsonl", "parquet"))
    with pytest.raises(FileError, match=r"parquet is, under \.parquet"):
        write(tmp_path / "rows.jsonl", [], "parquet")
    with pytest.raises(FileError, match="is not written under this ending"):
        write(tmp_path / "rows.parquet", [], "atif")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    def interrupted() -> Any:
        yield thinking_episode()
        raise RuntimeError("stopped")

    write(tmp_path / "rows.parquet", [shop_episode()])
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "rows.parquet", interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
    assert list(read(tmp_path / "rows.parquet", options=ReadOptions())) == [shop_episode()]
