"""The judge against a real server: verdicts, order, retries, time limits, the cache, the key."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pivot_jax.records import Action, Candidate, Message, Verdict
from pivot_jax.verify.judge_endpoint import Endpoint
from pivot_jax.verify.judge_prompt import AnswerError, question, read_equivalent, state_summary
from pivot_jax.verify.llm_judge import JudgeRules, LlmJudge
from pivot_jax.verify.terminal import TerminalMatch
from pivot_jax.verify.verifier import Unjudgeable, judge
from tests.verify.candidates import calls, candidate
from tests.verify.judge_server import Judge, Reply, running
from tests.verify.test_terminal import second

YES, NO = '{"equivalent": true}', '{"equivalent": false}'
EXPERT, OTHER = Action.call("book", seat="aisle"), Action.call("reserve", seat="aisle")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def llm(server: Judge, cache: Path | None = None, **options: Any) -> LlmJudge:
    own = {name: options.pop(name) for name in ("swap", "time_limit", "state_characters") if name in options}
    endpoint = Endpoint(**{"base_url": server.base_url, "model": "m", "first_wait": 0.0, **options})
    return LlmJudge(JudgeRules(endpoint=endpoint, cache=cache, **own))


def verdict_of(verifier: LlmJudge, action: Action = OTHER) -> Verdict:
    return judge([verifier], candidate(EXPERT), [action])["judge"][0]


@pytest.mark.parametrize(("answer", "reward"), [(YES, 1.0), (NO, 0.0), (f"<think>{NO}</think>\n {YES} ", 1.0)])
def test_the_verdict_is_the_judges(answer: str, reward: float) -> None:
    with running(lambda *_: Reply(answer)) as server:
        verdict = verdict_of(llm(server))
    assert (verdict.status, verdict.reward, verdict.components) == ("judged", reward, {"judge": reward})
    assert server.paths == ["/v1/chat/completions"] * 2
    assert {(body["model"], body["temperature"]) for body in server.bodies} == {("m", 0)}


def test_the_actions_are_asked_about_in_both_orders() -> None:
    with running(lambda *_: Reply(YES)) as server:
        verdict_of(llm(server))
    asked = [body["messages"][1]["content"] for body in server.bodies]
    places = [[text.index(f'"name": "{name}"') for name in ("book", "reserve")] for text in asked]
    assert places[0][0] < places[0][1] and places[1][1] < places[1][0]
    assert all("user: hello" in text and "expert" not in text.lower() for text in asked)


def test_a_verdict_that_depends_on_the_order_is_none() -> None:
    with running(lambda _, n: Reply(YES if n == 0 else NO)) as server:
        verdict = verdict_of(llm(server))
        assert (verdict.status, verdict.reason) == ("error", "judge: the verdict depends on the order of the actions")
    with running(lambda _, n: Reply(YES if n == 0 else NO)) as server:
        assert verdict_of(llm(server, swap=False)).reward == 1 and len(server.bodies) == 1


def test_the_experts_own_action_and_a_malformed_one_need_no_question() -> None:
    with running(lambda *_: Reply(NO)) as server:
        verifier = llm(server)
        assert verdict_of(verifier, calls(("book", '{ "seat":"aisle" }'))).reward == 1
        assert verdict_of(verifier, Action(malformed="cut off")).reason == "cut off"
        broken = judge([verifier], candidate(calls(("book", "{"))), [OTHER])["judge"][0]
    assert broken.status == "error" and server.bodies == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    with running(lambda _, n: Reply(status=status, body=b"busy") if n < 2 else Reply(YES)) as server:
        assert verdict_of(llm(server)).reward == 1
    assert len(server.bodies) == 4  # two refusals, and two answers


def test_a_server_that_keeps_failing_gives_an_error_after_all_attempts() -> None:
    with running(lambda *_: Reply(status=500)) as server:
        verdict = verdict_of(llm(server, attempts=3))
    assert (verdict.status, verdict.reason) == ("error", "judge: HTTP 500, 3 attempts") and len(server.bodies) == 3


def test_waits_double_and_a_server_may_ask_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pivot_jax.verify.judge_endpoint.time.sleep", pauses.append)
    later = {"Retry-After": "7"}
    with running(lambda _, n: Reply(status=429, headers=later if n == 2 else {}) if n < 4 else Reply(YES)) as server:
        assert verdict_of(llm(server, first_wait=1.0, attempts=5)).reward == 1
    assert pauses == [1.0, 2.0, 7.0, 8.0]


def test_no_attempt_is_made_after_the_time_limit() -> None:
    began = time.monotonic()
    with running(lambda *_: Reply(status=429, headers={"Retry-After": "600"})) as server:
        verdict = verdict_of(llm(server, time_limit=5.0))
    assert verdict.status == "error" and verdict.reason.startswith("time limit: judge: HTTP 429; no time is left")
    assert len(server.bodies) == 1 and time.monotonic() - began < 4


def test_a_slow_server_does_not_outlast_the_time_limit() -> None:
    gone = threading.Event()
    with running(lambda *_: Reply(YES, before=lambda: gone.wait(20))) as server:
        began = time.monotonic()
        verdict = verdict_of(llm(server, time_limit=0.3))
        spent = time.monotonic() - began
        gone.set()
    assert verdict.status == "error" and verdict.reason.startswith("time limit: judge") and 0.25 < spent < 5


def test_a_server_that_drips_does_not_outlast_the_time_limit() -> None:
    gone = threading.Event()
    with running(lambda *_: Reply(YES, drip=lambda: gone.wait(0.05))) as server:
        began = time.monotonic()
        verdict = verdict_of(llm(server, time_limit=0.5))
        spent = time.monotonic() - began
        gone.set()
    assert verdict.status == "error" and verdict.reason.startswith("time limit") and spent < 3


def test_a_request_that_hangs_is_tried_again() -> None:
    gone = threading.Event()
    with running(lambda _, n: Reply(YES, before=lambda: n == 0 and gone.wait(20))) as server:
        assert verdict_of(llm(server, request_timeout=0.3)).reward == 1
        gone.set()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        verdict = verdict_of(llm(Judge(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"), attempts=2))
    assert (verdict.status, verdict.reason) == ("error", "judge: no connection (URLError), 2 attempts")


@pytest.mark.parametrize(
    "answer",
    ["yes", "", "true", '{"equivalent": "true"}', '{"equivalent": 1}', '{"equivalent": true, "why": "x"}',
     f"```json\n{YES}\n```", f"{YES} because", f"<think>{YES}", '{"a":' * 100_000],
)  # fmt: skip
def test_an_answer_that_is_no_verdict_is_an_error_and_is_not_kept(tmp_path: Path, answer: str) -> None:
    with running(lambda *_: Reply(answer)) as server:
        verdict = verdict_of(llm(server, tmp_path))
    assert verdict.status == "error" and verdict.reason.startswith("judge: the answer is not")
    assert len(server.bodies) == 1 and list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(body=b"<html>"), "judge: the reply is no completion (JSONDecodeError)"),
        (Reply(body=b"{}"), "judge: the reply is no completion (KeyError)"),
        (Reply(body=b'{"choices": []}'), "judge: the reply is no completion (IndexError)"),
        (Reply(body=b'{"choices": [{"message": {"content": null}}]}'), "judge: the reply has no text"),
        (Reply(body=b"x" * (2 << 20)), "judge: an answer of more than 1048576 bytes"),
        (Reply(status=400), "judge: HTTP 400"),
        (Reply(status=401, body=b"bad key secret"), "judge: HTTP 401"),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), "judge: HTTP 302"),
    ],
)
def test_a_reply_that_is_no_completion_is_an_error_at_once(reply: Reply, reason: str) -> None:
    with running(lambda *_: reply) as server:
        verdict = verdict_of(llm(server))
    assert (verdict.status, verdict.reason) == ("error", reason) and len(server.bodies) == 1


def test_kept_verdicts_are_not_asked_for_again(tmp_path: Path) -> None:
    with running(lambda *_: Reply(YES)) as server:
        assert verdict_of(llm(server, tmp_path)).reward == 1
        files = sorted(tmp_path.rglob("*"))
        assert verdict_of(llm(server, tmp_path)).reward == 1
        assert len(server.bodies) == 2 and sorted(tmp_path.rglob("*")) == files
        verdict_of(llm(server, tmp_path), Action.say("other"))
        verdict_of(llm(server, tmp_path, model="n"))
        assert len(server.bodies) == 6
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 6 and all(path.suffix == ".json" and json.loads(path.read_text()) is True for path in kept)


def test_a_kept_file_that_is_no_verdict_is_told(tmp_path: Path) -> None:
    with running(lambda *_: Reply(YES)) as server:
        verdict_of(llm(server, tmp_path))
        for path in tmp_path.rglob("*.json"):
            path.write_text("{}")
        with pytest.raises(ValueError, match=r"[.]json: not a verdict; remove the file"):
            verdict_of(llm(server, tmp_path))


def test_threads_share_a_judge_and_ask_once(tmp_path: Path) -> None:
    """Sixteen calls, four questions: each order of each is asked once, and every verdict is its own."""
    together = threading.Barrier(4)

    def answer(body: dict[str, Any], _: int) -> Reply:
        asked = body["messages"][1]["content"]
        return Reply(YES if any(f"seat{n}" in asked for n in "02") else NO, before=lambda: together.wait(20))

    actions = [Action.call("book", seat=f"seat{n % 4}") for n in range(16)]
    with running(answer) as server, ThreadPoolExecutor(16) as pool:
        verifier = llm(server, tmp_path)
        rewards = list(pool.map(lambda action: verdict_of(verifier, action).reward, actions))
    assert rewards == [1.0, 0.0] * 8 and len(server.bodies) == 8


def test_the_key_is_sent_and_told_to_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_JUDGE_KEY", "s3cret")
    with running(lambda _, n: Reply(YES) if n < 2 else Reply(status=401, body=b"s3cret")) as server:
        verifier = llm(server, key_variable="TEST_JUDGE_KEY")
        said = [verdict_of(verifier), verdict_of(verifier, Action.say("x"))]
        assert [headers["Authorization"] for headers in server.headers] == ["Bearer s3cret"] * 3
        monkeypatch.delenv("TEST_JUDGE_KEY")
        missing = verdict_of(verifier, Action.say("y"))
    assert missing.reason == "judge: the environment variable TEST_JUDGE_KEY is not set" and len(server.bodies) == 3
    assert "s3cret" not in f"{verifier!r} {said} {missing} {caplog.text} {server.bodies}"
    with running(lambda *_: Reply(YES)) as server:
        verdict_of(llm(server))
        assert "Authorization" not in server.headers[0]


def test_the_judge_is_the_fallback_of_terminal() -> None:
    with running(lambda *_: Reply(YES)) as server:
        verifier = TerminalMatch(fallback=llm(server))
        accepted = verifier(candidate(second("ls -l\n")), second("ls --long\n"))
        assert accepted.reward == accepted.components["judge"] == 1 and 0 < accepted.components["similarity"] < 0.9
        assert verifier(candidate(second("ls\n")), second("ls\n")).reward == 1 and len(server.bodies) == 2
    with running(lambda *_: Reply(status=500)) as server, pytest.raises(Unjudgeable, match="HTTP 500"):
        TerminalMatch(fallback=llm(server))(candidate(second("ls\n")), second("pwd\n"))


def test_other_schemes_than_http_are_refused() -> None:
    with pytest.raises(ValueError, match="base_url"):
        Endpoint(base_url="file:///etc/passwd", model="m")


def test_the_state_is_the_task_and_what_fits_of_the_end() -> None:
    said = [Message(role="system", content="rules"), Message(role="user", content="task")]
    said += [Message(role="tool", content=f"{n}" * 10) for n in range(1, 6)]
    there = candidate(EXPERT).model_copy(update={"state": tuple(said)})
    assert state_summary(there, 0) == "user: task\n[5 messages left out]"
    assert state_summary(there, 45) == "user: task\n[3 messages left out]\ntool: 4444444444\ntool: 5555555555"
    assert state_summary(there, 1000).count("\n") == 5 and "left out" not in state_summary(there, 1000)
    assert state_summary(there.model_copy(update={"state": ()}), 10) == ""
    long = Candidate(**{**there.model_dump(), "state": (Message(role="user", content="x" * 5000),)})
    assert state_summary(long, 10) == "user: " + "x" * 2000 + " [cut]"
    both = question(there, EXPERT, OTHER, 100), question(there, OTHER, EXPERT, 100)
    assert both[0] != both[1] and both[0][0] == both[1][0]


def test_reading_a_verdict() -> None:
    assert read_equivalent(YES) and not read_equivalent(f" {NO}\n")
    with pytest.raises(AnswerError, match="not JSON: 'maybe'"):
        read_equivalent("maybe")
