"""`pivot-jax convert`: what it writes, what it tells, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pivot_jax import cli
from pivot_jax.commands.convert import main
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, ToolCall
from tests.data.episodes import shop_episode, thinking_episode


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    write(tmp_path / "rows.jsonl", [shop_episode("a"), shop_episode("b"), thinking_episode(1)])
    return tmp_path / "rows.jsonl"


def convert(*words: object) -> None:
    main([str(word) for word in words])


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one message of a command that fails."""
    with pytest.raises(SystemExit) as stopped:
        convert(*words)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.rstrip("\n").splitlines()[-1]
    assert message.startswith("pivot-jax convert: ")
    return message


def test_counts_and_formats_are_told(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(rows, tmp_path / "pivots.jsonl.gz", "--to", "pivot_rows", "--agent", "shop")
    assert capsys.readouterr().out.splitlines() == [
        f"{rows}: chat, its rows have messages",
        "rows read     3",
        "trajectories  3",
        "turns         10",
    ]
    convert(tmp_path / "pivots.jsonl.gz", tmp_path / "again.jsonl")
    assert capsys.readouterr().out.splitlines()[1:] == ["rows read     10", "trajectories  3", "turns         10"]
    assert [one.id for one in read(tmp_path / "again.jsonl")] == ["a", "b", "think/1"]


def test_several_inputs_become_one_file(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "more.traj", [shop_episode("c")], "swe_agent")
    convert(rows, tmp_path / "more.traj", tmp_path / "all.json", "--to", "tau2")
    assert [one.id for one in read(tmp_path / "all.json")] == ["a", "b", "think/1", "c"]
    assert "more.traj: swe_agent, " in capsys.readouterr().out


def test_the_command_line_calls_it(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["convert", str(rows), str(tmp_path / "out.jsonl"), "--to", "atif"])
    assert "trajectories  3" in capsys.readouterr().out
    assert [one.id for one in read(tmp_path / "out.jsonl", "atif")] == ["a", "b", "think/1"]


def test_the_first_bad_row_stops_and_nothing_is_written(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.write_text(rows.read_text() + '{"id": "d", "messages": 1}\n')
    message = refused(capsys, rows, tmp_path / "out.jsonl")
    assert message.startswith(f"pivot-jax convert: {rows}:4: field task_id: ")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_bad_rows_are_set_aside_and_counted(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join(["{", lines[0], '{"messages": []}', lines[1], lines[0]]))
    convert(rows, tmp_path / "out.jsonl", "--on-bad-row", "skip")
    rejects = tmp_path / "out.jsonl.rejects.jsonl"
    told = capsys.readouterr().out.splitlines()
    assert told[1:5] == ["rows read     5", "trajectories  2", "turns         6", f"rejected      3, in {rejects}"]
    assert sorted(told[5:]) == [
        "           1  (whole row): not JSON: Expecting property name enclosed in double quotes: "
        "line ... column ... (char ...)",
        "           1  id: ... is already on line ...",
        "           1  id: Field required; --make-ids names rows by file and line",
    ]
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [1, 3, 5]
    assert [one.id for one in read(tmp_path / "out.jsonl")] == ["a", "b"]


def test_what_the_target_cannot_hold_is_a_bad_row_of_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = shop_episode("odd").model_copy(
        update={
            "messages": (
                Message(role="user", content="buy"),
                Message(role="assistant", tool_calls=(ToolCall(name="order", arguments="[]", id="c"),)),
            )
        }
    )
    untold = shop_episode("untold").model_copy(update={"tools": ()})
    rows = tmp_path / "rows.jsonl"
    write(rows, [shop_episode("a"), odd, untold])
    for format, reason, left in (("atif", "object", ["a", "untold"]), ("pivot_rows", "itself", ["a"])):
        out = tmp_path / f"{format}.jsonl"
        message = refused(capsys, rows, out, "--to", format)
        assert message.startswith(f"pivot-jax convert: {rows}:2: field ") and reason in message
        convert(rows, out, "--to", format, "--on-bad-row", "skip", "--rejects", tmp_path / "rejects.jsonl")
        assert [one.id for one in read(out)] == left
        rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
        assert [reject["line"] for reject in rejects] == [2, 3][: 3 - len(left)]
        assert f"turns         {3 * len(left)}" in capsys.readouterr().out


def test_tools_ids_and_domain_from_options(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": said, "tools_ref": "v1"}))
    (tmp_path / "tools.json").write_text(json.dumps({"v1": [{"type": "function", "function": {"name": "look"}}]}))
    given = ["--make-ids", "--domain", "shop", "--tools", tmp_path / "tools.json"]
    convert(tmp_path / "rows.jsonl", tmp_path / "out.jsonl", *given)
    [found] = read(tmp_path / "out.jsonl")
    assert (found.id, found.domain, [tool.name for tool in found.tools]) == ("rows/1", "shop", ["look"])


def test_files_are_not_overwritten_by_mistake(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    write(out, [shop_episode("old")])
    assert "already there; --overwrite replaces it" in refused(capsys, rows, out)
    assert "is read and would be written" in refused(capsys, rows, rows, "--overwrite")
    assert "is read and would be written" in refused(capsys, tmp_path, out, "--overwrite")
    skip = ["--on-bad-row", "skip", "--rejects"]
    assert "is read and would be written" in refused(capsys, rows, tmp_path / "new.jsonl", *skip, rows)
    assert "also the file of rejects" in refused(capsys, rows, tmp_path / "new.jsonl", *skip, tmp_path / "new.jsonl")
    assert "is a folder" in refused(capsys, rows, tmp_path, "--overwrite")
    assert "there is no folder" in refused(capsys, rows, tmp_path / "no" / "out.jsonl")
    assert [one.id for one in read(out)] == ["old"]
    convert(rows, out, "--overwrite")
    assert [one.id for one in read(out)] == ["a", "b", "think/1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.jsonl", "out.jsonl"], "there is no such file"),
        (["ROWS", "out.jsonl", "--tools", "nothing.json"], "No such file"),
        (["ROWS", "out.jsonl", "--from", "csv"], "invalid choice: 'csv'"),
        (["ROWS", "out.jsonl", "--from", "atif"], "field schema_version"),
        (["ROWS", "out.jsonl", "--to", "parquet"], "under .parquet"),
        (["ROWS", "out.json"], "holds one row and there are more"),
        (["ROWS"], "required: OUT"),
        (["ROWS", "out.jsonl", "--rejects", "r"], "goes with --on-bad-row skip"),
        (["ROWS", "out.jsonl", "--string-threshold", "nan"], "0 or more"),
    ],
)
def test_one_message_and_no_traceback(
    words: list[str], message: str, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rows.parent)
    told = refused(capsys, *[str(rows) if word == "ROWS" else word for word in words])
    assert message in told and "Traceback" not in told
    assert [path.name for path in rows.parent.iterdir()] == ["rows.jsonl"]


def test_it_needs_no_jax(rows: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pivot_jax.cli import main; main(sys.argv[1:]);"
        "sys.exit(3 if {'jax', 'flax', 'transformers', 'torch'} & sys.modules.keys() else 0)"
    )
    words = [sys.executable, "-c", script, "convert", str(rows), str(tmp_path / "out.jsonl")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
