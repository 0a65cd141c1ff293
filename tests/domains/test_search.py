"""The search environment: tasks, demonstrations, equivalence, chores, patience."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pivot_jax.domains.environment import MAX_TURNS, demonstrate
from pivot_jax.domains.replay import restore
from pivot_jax.domains.search import TEMPLATES, Knobs, Search, reset
from pivot_jax.domains.search.generation import draw_task
from pivot_jax.domains.search.progress import PATIENCE
from pivot_jax.records import Action, Candidate, Turn
from pivot_jax.verify.execution import ExecutionVerifier

INF = float("inf")
STYLES = 3
PLAIN = Knobs(hops=(3,), routine=0, waits=(0,), listed=0.0, hard_share=0.0, synonyms=0.0, distractors=3)


def after(env: Search, action: Action) -> float:
    branch = env.clone()
    branch.step(action)
    return branch.remaining()


def search(query: str) -> Action:
    return Action.call("search", query=query)


def play_until(env: Search, tool: str) -> Search:
    """Follow the expert until the tool that comes next is `tool`."""
    while env.demonstrations()[0].tool_calls[0].name != tool:
        env.step(env.demonstrations()[0])
    return env


def find_task(person: bool, knobs: Knobs = PLAIN) -> Search:
    """The first task whose question is about a person, or about a thing."""
    return next(
        env for env in (reset(seed, knobs) for seed in range(50)) if env.task.hops[0].entity.is_person == person
    )


def test_equal_seeds_give_equal_tasks_and_messages() -> None:
    for seed in range(30):
        first = demonstrate(reset, "search", seed)
        collection = reset(seed).task.collection.documents
        draw_task.cache_clear()
        assert demonstrate(reset, "search", seed) == first
        assert reset(seed).task.collection.documents == collection
    assert len({reset(seed).task.request for seed in range(200)}) > 195


def test_the_system_message_names_the_domain_and_the_chores() -> None:
    system, user = reset(0, Knobs(routine=3)).opening()
    assert (system.role, user.role) == ("system", "user")
    assert system.content.split("\n")[0] == "search note back check"
    assert user.content == reset(0, Knobs(routine=3)).task.request


def test_every_style_solves_every_task_in_the_turns_that_remain() -> None:
    for seed in range(200):
        for style in range(STYLES):
            trajectory = demonstrate(reset, "search", seed, style=style)
            turns = sum(message.role == "assistant" for message in trajectory.messages)
            assert trajectory.reward == 1.0, (seed, trajectory.messages)
            assert turns == reset(seed).remaining()
            assert 5 <= turns <= 12 < MAX_TURNS


def test_each_demonstration_brings_the_end_one_turn_nearer_and_no_mistake_does() -> None:
    for seed in range(80):
        env = reset(seed)
        while not env.done:
            before = env.remaining()
            good, bad = env.demonstrations(), env.mistakes()
            assert good and 1 <= len(bad) <= 5
            assert len(set(good)) == len(good) and not set(good) & set(bad)
            assert all(after(env, action) == before - 1 for action in good)
            assert all(after(env, action) >= before for action in bad), (seed, bad)
            env.step(good[seed % len(good)])
        assert env.remaining() == 0 and env.outcome() == 1.0
        assert env.demonstrations() == env.mistakes() == ()


def test_every_template_occurs_and_can_be_held_out() -> None:
    assert {reset(seed).task.template for seed in range(200)} == set(TEMPLATES)
    chosen = ("town", "singer")
    for seed in range(40):
        task = reset(seed, Knobs(templates=chosen)).task
        assert task.template in chosen and task.hops[0].relation == task.template


def test_most_states_have_several_texts() -> None:
    several = total = 0
    for seed in range(100):
        env = reset(seed)
        while not env.done:
            several += len(env.demonstrations()) > 1
            total += 1
            env.step(env.demonstrations()[0])
    assert several / total > 0.8


def test_any_query_that_finds_the_document_is_accepted() -> None:
    for person in (False, True):
        env = find_task(person)
        hop = env.task.hops[0]
        first, second = hop.entity.first, hop.entity.second
        for query in (
            f"{first} {second}",
            f"{second} {first}",
            f"the {second} of {first}",
            f"{first.upper()}, {second}!",
            f"please find {first} {second}",
            f"{hop.relation} {first} {second}",
            f"{first} {second} zzz",
            f'"{first}" AND {second}*',
        ):
            assert after(env, search(query)) == env.remaining() - 1, query
        for query in (first, second, "zzz", "the", f"{first}{second}", f"{first[:-1]}* {second[:-1]}*"):
            assert after(env, search(query)) == env.remaining(), query
        # With few documents of the same name, the name is enough.
        few = find_task(person, replace(PLAIN, distractors=2))
        assert after(few, search(few.task.hops[0].entity.first)) == few.remaining() - 1


def test_a_synonym_of_the_kind_finds_a_thing() -> None:
    synonyms = {"team": "club", "town": "city", "book": "novel", "school": "college", "band": "group"}
    for seed in range(30):
        env = reset(seed, PLAIN)
        entity = env.task.hops[0].entity
        if not entity.is_person:
            assert after(env, search(f"{entity.first} {synonyms[entity.second]}")) == env.remaining() - 1


def test_the_next_page_shows_what_a_vague_query_left_out() -> None:
    reached = 0
    for seed in range(20):
        env = reset(seed, PLAIN)
        start = env.remaining()
        env.step(search(env.task.hops[0].entity.first))
        if env.remaining() == start:
            env.step(Action.call("next"))
            reached += env.remaining() == start - 1
    assert reached >= 15
    assert env.step(Action.call("next"))[0].content != "none"
    for _ in range(2):
        (message, *_) = env.step(Action.call("next"))
    assert message.content == "none" and not message.is_error


def test_a_query_that_shows_two_needed_documents_is_two_turns_better() -> None:
    gains = set()
    for seed in range(20):
        env = reset(seed, PLAIN)
        query = " ".join(hop.entity.title for hop in env.task.hops[:2])
        gains.add(env.remaining() - after(env, search(query)))
        assert gains <= {0, 1, 2}
    assert 2 in gains


def test_a_document_is_opened_by_handle_or_title_once_it_was_shown() -> None:
    env = find_task(False)
    hop = env.task.hops[0]
    unseen = (Action.call("open", id=hop.handle), Action.call("open", id=hop.entity.title))
    assert all(after(env, action) == env.remaining() for action in unseen)
    assert env.step(unseen[0])[0].content == "error not found"
    env.step(search(hop.entity.title))
    beside = next(handle for handle in sorted(env.progress.shown) if handle != hop.handle)
    first, second = hop.entity.first, hop.entity.second
    for name in (hop.handle, hop.handle.upper(), f" {hop.handle} ", f"{first} {second}", f"{second} {first}"):
        assert after(env, Action.call("open", id=name)) == env.remaining() - 1, name
    assert after(env, Action.call("open", id=f"the {first} {second}")) == env.remaining() - 1
    for name in (beside, first, second, "d", "", "zzz"):
        assert after(env, Action.call("open", id=name)) == env.remaining(), name


@pytest.mark.parametrize("person", [False, True])
def test_the_answer_is_compared_by_its_words(person: bool) -> None:
    env = next(env for env in (reset(seed, PLAIN) for seed in range(50)) if env.task.answer.is_person == person)
    play_until(env, "answer")
    answer, asked, wrong = env.task.answer, env.task.hops[-1].relation, env.task.hops[-1].distraction
    right = [answer.title, f"the {answer.title}", answer.title.upper() + ".", f"{answer.second} {answer.first}"]
    right += [f"it is {answer.title}", f"{asked} {answer.title}", *([] if person else [answer.first])]
    for text in right:
        assert after(env, Action.call("answer", text=text)) == 0, text
    for text in (wrong.reference, f"{answer.title} {wrong.first}", "", "none", answer.second, asked, "é"):
        branch = env.clone()
        branch.step(Action.call("answer", text=text))
        assert (branch.remaining(), branch.outcome(), branch.done) == (INF, 0.0, True), text
        assert branch.step(Action.call("answer", text=answer.title)) == ()
        assert branch.outcome() == 0.0


def test_an_early_right_answer_counts_but_not_before_the_chores() -> None:
    env = reset(0, Knobs(routine=2, waits=(0,)))
    answer = Action.call("answer", text=env.task.answer.title)
    assert after(env, answer) == 0
    play_until(env, "note")
    (message,) = env.step(answer)
    assert message.content == "error note first" and message.is_error and not env.done


def test_chores_are_due_in_any_order_and_only_once() -> None:
    env = play_until(reset(0, Knobs(hops=(2,), routine=3, waits=(4,))), "wait")
    assert env.progress.due == ("wait", "wait", "note", "back", "check")
    handle = env.task.hops[0].handle
    start = env.remaining()
    chores = [Action.call("check"), Action.call("wait"), Action.call("note", id=handle), Action.call("back")]
    assert all(after(env, action) == start - 1 for action in chores)
    assert after(env, Action.call("note", id="a0" if handle != "a0" else "b0")) == start
    assert env.step(search(env.task.hops[0].finding.title))[0].content == "error wait first"
    assert [env.step(action)[0].content for action in chores] == ["ok", "busy", "ok", "ok"]
    assert env.step(Action.call("check"))[0].content == "error not now"
    assert env.step(Action.call("wait"))[0].content == "ok"
    assert env.remaining() == start - 5
    assert env.demonstrations()[0].tool_calls[0].name == "search"


def test_the_user_gives_up_after_four_useless_turns() -> None:
    env = reset(3)
    left = env.remaining()
    for turn in range(PATIENCE):
        assert env.remaining() == left and not env.done
        messages = env.step(search("zzz") if turn % 2 else Action.say("hello"))
    assert messages[-1].role == "user" and messages[-1].content == "no thanks goodbye"
    assert env.done and env.remaining() == INF and env.outcome() == 0.0
    assert env.step(search("zzz")) == () and env.demonstrations() == ()


def test_useful_turns_cost_no_patience() -> None:
    env = reset(4)
    while not env.done:
        env.step(env.demonstrations()[0])
    assert env.progress.useless == 0


def test_a_clone_is_independent_and_shares_the_collection() -> None:
    env = reset(5)
    branch = env.clone()
    branch.step(branch.demonstrations()[0])
    assert branch.remaining() == env.remaining() - 1
    other = env.clone()
    other.step(Action.call("answer", text="zzz"))
    assert branch.task.collection is env.task.collection
    assert env.remaining() == reset(5).remaining() < other.remaining() == INF


def test_a_secret_stands_below_the_first_line_of_the_system_message_only() -> None:
    knobs = Knobs(hops=(3,), hard_share=1.0, listed=1.0)
    for seed in range(20):
        env = reset(seed, knobs)
        first, *below = env.opening()[0].content.split("\n")
        for hop in env.task.hops:
            text = env.task.collection.documents[hop.handle].text.split()
            assert text[text.index(hop.relation) + 1] == "secret"
            assert f"{hop.relation} of {hop.entity.title} is {hop.finding.reference}" in below
        assert "secret" not in first
        assert demonstrate(lambda number: reset(number, knobs), "search", seed).reward == 1.0


def test_the_verifier_agrees_on_replayed_states() -> None:
    for seed in range(4):
        trajectory = demonstrate(reset, "search", seed, style=1)
        places = [place for place, message in enumerate(trajectory.messages) if message.role == "assistant"]
        verifier = ExecutionVerifier(lambda candidate: restore(candidate, {"search": reset}))
        for index, place in enumerate(places):
            candidate = Candidate(
                turn=Turn(trajectory_id=trajectory.id, index=index, position=place),
                domain="search",
                task_id=trajectory.task_id,
                state=trajectory.messages[:place],
                tools=trajectory.tools,
                expert=Action.of(trajectory.messages[place]),
            )
            env = restore(candidate, {"search": reset})
            assert all(verifier(candidate, action).reward == 1.0 for action in env.demonstrations())
            assert all(verifier(candidate, action).reward == 0.0 for action in env.mistakes())
