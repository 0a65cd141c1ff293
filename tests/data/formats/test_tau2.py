"""τ² result files: a hand-written one read by hand, and what is written back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, ToolCall, Trajectory
from tests.data.episodes import shop_episode


def call(tool: str, call_id: str, requestor: str = "assistant", **arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "name": tool, "arguments": arguments, "requestor": requestor}


def result(call_id: str, content: str, requestor: str = "assistant", error: bool = False) -> dict[str, Any]:
    return {"id": call_id, "role": "tool", "content": content, "requestor": requestor, "error": error, "turn_idx": 1}


MESSAGES = [
    {"role": "assistant", "content": "Hi!", "tool_calls": None, "turn_idx": 0, "cost": 0.0},
    {"role": "user", "content": "My phone is dead.", "usage": {"completion_tokens": 3}},
    {"role": "assistant", "content": None, "tool_calls": [call("find", "c1", name="Ann Ö"), call("bill", "c2", n=1.0)]},
    {"role": "tool", "tool_messages": [result("c1", "found"), result("c2", "no bill", error=True)]},
    {"role": "assistant", "content": "Restart it."},
    {"role": "user", "content": None, "tool_calls": [call("restart", "u1", "user")]},
    result("u1", "restarted", "user"),
    {"role": "user", "content": "###STOP###"},
]

SIMULATION = {
    "id": "sim-1",
    "task_id": "task 3",
    "timestamp": None,
    "duration": 3.5,
    "termination_reason": "user_stop",
    "reward_info": {"reward": 1.0, "db_check": {"db_match": True}, "info": None},
    "messages": MESSAGES,
    "trial": 2,
    "seed": 5,
}

RESULTS = {
    "timestamp": "2026-01-01",
    "info": {
        "num_trials": 4,
        "agent_info": {"implementation": "llm_agent", "llm": "model-a"},
        "user_info": {"llm": "model-b"},
        "environment_info": {"domain_name": "telecom", "policy": "…"},
    },
    "tasks": [{"id": "task 3", "simulations": [{"not": "one"}]}],
    "simulations": [SIMULATION, SIMULATION | {"id": "sim-2", "trial": 3, "reward_info": None}],
}


def test_simulations_become_trajectories_the_agent_saw(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS, indent=2), encoding="utf-8")
    told: list[str] = []
    first, second = read(tmp_path / "results.json", on_format=lambda *what: told.append(what[1]))
    assert told == ["tau2"]
    calls = (
        ToolCall(name="find", arguments='{"name": "Ann Ö"}', id="c1"),
        ToolCall(name="bill", arguments='{"n": 1.0}', id="c2"),
    )
    assert first.messages == (
        Message(role="assistant", content="Hi!"),
        Message(role="user", content="My phone is dead."),
        Message(role="assistant", tool_calls=calls),
        Message(role="tool", content="found", tool_call_id="c1"),
        Message(role="tool", content="no bill", tool_call_id="c2", is_error=True),
        Message(role="assistant", content="Restart it."),
        Message(role="user", content="###STOP###"),
    )
    assert (first.id, first.domain, first.task_id, first.reward) == ("sim-1", "telecom", "task 3", 1.0)
    assert (second.id, second.reward) == ("sim-2", None)
    user_side = first.metadata.pop("user_side")
    assert [(entry["before"], entry["message"]["role"]) for entry in user_side] == [(6, "user"), (6, "tool")]
    assert first.metadata == {
        "model": "model-a",
        "user_model": "model-b",
        "reward_info": {"db_check": {"db_match": True}, "info": None},
        "duration": 3.5,
        "termination_reason": "user_stop",
        "trial": 2,
        "seed": 5,
    }


def test_written_results_have_upstreams_shape_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    found = list(read(tmp_path / "results.json"))
    assert write(tmp_path / "again.json", [*found, shop_episode()], "tau2") == 3
    written = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert list(written) == ["info", "tasks", "simulations"]
    assert written["info"]["environment_info"] == {"domain_name": "telecom"}
    plain = [
        {key: message.get(key) for key in ("role", "content", "tool_calls", "id", "requestor", "error")}
        for message in written["simulations"][0]["messages"]
    ]
    flat = [*MESSAGES[:3], *MESSAGES[3]["tool_messages"], *MESSAGES[4:]]
    keys = ("role", "content", "tool_calls", "id", "requestor", "error")
    assert plain == [{key: message.get(key) for key in keys} for message in flat]
    again = list(read(tmp_path / "again.json"))
    assert again[:2] == found
    assert (again[2].domain, again[2].tools) == ("shop", shop_episode().tools)


def test_an_empty_result_file(tmp_path: Path) -> None:
    assert write(tmp_path / "none.json", [], "tau2") == 0
    assert json.loads((tmp_path / "none.json").read_text()) == {"info": {}, "tasks": [], "simulations": []}
    with pytest.raises(DataError, match="field simulations: no simulation is in the result file"):
        list(read(tmp_path / "none.json"))


def test_simulations_one_a_line_and_rows_in_the_chat_form(tmp_path: Path) -> None:
    (tmp_path / "sims.jsonl").write_text(json.dumps(SIMULATION) + "\n")
    write(tmp_path / "chat.jsonl", [shop_episode()], "chat")
    [simulated] = read(tmp_path / "sims.jsonl")
    assert (simulated.id, simulated.domain, len(simulated.messages)) == ("sim-1", "", 7)
    assert list(read(tmp_path / "chat.jsonl", "tau2")) == [shop_episode()]


FAULTS: dict[str, tuple[str, Any, str]] = {
    "no content": ("messages[2].role", {"role": "robot"}, "'assistant'"),
    "arguments as text": (
        "messages[2].tool_calls[0].arguments",
        call("find", "c1") | {"arguments": "{}"},
        "dictionary",
    ),
    "spoken": ("messages[1].is_audio", {"role": "user", "content": "UklGR", "is_audio": True}, "spoken"),
    "answer": ("messages[3].tool_messages[1].tool_call_id", result("c9", "?"), "'c9' answers no open call"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_where_it_stands_in_the_file(fault: str, tmp_path: Path) -> None:
    field, value, reason = FAULTS[fault]
    broken = json.loads(json.dumps(SIMULATION))
    messages = broken["messages"]
    if fault == "no content":
        messages[2] = value
    elif fault == "arguments as text":
        messages[2]["tool_calls"][0] = value
    elif fault == "spoken":
        messages[1] = value
    else:
        messages[3]["tool_messages"][1] = value
    document = {"info": RESULTS["info"], "tasks": [], "simulations": [SIMULATION | {"id": "good"}, broken]}
    file = tmp_path / "results.json"
    file.write_text(json.dumps(document, indent=1))
    line = file.read_text().splitlines().index('   "id": "sim-1",')
    rows = read(file)
    assert next(rows).id == "good"
    with pytest.raises(DataError) as caught:
        next(rows)
    assert (caught.value.field, caught.value.line) == (field, line)
    assert reason in caught.value.reason


def test_info_after_the_simulations_is_refused(tmp_path: Path) -> None:
    late = {"tasks": [], "simulations": [SIMULATION], "info": {}}
    (tmp_path / "late.json").write_text(json.dumps(late))
    with pytest.raises(DataError, match="field info: stands after the simulations"):
        list(read(tmp_path / "late.json"))


def test_lines_are_no_result_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name it \.json"):
        write(tmp_path / "results.jsonl", [shop_episode()], "tau2")


def test_metadata_that_is_not_the_chat_forms_user_side(tmp_path: Path) -> None:
    odd: Trajectory = shop_episode().model_copy(update={"metadata": {"user_side": [{"after": 3}]}})
    with pytest.raises(ValueError, match=r"metadata\.user_side"):
        write(tmp_path / "out.json", [odd], "tau2")
