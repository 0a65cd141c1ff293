"""Every file of the recorded data is read whole, or refused with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError, FileError
from pivot_jax.data.formats.options import ReadOptions, WriteOptions, tools_of_file
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.data.turns import turns
from pivot_jax.records import Tool, Trajectory

DATA = Path(__file__).parents[3].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data is not beside this checkout")

READ: dict[str, tuple[str, int, int]] = {
    "gym/parallel_example.jsonl": ("pivot_rows", 5, 5),
    "gym/single_step_example.jsonl": ("pivot_rows", 5, 20),
    "gym/swe_pivot_example.jsonl": ("pivot_rows", 5, 5),
    "gym/terminal_multi_harness_example.jsonl": ("pivot_rows", 5, 5),
    "gym/terminus_example.jsonl": ("pivot_rows", 5, 5),
    "intercode_bash/trajectories/gpt-4_fs1.jsonl": ("chat", 60, 401),
    "intercode_bash/trajectories/gpt-4_fs2.jsonl": ("chat", 53, 310),
    "intercode_bash/trajectories/gpt-4_fs3.jsonl": ("chat", 60, 334),
    "intercode_sql/trajectories_gpt-4.jsonl": ("chat", 814, 4704),
    "tau2/sft_small/train.jsonl": ("chat", 37, 492),
    "tau2/trajectories/airline_default_gpt-4.1_83e6079.jsonl": ("chat", 20, 206),
    "tau2/trajectories/retail_default_gpt-4.1_94ad2a0.jsonl": ("chat", 40, 476),
    "tau2/trajectories/telecom_default_gpt-4.1_e27af7e.jsonl": ("chat", 40, 620),
    "tau2/trajectories/telecom_default_gpt-4o_95433ae.jsonl": ("chat", 20, 217),
    "tau2/trajectories/telecom_solo_gpt-4.1_e93263f.jsonl": ("chat", 40, 566),
}
"""File: format, trajectories, turns."""

SFT = "tau2/sft_small/train.jsonl"


def options_for(name: str) -> ReadOptions:
    """The small τ² set has rows without ids, and its tools in a file beside it."""
    if name != SFT:
        return ReadOptions()
    return ReadOptions(make_ids=True, tools=tools_of_file(DATA / "tau2/sft_small/tools_train.json"))


@pytest.mark.parametrize("name", READ)
def test_what_holds_trajectories_is_read_whole(name: str) -> None:
    told: list[str] = []
    found = list(read(DATA / name, options=options_for(name), on_format=lambda *what: told.append(what[1])))
    counted = (told[0], len(found), sum(len(turns(trajectory)) for trajectory in found))
    assert counted == READ[name]


def test_every_other_file_is_refused_with_a_reason() -> None:
    files = sorted(path for path in DATA.rglob("*") if path.suffix in (".jsonl", ".json"))
    others = [path for path in files if str(path.relative_to(DATA)) not in READ]
    assert len(others) == len(files) - len(READ) > 10
    for path in others:
        with pytest.raises(FileError, match=r"its format cannot be told by its first row \(.+\); name its format"):
            list(read(path))
        with pytest.raises(DataError, match=r": field [a-z_]+: "):
            list(read(path, "chat"))


def test_the_small_set_is_not_read_without_its_tools_and_ids() -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: field tools_ref: .*--tools"):
        list(read(DATA / SFT))
    tools = options_for(SFT).tools
    with pytest.raises(DataError, match=r"train\.jsonl:1: field id: .*--make-ids"):
        list(read(DATA / SFT, options=ReadOptions(tools=tools)))


def beside_the_messages(trajectory: Trajectory) -> dict[str, Any]:
    """Everything but the messages; of the user's own exchange only what it says, as every field may be spelled out."""
    rest = trajectory.model_dump(exclude={"messages"})
    for entry in rest["metadata"].get("user_side", []):
        message = entry["message"]
        calls = [(call["id"], call["function"]["name"]) for call in message.get("tool_calls") or []]
        entry["message"] = (message["role"], message.get("content"), message.get("tool_call_id"), calls)
    return rest


@pytest.mark.parametrize("name", [name for name in READ if name.startswith("tau2")])
@pytest.mark.parametrize("format", ["tau2", "responses", "atif", "swe_agent"])
def test_recorded_trajectories_survive_every_whole_format(name: str, format: str, tmp_path: Path) -> None:
    found = list(read(DATA / name, options=options_for(name)))
    ending = ".json" if format == "tau2" else ".jsonl.gz"
    write(tmp_path / f"out{ending}", found, format)
    again = list(read(tmp_path / f"out{ending}", format))
    assert [beside_the_messages(one) for one in again] == [beside_the_messages(one) for one in found]
    for before, after in zip(found, again, strict=True):
        for said, read_back in zip(before.messages, after.messages, strict=True):
            assert said.model_dump(exclude={"tool_calls"}) == read_back.model_dump(exclude={"tool_calls"})
            assert [(call.name, call.parsed()) for call in said.tool_calls] == [
                (call.name, call.parsed()) for call in read_back.tool_calls
            ]


@pytest.mark.parametrize("name", ["intercode_bash/trajectories/gpt-4_fs1.jsonl", SFT])
def test_pivot_rows_of_recorded_trajectories_are_rebuilt(name: str, tmp_path: Path) -> None:
    found = list(read(DATA / name, options=options_for(name)))
    called = {call.name for one in found for message in one.messages for call in message.tool_calls}
    offered = tuple(Tool(name=tool) for tool in sorted(called))
    found = [one.model_copy(update={"tools": one.tools or offered}) for one in found]
    write(tmp_path / "pivots.jsonl", found, "pivot_rows", options=WriteOptions(agent="recorded"))
    assert len((tmp_path / "pivots.jsonl").read_bytes().splitlines()) == READ[name][2]
    rebuilt = list(read(tmp_path / "pivots.jsonl"))
    assert [(one.id, one.task_id, one.reward) for one in rebuilt] == [
        (one.id, one.task_id, one.reward) for one in found
    ]
    for before, after in zip(found, rebuilt, strict=True):
        last = turns(before)[-1].position
        assert len(after.messages) == last + 1
        assert after.messages[:last] == before.messages[:last]
