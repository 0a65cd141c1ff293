"""Bad rows: each is refused by name, good ones are unharmed, and nothing that was set aside is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats import atif, bad_rows, chat, pivot_row, responses, swe_agent, tau2
from pivot_jax.data.formats.atomic import appearing
from pivot_jax.data.formats.bad_rows import OTHER, BadRows
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.data.formats.registry import ROW_WRITERS, read, read_located
from pivot_jax.data.formats.rows import TextRow
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Trajectory
from tests.data.episodes import shop_episode
from tests.data.formats.trajectories import JSON, TRAJECTORIES

GOOD = json.dumps(chat.write_rows(shop_episode("shop/0"), WriteOptions())[0]).encode()


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def damaged(row: dict[str, Any]) -> bytes:
        change(row)
        return json.dumps(row).encode()

    return damaged


DAMAGE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "cut short": lambda row: json.dumps(row).encode()[:-20],
    "not UTF-8": lambda row: json.dumps(row).encode().replace(b"buy tea", b"buy \xff\xfe tea"),
    "not a number": lambda row: json.dumps(row | {"reward": float("nan")}).encode(),
    "a list": lambda row: json.dumps([row]).encode(),
    "a text": lambda row: b'"row"',
    "words": lambda row: b"Traceback (most recent call last):",
    "too deep": lambda row: b"[" * 100_000,
    "no id": _changed(lambda row: row.pop("id")),
    "id of an earlier row": _changed(lambda row: row.update(id="shop/0")),
    "no messages": _changed(lambda row: row.update(messages=[])),
    "messages a text": _changed(lambda row: row.update(messages="hi")),
    "unknown role": _changed(lambda row: row["messages"][1].update(role="robot")),
    "answer to no call": _changed(lambda row: row["messages"][3].update(tool_call_id="c9")),
    "no turn": _changed(lambda row: row.update(messages=row["messages"][:2])),
    "arguments an object": _changed(lambda row: row["messages"][2]["tool_calls"][0]["function"].update(arguments={})),
    "tool without a name": _changed(lambda row: row["tools"][0]["function"].update(name="")),
    "tools by name": _changed(lambda row: row.update(tools=None, tools_ref="elsewhere")),
}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_thousand_damaged_rows_among_five_thousand(ending: str, tmp_path: Path) -> None:
    draw = random.Random(7)
    damaged = set(draw.sample(range(2, 5001), 1000))
    kinds = {line: draw.choice(list(DAMAGE)) for line in sorted(damaged)}
    assert set(kinds.values()) == set(DAMAGE)
    lines: list[bytes] = [GOOD]
    for line in range(2, 5001):
        row = chat.write_rows(shop_episode(f"shop/{line}"), WriteOptions())[0]
        lines.append(DAMAGE[kinds[line]](row) if line in damaged else json.dumps(row).encode())
    file, rejects = tmp_path / f"rows{ending}", tmp_path / "rejects.jsonl"
    content = b"\n".join(lines) + b"\n"
    with appearing(file) as into:
        into.write(content)
    good = list(read(file, on_bad_row="skip", rejects=rejects))
    kept = [shop_episode(f"shop/{line}") for line in range(2, 5001) if line not in damaged]
    assert good == [shop_episode("shop/0"), *kept]
    refused = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [reject["line"] for reject in refused] == sorted(damaged)
    assert {reject["file"] for reject in refused} == {str(file)}
    assert all(reject["field"] and reject["reason"] for reject in refused)
    assert [reject["row"].encode("utf-8", "surrogateescape") for reject in refused] == [
        lines[line - 1] for line in sorted(damaged)
    ]
    assert {reject["field"] for reject in refused if kinds[reject["line"]] == "unknown role"} == {"messages[1].role"}
    assert {reject["field"] for reject in refused if kinds[reject["line"]] == "id of an earlier row"} == {"id"}


def test_the_first_bad_row_is_the_error_unless_told_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD + b"\n\n{}\n")
    rows = read(file, "chat")
    assert next(rows).id == "shop/0"
    with pytest.raises(DataError, match=r"rows\.jsonl:3: field id: Field required"):
        next(rows)


def test_counts_by_reason_leave_out_what_is_particular(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    bad_calls = [GOOD.replace(b'"tool_call_id": "c1"', b'"tool_call_id": "c%d"' % number) for number in (7, 8)]
    file.write_bytes(b"\n".join([*bad_calls, b"{}", GOOD]))
    with BadRows("skip", tmp_path / "rejects.jsonl") as bad:
        assert len(list(read_located(file, "chat", ReadOptions(), bad))) == 1
    assert (bad.read, bad.rejected) == (4, 3)
    assert bad.reasons == {
        "messages[].tool_call_id: ... answers no open call": 2,
        "id: Field required; --make-ids names rows by file and line": 1,
    }


def test_the_counts_do_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_rows, "MOST_REASONS", 2)
    with BadRows("skip", tmp_path / "rejects.jsonl") as bad:
        for field in ("a", "b", "c", "d", "a"):
            bad.refuse(tmp_path, TextRow(1, b"", ""), FieldError(field, "bad"))
    assert bad.reasons == {"a: bad": 2, "b: bad": 1, OTHER: 2}
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 5


def test_rejects_are_kept_when_the_reader_stops_half_way(tmp_path: Path) -> None:
    file, rejects = tmp_path / "rows.jsonl", tmp_path / "rejects.jsonl"
    file.write_bytes(b"{}\n" + GOOD + b"\n{}\n")
    rows = read(file, "chat", on_bad_row="skip", rejects=rejects)
    next(rows)
    rows.close()
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [1]
    with pytest.raises(RuntimeError), BadRows("skip", rejects) as bad:
        bad.refuse(file, TextRow(9, b"x", ""), FieldError("f", "r"))
        raise RuntimeError
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rejects.jsonl", "rows.jsonl"]


def test_no_bad_row_leaves_an_empty_file_of_rejects(tmp_path: Path) -> None:
    (tmp_path / "rejects.jsonl").write_text("of an earlier run\n")
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    assert len(list(read(tmp_path / "rows.jsonl", on_bad_row="skip", rejects=tmp_path / "rejects.jsonl"))) == 1
    assert (tmp_path / "rejects.jsonl").read_text() == ""


@pytest.mark.parametrize(("on_bad_row", "rejects"), [("skip", None), ("fail", "rejects.jsonl"), ("ignore", None)])
def test_skipping_needs_a_place_to_put_rows(on_bad_row: Any, rejects: str | None) -> None:
    with pytest.raises(ValueError, match="on_bad_row"):
        BadRows(on_bad_row, rejects)


READ_ROW: dict[str, Callable[[object], object]] = {
    "chat": lambda value: chat.read_row(value, "file/1", ReadOptions(make_ids=True)),
    "tau2": lambda value: tau2.read_row(value, "file/1", ReadOptions(), {}),
    "responses": lambda value: responses.read_row(value, "file/1", ReadOptions(make_ids=True)),
    "atif": lambda value: atif.read_row(value, "file/1", ReadOptions()),
    "swe_agent": lambda value: swe_agent.read_row(value, "file/1", ReadOptions()),
    "pivot_rows": pivot_row.read_pivot_row,
}


@pytest.mark.parametrize("format", READ_ROW)
@given(value=JSON)
def test_any_json_is_read_or_refused(format: str, value: object) -> None:
    with pytest.raises(FieldError) as caught:
        READ_ROW[format](value)
    assert caught.value.field and caught.value.reason


@pytest.mark.parametrize("format", READ_ROW)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), generated=TRAJECTORIES)
def test_a_row_changed_in_one_place_is_read_or_refused(format: str, data: st.DataObject, generated: Trajectory) -> None:
    # the calls of a generated one are of tools that it does not offer
    trajectory = shop_episode() if format == "pivot_rows" else generated
    row = json.loads(json.dumps(ROW_WRITERS[format](trajectory, WriteOptions())[-1]))
    place: Any = row
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
        else:
            break
    place[key] = data.draw(JSON | st.none() | st.just(float("nan")))
    try:
        read_back = READ_ROW[format](row)
    except (FieldError, ValidationError) as error:
        assert str(error)
    else:
        assert isinstance(read_back, Trajectory | pivot_row.PivotRow)


def test_damaged_pivot_rows_do_not_harm_their_trajectory(tmp_path: Path) -> None:
    file, rejects = tmp_path / "pivots.jsonl", tmp_path / "rejects.jsonl"
    write(file, [shop_episode(f"shop/{number}") for number in range(200)], "pivot_rows")
    lines = file.read_bytes().splitlines()
    assert len(lines) == 600
    draw = random.Random(3)
    damaged = sorted(draw.sample(range(1, 601), 100))
    for line in damaged:
        lines[line - 1] = draw.choice([lines[line - 1][:-9], b"{}", lines[line - 1].replace(b'"auto"', b'"none"')])
    file.write_bytes(b"\n".join(lines))
    rebuilt = list(read(file, on_bad_row="skip", rejects=rejects))
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == damaged
    expected = {}
    for line in range(1, 601):
        if line not in damaged:
            expected[f"shop/{(line - 1) // 3}"] = [3, 5, 8][(line - 1) % 3]
    assert {one.id: len(one.messages) for one in rebuilt} == expected
