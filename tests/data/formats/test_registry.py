"""Telling formats, choosing files, and what holds across files."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pivot_jax.data.failure import DataError, FileError
from pivot_jax.data.formats.options import ReadOptions
from pivot_jax.data.formats.registry import READERS, read
from pivot_jax.data.formats.rows import Document, JsonLines
from pivot_jax.data.formats.sources import sources
from pivot_jax.data.formats.writing import write
from tests.data.episodes import shop_episode, thinking_episode
from tests.data.formats.trajectories import ENDING


def told_of(path: Path) -> str:
    told: list[str] = []
    assert list(read(path, on_format=lambda file, name, why: told.append(name)))
    return told[0]


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_written_files_are_told_by_their_content(format: str, packed: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows{ENDING[format]}{packed}"
    write(file, [shop_episode()], format)
    assert told_of(file) == format
    if format != "pivot_rows":  # has a row for each turn
        document = tmp_path / f"one.json{packed}"
        write(document, [shop_episode()], format)
        assert told_of(document) == format


def test_a_chat_row_made_of_another_format_is_a_chat_row(tmp_path: Path) -> None:
    for format in ("swe_agent", "atif"):
        write(tmp_path / "of.jsonl", [shop_episode()], format)
        write(tmp_path / "chat.jsonl", read(tmp_path / "of.jsonl"), "chat")
        assert told_of(tmp_path / "chat.jsonl") == "chat"


def test_the_first_rows_may_be_bad(tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", [shop_episode()])
    (tmp_path / "rows.jsonl").write_bytes(b"{\n[]\n" + (tmp_path / "good.jsonl").read_bytes())
    with pytest.raises(DataError, match=":1: "):
        list(read(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(("text", "seen"), [('{"conversations": []}', "conversations"), ("", "no object"), ("{", "no")])
def test_a_format_that_cannot_be_told_must_be_named(text: str, seen: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(FileError, match=rf"rows\.jsonl: its format cannot be told .*{seen}.*; name its format"):
        list(read(tmp_path / "rows.jsonl"))


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format='csv'; use one of auto, chat"):
        list(read(tmp_path, "csv"))
    with pytest.raises(ValueError, match="format='csv'; use one of auto, chat"):
        write(tmp_path / "out.jsonl", [], "csv")


def test_endings_choose_the_layout_and_content_decides_without_one(tmp_path: Path) -> None:
    row = json.dumps({"a": 1})
    pretty = json.dumps({"a": [1]}, indent=2)
    expected = {
        "a.jsonl": (pretty, JsonLines),
        "a.ndjson.gz": ("", JsonLines),
        "a.json": (row, Document),
        "a.traj": (row, Document),
        "a.traj.json": (row, Document),
        "lines": (f"\n{row}\n{row}\n", JsonLines),
        "document.txt": (pretty, Document),
    }
    for name, (text, kind) in expected.items():
        (tmp_path / name).write_text(text)
        [source] = sources([tmp_path / name])
        assert type(source) is kind, name


def test_folders_stand_for_the_files_in_them(tmp_path: Path) -> None:
    (tmp_path / "runs" / "b").mkdir(parents=True)
    for name in ("runs/b/2.jsonl", "runs/b/1.traj.json.gz", "runs/0.json", "runs/notes.md", "runs/log"):
        (tmp_path / name).write_text("")
    (tmp_path / "other.jsonl").write_text("")
    found = sources([tmp_path / "other.jsonl", tmp_path / "runs"])
    assert [source.name for source in found] == ["other", "runs/0", "runs/b/1", "runs/b/2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no file in the folder has an ending known here"):
        sources([tmp_path / "empty"])
    with pytest.raises(FileError, match=r"nothing\.jsonl: there is no such file"):
        list(read(tmp_path / "nothing.jsonl", "chat"))


def test_an_id_may_not_come_twice_in_any_file(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [thinking_episode(), shop_episode()])
    write(tmp_path / "b.jsonl", [shop_episode()], "pivot_rows")
    found = read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [next(found).id, next(found).id] == ["think/1", "shop/1"]
    with pytest.raises(DataError, match=r"b\.jsonl:3: field id: 'shop/1' is already on line 2 of .*a\.jsonl"):
        next(found)


@pytest.mark.parametrize(("format", "ending"), [("chat", ".json"), ("atif", ".traj"), ("swe_agent", ".json.gz")])
def test_a_document_holds_one_trajectory(format: str, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"one{ending}"
    assert write(file, [shop_episode()], format) == 1
    assert [one.id for one in read(file)] == ["shop/1"]
    with pytest.raises(FileError, match=r"holds one row and there are more; name it \.jsonl"):
        write(file, [shop_episode("a"), shop_episode("b")], format)
    assert [one.id for one in read(file)] == ["shop/1"]


def test_an_array_of_rows_and_rows_in_a_json_file(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [shop_episode("a"), shop_episode("b")])
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "array.json").write_text(f"[{lines[0]},\n{lines[1]}]")
    (tmp_path / "lines.json").write_text("\n".join(lines))
    for name in ("array.json", "lines.json"):
        assert list(read(tmp_path / name)) == [shop_episode("a"), shop_episode("b")]


def test_a_broken_document_is_an_error_even_when_rows_are_skipped(tmp_path: Path) -> None:
    write(tmp_path / "one.json", [shop_episode()])
    whole = (tmp_path / "one.json").read_bytes()
    (tmp_path / "two.json").write_bytes(whole + whole[:-30])
    rows = read(tmp_path / "two.json", "chat", on_bad_row="skip", rejects=tmp_path / "rejects.jsonl")
    assert next(rows).id == "shop/1"
    with pytest.raises(DataError, match=r"two\.json:2: .*the file ends inside a value"):
        next(rows)


def test_a_pipe_is_read_once_and_needs_its_format_named(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [shop_episode()])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for format, reason in (("auto", "its format must be named"), ("pivot_rows", "read twice")):
        with pytest.raises(FileError, match=reason):
            list(read(pipe, format))
    feeder = threading.Thread(target=lambda: pipe.write_bytes((tmp_path / "rows.jsonl").read_bytes()))
    feeder.start()
    assert list(read(pipe, "chat", options=ReadOptions())) == [shop_episode()]
    feeder.join()
