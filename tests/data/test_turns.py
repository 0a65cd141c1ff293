"""Turns, candidates and the split of tasks."""

from __future__ import annotations

import random

import pytest

from pivot_jax.data.turns import candidates, is_for_base, split_by_task, turns
from pivot_jax.records import Message, Trajectory
from tests.data.episodes import shop_episode


def test_one_turn_for_each_assistant_message(shop: Trajectory) -> None:
    assert [(turn.index, turn.position) for turn in turns(shop)] == [(0, 2), (1, 4), (2, 7)]
    assert {turn.trajectory_id for turn in turns(shop)} == {"shop/1"}


def test_an_opening_greeting_is_no_turn_but_part_of_every_state(shop: Trajectory) -> None:
    greeting = Message(role="assistant", content="How can I help?")
    greeted = shop.model_copy(update={"messages": (greeting, *shop.messages)})
    assert [(turn.index, turn.position) for turn in turns(greeted)] == [(0, 3), (1, 5), (2, 8)]
    for candidate, plain in zip(candidates(greeted), candidates(shop), strict=True):
        assert candidate.state == (greeting, *plain.state)
        assert (candidate.id, candidate.expert) == (plain.id, plain.expert)
    assert turns(shop.model_copy(update={"messages": (greeting,)})) == ()


def test_a_candidate_is_everything_before_the_turn_and_its_action(shop: Trajectory) -> None:
    found = candidates(shop)
    assert [candidate.id for candidate in found] == ["shop/1#0", "shop/1#1", "shop/1#2"]
    assert [len(candidate.state) for candidate in found] == [2, 4, 7]
    for candidate in found:
        rest = shop.messages[candidate.turn.position + 1 :]
        assert (*candidate.state, candidate.expert.message(), *rest) == shop.messages
        assert (candidate.tools, candidate.domain, candidate.task_id) == (shop.tools, "shop", "shop/1")


def trajectory(task: int, copy: int, domain: str = "shop") -> Trajectory:
    message = Message(role="assistant", content="hello")
    return Trajectory(id=f"{domain}/{task}/{copy}", domain=domain, task_id=str(task), messages=(message,))


MANY = [trajectory(task, copy) for task in range(2000) for copy in range(2)]


def test_no_task_is_on_both_sides_and_the_order_is_kept() -> None:
    training, held_out = split_by_task(MANY, held_out=0.25, seed=3)
    assert not {one.task_id for one in training} & {one.task_id for one in held_out}
    sides = ({one.id for one in training}, {one.id for one in held_out})
    assert not sides[0] & sides[1]
    assert training == [one for one in MANY if one.id in sides[0]]
    assert held_out == [one for one in MANY if one.id in sides[1]]
    assert len(training) + len(held_out) == len(MANY)
    # 500 expected of 2000 tasks; the standard deviation is 19
    assert abs(len(held_out) / 2 - 500) < 80


def test_the_side_depends_on_seed_domain_and_task_alone() -> None:
    shuffled = random.Random(0).sample(MANY, 1500)
    held_out = {one.id for one in split_by_task(MANY, 0.25, seed=3)[1]}
    assert {one.id for one in split_by_task(shuffled, 0.25, seed=3)[1]} == held_out & {one.id for one in shuffled}
    assert {one.id for one in split_by_task(MANY, 0.25, seed=4)[1]} != held_out
    elsewhere = [trajectory(task, 0, domain="bank") for task in range(2000)]
    assert {one.task_id for one in split_by_task(elsewhere, 0.25, 3)[1]} != {name.split("/")[1] for name in held_out}


def test_the_ends_of_the_range() -> None:
    assert split_by_task(MANY, 0.0, seed=1) == (MANY, [])
    assert split_by_task(MANY, 1.0, seed=1) == ([], MANY)
    with pytest.raises(ValueError, match=r"held_out=1\.5"):
        split_by_task([shop_episode()], 1.5, seed=1)


def test_the_base_takes_its_share_of_the_tasks_whatever_the_seed_that_splits_the_rest() -> None:
    every = [trajectory(task, copy) for task in range(1000) for copy in range(2)]
    base = [item for item in every if is_for_base(item, 0.3)]
    assert 250 < len(base) / 2 < 350
    assert {item.task_id for item in base}.isdisjoint(item.task_id for item in every if not is_for_base(item, 0.3))
    assert {item.id for item in base} <= {item.id for item in every if is_for_base(item, 0.5)}  # a larger share adds
    rest = [item for item in every if not is_for_base(item, 0.3)]
    training, held_out = split_by_task(rest, 0.3, seed=0)
    # the two splits are independent: the base's share has not used up the held-out one
    assert 160 < len(held_out) / 2 < 260 and len(training) + len(held_out) == len(rest)
    assert not any(is_for_base(item, 0.0) for item in every)
