"""SWE-agent and mini-swe-agent files: commands in text become calls, and what was said stays word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.data.failure import DataError
from pivot_jax.data.formats.registry import read
from pivot_jax.data.formats.swe_agent import BASH
from pivot_jax.data.formats.writing import write
from pivot_jax.records import Message, ToolCall, Trajectory


def bash(index: int, command: str) -> tuple[ToolCall, ...]:
    return (ToolCall(name="bash", arguments=json.dumps({"command": command}), id=f"call_{index}"),)


def read_file(tmp_path: Path, name: str, content: dict[str, Any]) -> Trajectory:
    (tmp_path / name).write_text(json.dumps(content, indent=2))
    told: list[str] = []
    [found] = read(tmp_path / name, on_format=lambda *what: told.append(what[1]))
    assert told == ["swe_agent"]
    return found


def test_commands_in_fenced_blocks(tmp_path: Path) -> None:
    one = "THOUGHT: look\n\n```bash\nls -la\ncat a.py\n```\n"
    two = "```bash\nls\n```\nor\n```bash\npwd\n```"
    said = [
        {"role": "system", "content": "you are an agent"},
        {"role": "user", "content": "fix it; answer with ```bash\ncommand\n```"},
        {"role": "assistant", "content": one, "extra": {"response": {}}},
        {"role": "user", "content": "<returncode>0</returncode>"},
        {"role": "assistant", "content": two},
        {"role": "user", "content": "Please provide EXACTLY ONE action"},
        {"role": "assistant", "content": "```mswea_bash_command\nsubmit\n```"},
        {"role": "exit", "content": "", "extra": {"exit_status": "Submitted"}},
    ]
    info = {"exit_status": "Submitted", "submission": "diff"}
    content = {"info": info, "messages": said, "trajectory_format": "mini-swe-agent-1"}
    found = read_file(tmp_path, "django-1.traj.json", content)
    assert found.messages == (
        Message(role="system", content="you are an agent"),
        Message(role="user", content=said[1]["content"]),
        Message(role="assistant", content=one, tool_calls=bash(2, "ls -la\ncat a.py")),
        Message(role="tool", content="<returncode>0</returncode>", tool_call_id="call_2"),
        Message(role="assistant", content=two),
        Message(role="user", content="Please provide EXACTLY ONE action"),
        Message(role="assistant", content="```mswea_bash_command\nsubmit\n```", tool_calls=bash(6, "submit")),
    )
    assert (found.id, found.task_id, found.tools) == ("django-1", "django-1", (BASH,))
    assert found.metadata == {"info": info}


def test_the_history_of_swe_agent_with_actions_in_text(tmp_path: Path) -> None:
    history = [
        {"role": "system", "content": "s", "agent": "main", "message_type": "system_prompt"},
        {"role": "user", "content": [{"type": "text", "text": "issue"}], "message_type": "observation"},
        {
            "role": "assistant",
            "content": "look\n```\nls -F\n```",
            "thought": "look",
            "action": "ls -F\n",
            "tool_calls": None,
        },
        {"role": "user", "content": "a.py", "message_type": "observation", "tags": []},
        {"role": "assistant", "content": "hm", "thought": "hm", "action": ""},
        {"role": "user", "content": "no command"},
    ]
    content = {"trajectory": [{"query": history}], "history": history, "info": {"exit_status": None}}
    found = read_file(tmp_path, "x__y-1.traj", content)
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert found.messages[1].content == "issue"
    assert found.messages[2] == Message(
        role="assistant", content="look\n```\nls -F\n```", tool_calls=bash(2, "ls -F\n")
    )
    assert found.messages[4].tool_calls == ()


def test_the_history_of_swe_agent_with_tool_calls(tmp_path: Path) -> None:
    call = {"id": "t1", "type": "function", "index": 0, "function": {"name": "edit", "arguments": '{"path": "a"}'}}
    history = [
        {"role": "user", "content": "issue"},
        {
            "role": "assistant",
            "content": "I edit ```bash\nnot this\n```",
            "action": "edit a",
            "tool_calls": [call],
            "thinking_blocks": [{"type": "thinking", "thinking": "first"}, {"type": "thinking", "thinking": "then"}],
        },
        {"role": "tool", "content": "done", "tool_call_ids": ["t1"]},
        {"role": "user", "content": "go on"},
    ]
    found = read_file(tmp_path, "x__y-2.traj", {"history": history, "info": {}, "environment": "e"})
    assert found.messages[1:] == (
        Message(
            role="assistant",
            content="I edit ```bash\nnot this\n```",
            reasoning="first\n\nthen",
            tool_calls=(ToolCall(name="edit", arguments='{"path": "a"}', id="t1"),),
        ),
        Message(role="tool", content="done", tool_call_id="t1"),
        Message(role="user", content="go on"),
    )
    assert found.tools == ()


def test_a_file_of_responses(tmp_path: Path) -> None:
    said = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "task"},
        {
            "object": "response",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "name": "bash", "arguments": '{"command": "ls"}', "call_id": "c1"},
            ],
        },
        {"type": "function_call_output", "call_id": "c1", "output": "a.py"},
        {"role": "exit", "content": ""},
    ]
    content = {"info": {}, "messages": said, "trajectory_format": "mini-swe-agent-1.1", "instance_id": "i-1"}
    found = read_file(tmp_path, "run.json", content)
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool"]
    assert (found.id, found.task_id, found.tools) == ("run", "i-1", (BASH,))


def test_text_with_one_block_that_was_written_here_stays_text(tmp_path: Path) -> None:
    said = (Message(role="user", content="how?"), Message(role="assistant", content="so:\n```bash\nls\n```"))
    plain = Trajectory(id="a", task_id="t", messages=said)
    write(tmp_path / "a.traj", [plain], "swe_agent")
    assert list(read(tmp_path / "a.traj")) == [plain]
    written = json.loads((tmp_path / "a.traj").read_text())
    assert written["trajectory_format"] == "mini-swe-agent-1.1"
    assert written["instance_id"] == "t"


def test_the_same_instance_in_two_runs_has_two_ids_and_one_task(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    for run in ("one", "two"):
        (tmp_path / run / "i-1").mkdir(parents=True)
        content = {"messages": said, "info": {}, "instance_id": "i-1"}
        (tmp_path / run / "i-1" / "i-1.traj.json").write_text(json.dumps(content))
    found = list(read(tmp_path))
    assert [(one.id, one.task_id) for one in found] == [("one/i-1/i-1", "i-1"), ("two/i-1/i-1", "i-1")]


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "neither": ({"info": {}}, "(whole row)", "neither history"),
    "demonstration": (
        {"history": [{"role": "user", "content": ""}, {"role": "assistant", "content": "", "is_demo": True}]},
        "history[1].is_demo",
        "not this agent's turns",
    ),
    "role": ({"messages": [{"role": "robot"}]}, "messages[0].role", "'assistant'"),
    "image after the end": (
        {"history": [{"role": "exit"}, {"role": "user", "content": [{"type": "image"}]}]},
        "history[1].content",
        "part 0",
    ),
    "answer": (
        {"history": [{"role": "user", "content": "u"}, {"role": "tool", "content": "", "tool_call_ids": ["c"]}]},
        "history[1].tool_call_id",
        "'c' answers no open call",
    ),
    "no turn": ({"messages": [{"role": "user", "content": "u"}]}, "messages", "no turn"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_field(fault: str, tmp_path: Path) -> None:
    content, field, reason = FAULTS[fault]
    (tmp_path / "a.traj").write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        list(read(tmp_path / "a.traj", "swe_agent"))
    assert caught.value.field == field
    assert reason in caught.value.reason
