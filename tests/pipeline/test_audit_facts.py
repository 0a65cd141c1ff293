"""The audit of hand-made trajectories in which every number is known: leaks, duplicates and bad labels are planted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import trunks
from pivot_jax.data.turns import candidates
from pivot_jax.pipeline.audit_counts import audit_of
from pivot_jax.pipeline.audit_facts import facts_of
from pivot_jax.pipeline.audit_record import Audit, Failing, Leak, Repeat, SelfScore, Side, Spread
from pivot_jax.pipeline.candidates import Prepared
from pivot_jax.records import Action, Candidate, Message, Tool, ToolCall, Trajectory, Verdict
from pivot_jax.verify.exact import Exact
from pivot_jax.verify.tool_call import ToolCallMatch
from pivot_jax.verify.tool_name import ToolName
from pivot_jax.verify.verifier import Unjudgeable
from tests.data.chatml import chatml_tokenizer

STRIPPED = chatml_tokenizer(keep_reasoning=False)
KEPT = chatml_tokenizer(keep_reasoning=True)
VERIFIERS = (ToolCallMatch(name="functional"), ToolName(), Exact())
LOOK = Tool(name="look")
THOUGHT = "I should look at the tea before I say anything."


def user(text: str) -> Message:
    return Message(role="user", content=text)


def result(text: str) -> Message:
    return Message(role="tool", content=text)


def does(content: str = "", *calls: tuple[str, str], thought: str = "") -> Message:
    asked = tuple(ToolCall(name=name, arguments=arguments) for name, arguments in calls)
    return Message(role="assistant", content=content, tool_calls=asked, reasoning=thought)


def trajectory(name: str, *messages: Message, task: str = "tea", tools: tuple[Tool, ...] = (LOOK,)) -> Trajectory:
    return Trajectory(id=name, domain="shop", task_id=task, messages=messages, tools=tools)


def audit(*trajectories: Trajectory, tokenizer=STRIPPED, verifiers=VERIFIERS, held_out=()) -> Audit:
    def prepared(one: Trajectory) -> Prepared:
        rendered = render(one, tokenizer)
        return Prepared(one, rendered, trunks(rendered), candidates(one))

    facts = (facts_of(prepared(one), tokenizer, "hermes", verifiers) for one in trajectories)
    return audit_of(facts, held_out, "tool_call")


TALK = trajectory(
    "talk",
    user("hi"),
    does("", ("look", "{}"), thought=THOUGHT),
    result("ok"),
    does("done", thought="Short."),
    user("more"),
    does("one moment", ("look", '{"at": 1}'), ("touch", "{}")),
    result("1"),
    result("2"),
    does("bye"),
    does(""),
)


def test_lengths_are_those_of_the_text_at_one_token_a_byte() -> None:
    short = trajectory("short", user("hi"), does("done"), user("more"), does("a longer answer"), tools=())
    found = audit(short).lengths
    # markup is one token each: <|im_start|> and <|im_end|>
    first = len("_user\nhi_\n_assistant\n")
    second = first + len("done_\n_user\nmore_\n_assistant\n")
    assert found.state_tokens == Spread(mean=(first + second) / 2, median=first, p95=second, max=second)
    assert found.action_tokens == Spread(mean=10.5, median=5, p95=16, max=16)
    assert found.turns == Spread(mean=2, median=2, p95=2, max=2)


def test_turns_and_tools() -> None:
    found = audit(TALK, trajectory("bare", user("hi"), does("", ("look", "{}")), tools=()))
    assert found.turns.model_dump() == {
        "total": 6, "message": 2, "call": 2, "message_and_call": 1, "empty": 1, "message_share": 2 / 6
    }  # fmt: skip
    tools = found.tools
    assert (tools.calls, tools.calling_turns, tools.parallel_turns, tools.parallel_share) == (4, 3, 1, 1 / 3)
    assert tools.per_turn == Spread(mean=4 / 6, median=0, p95=2, max=2)
    assert tools.by_tool == {"look": 3, "touch": 1}
    # the second trajectory offers no tools, so it cannot be told what it may call
    assert (tools.not_offered, tools.without_tools) == ({"touch": 1}, 1)


def test_prefixes() -> None:
    plain = trajectory("plain", user("hi"), does("a"), user("b"), does("c"), tools=())
    found = audit(plain).prefixes
    state = len("_user\nhi_\n_assistant\n")
    trunk = state + len("a_\n_user\nb_\n_assistant\n")
    assert (found.trajectories, found.preserving, found.preserving_share) == (1, 1, 1.0)
    assert (found.sequences, found.trunks) == (1, 1)
    assert found.state_tokens == state + trunk
    # the trunk but for its last token, and the last token of both states
    assert found.computed_tokens == trunk - 1 + 2
    assert found.shared_share == pytest.approx(1 - (trunk + 1) / (state + trunk))
    rewritten = audit(plain, TALK).prefixes
    assert (rewritten.preserving, rewritten.preserving_share, rewritten.sequences) == (1, 0.5, 3)


def test_reasoning_is_followed_through_the_later_states() -> None:
    stripped, kept = audit(TALK).reasoning, audit(TALK, tokenizer=KEPT).reasoning
    assert (stripped.recorded, stripped.recorded_share, stripped.in_action, stripped.followed) == (2, 0.4, 2, 2)
    # the first is shown until the user speaks again, the second is followed by the user's words at once
    assert (stripped.kept, stripped.partly, stripped.stripped) == (0, 1, 1)
    assert (kept.kept, kept.partly, kept.stripped) == (2, 0, 0)


def test_reasoning_is_not_mistaken_for_equal_words_of_a_result() -> None:
    echoed = trajectory("echo", user("hi"), does("a", thought=THOUGHT), user(THOUGHT), does("b"))
    assert audit(echoed).reasoning.stripped == 1


def test_a_template_that_shows_no_reasoning_is_seen() -> None:
    silent = chatml_tokenizer(keep_reasoning=True)
    silent.chat_template = str(silent.chat_template).replace("message['reasoning_content'] and", "false and")
    found = audit(TALK, tokenizer=silent).reasoning
    assert (found.recorded, found.in_action, found.stripped) == (2, 0, 2)


def test_a_planted_leak_is_found_and_placed() -> None:
    told = trajectory("told", user("hi"), does("a"), user(f"Think:\n  {THOUGHT}"), does("b", thought=THOUGHT))
    called = trajectory(
        "called", user("hi"), does("", ("look", f'{{"why": "{THOUGHT}"}}')), result("ok"), does("b", thought=THOUGHT)
    )
    shown = trajectory("shown", user("hi"), does("a", thought=THOUGHT), result("ok"), does("b", thought=THOUGHT))
    clean = trajectory("clean", user("Look"), does("b", thought=THOUGHT), user("Short."), does("b", thought="Short."))
    found = audit(told, called, shown, clean).leaks
    assert found.found == (
        Leak(candidate="told#1", where="message 2 (user), content"),
        Leak(candidate="called#1", where="message 1 (assistant), calls"),
        Leak(candidate="shown#1", where="message 1 (assistant), reasoning"),
    )
    assert (found.searched, found.too_short) == (5, 1)


def test_a_leak_that_the_template_strips_is_none() -> None:
    hidden = trajectory("hidden", user("hi"), does("a", thought=THOUGHT), user("more"), does("b", thought=THOUGHT))
    assert audit(hidden).leaks.found == ()
    assert [one.candidate for one in audit(hidden, tokenizer=KEPT).leaks.found] == ["hidden#1"]


def test_planted_duplicates_are_found() -> None:
    first = trajectory("first", user("hi"), does("a"), user("b"), does("c"))
    again = trajectory("again", user("hi"), does("a"), user("b"), does("other"))
    third = trajectory("third", user("hi"), does("x"), user("b"), does("c"))
    found = audit(first, again, third).duplicates
    assert found.equal == (Repeat(candidate="again#0", first="first#0"),)
    assert found.contested == (
        Repeat(candidate="again#1", first="first#1"),
        Repeat(candidate="third#0", first="first#0"),
    )
    assert found.states == 3


def test_a_planted_label_that_does_not_score_itself_is_found() -> None:
    text = trajectory("text", user("hi"), does("say </think> twice"))
    broken = trajectory("broken", user("hi"), does("", ("look", '{"at": NaN}')))
    ended = trajectory("ended", user("hi"), does("before <|im_end|> behind"))
    found = audit(TALK, text, broken, ended).labels
    assert found.functional == "tool_call"
    assert found.scores == {
        "functional": SelfScore(passed=7, failed=1),
        "tool_name": SelfScore(passed=7, failed=1),
        "exact": SelfScore(passed=5, failed=3),
    }
    assert [(one.candidate, one.verifier) for one in found.failing] == [
        ("text#0", "exact"),
        *(("broken#0", name) for name in ("functional", "tool_name", "exact")),
        ("ended#0", "exact"),
    ]
    assert found.failing[0].reason == "not the expert's action"
    assert "JSON compliant" in found.failing[1].reason


def test_a_label_that_cannot_be_judged_is_not_one_that_fails() -> None:
    class Refuses:
        name = "refuses"

        def __call__(self, candidate: Candidate, action: Action) -> Verdict:
            raise Unjudgeable(f"{candidate.id}: no [engine]")

    found = audit(trajectory("t", user("hi"), does("a")), verifiers=[Refuses()]).labels
    assert found.scores == {"refuses": SelfScore(not_judged=1)}
    reason = "t#0: no [engine]"
    assert found.failing == (
        Failing(candidate="t#0", verifier="refuses", status="error", reward=0.0, reason=reason),
    )  # fmt: skip


def test_the_split_by_task() -> None:
    one, two, other = (
        trajectory(name, user(name), does("b"), task=task) for name, task in (("1", "x"), ("2", "x"), ("3", "y"))
    )
    held_out: Sequence[tuple[tuple[str, str], int]] = [(("shop", "z"), 4), (("shop", "z"), 1), (("other", "x"), 2)]
    split = audit(one, two, other, held_out=held_out).split
    assert split.training == Side(tasks=2, trajectories=3, candidates=3)
    assert split.held_out == Side(tasks=2, trajectories=3, candidates=7)
    assert split.on_both == ()
    assert audit(one, held_out=[(("shop", "x"), 1)]).split.on_both == ("shop/x",)


def test_no_training_trajectory_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was counted"):
        audit()
