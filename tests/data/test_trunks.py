"""The trunk-and-branch layout: hand-made states, the invariant on random ones, and real templates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pivot_jax.data.rendered import Rendered, RenderedTurn
from pivot_jax.data.rendering import render
from pivot_jax.data.trunks import Trunk, sharing, trunks
from pivot_jax.records import Trajectory
from tests.data.chatml import chatml_tokenizer
from tests.data.episodes import thinking_episode


def rendered_states(*states: list[int]) -> Rendered:
    turns = [RenderedTurn(i, np.array(state, np.int32), np.array([0], np.int32)) for i, state in enumerate(states)]
    return Rendered(trajectory_id="t", turns=tuple(turns))


def plain(layout: tuple[Trunk, ...]) -> list[tuple[list[int], list[tuple[int, int, list[int]]]]]:
    return [
        (trunk.ids.tolist(), [(one.turn_index, one.start, one.forced_ids.tolist()) for one in trunk.branches])
        for trunk in layout
    ]


def test_states_that_extend_each_other_share_one_trunk() -> None:
    layout = trunks(rendered_states([1, 2], [1, 2, 3, 4, 2], [1, 2, 3, 4, 2, 5, 2]))
    assert plain(layout) == [([1, 2, 3, 4, 2, 5], [(0, 1, [2]), (1, 4, [2]), (2, 6, [2])])]
    assert sharing(layout) == {"trunks": 1, "state_tokens": 14, "computed_tokens": 9}


def test_a_generation_prompt_that_history_does_not_keep_is_forced() -> None:
    # 8, 9 is the generation prompt; in history only the 8 remains
    layout = trunks(rendered_states([1, 2, 3, 8, 9], [1, 2, 3, 8, 4, 5, 8, 9]))
    assert plain(layout) == [([1, 2, 3, 8, 4, 5, 8], [(0, 4, [9]), (1, 7, [9])])]


def test_a_state_that_shares_less_than_half_starts_a_trunk_and_later_ones_choose_the_closest() -> None:
    layout = trunks(rendered_states([1, 2, 3, 4], [1, 5, 6, 7], [1, 2, 3, 4, 9], [1, 5, 6, 7, 8]))
    assert plain(layout) == [
        ([1, 2, 3, 4], [(0, 3, [4]), (2, 4, [9])]),
        ([1, 5, 6, 7], [(1, 3, [7]), (3, 4, [8])]),
    ]


def test_states_that_would_all_force_the_same_tokens_get_a_trunk() -> None:
    # each of the five shares six of its nine tokens with the last state, but eight with one another
    block = [[1, 2, 3, 4, 5, 6, 11, 12, 13 + turn] for turn in range(4)]
    layout = trunks(rendered_states([1, 2, 3, 4, 5, 6, 11, 12, 13], *block, [1, 2, 3, 4, 5, 6, 21, 22, 23, 24]))
    assert [[one.turn_index for one in trunk.branches] for trunk in layout] == [[0, 1, 2, 3, 4], [5]]


def test_equal_states_and_a_state_of_one_token() -> None:
    assert plain(trunks(rendered_states([4], [4]))) == [([], [(0, 0, [4]), (1, 0, [4])])]


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=1, max_size=8))
def test_every_state_is_restored_from_its_branch(states: list[list[int]]) -> None:
    layout = trunks(rendered_states(*states))
    assert sorted(one.turn_index for trunk in layout for one in trunk.branches) == list(range(len(states)))
    for trunk in layout:
        assert len(trunk.ids) == max(one.start for one in trunk.branches)
        for one in trunk.branches:
            assert len(one.forced_ids) > 0
            assert one.start <= len(trunk.ids)
            assert [*trunk.ids[: one.start], *one.forced_ids] == states[one.turn_index]
            assert 2 * one.start >= len(states[one.turn_index]) - 2  # half, or the last token alone
    counts = sharing(layout)
    assert counts["state_tokens"] == sum(len(state) for state in states)
    assert counts["computed_tokens"] <= counts["state_tokens"]


def test_the_small_tokenizer_gives_one_trunk(shop: Trajectory, small_tokenizer: PreTrainedTokenizerFast) -> None:
    rendered = render(shop, small_tokenizer)
    [trunk] = trunks(rendered)
    assert trunk.ids.tolist() == rendered.turns[-1].state_ids[:-1].tolist()
    assert [one.forced_ids.tolist() for one in trunk.branches] == [[small_tokenizer.vocab["<|assistant|>"]]] * 3


def test_reasoning_kept_or_stripped() -> None:
    kept = trunks(render(thinking_episode(), chatml_tokenizer(keep_reasoning=True)))
    assert len(kept) == 1
    stripped = trunks(render(thinking_episode(thoughts=200), chatml_tokenizer(keep_reasoning=False)))
    assert [[one.turn_index for one in trunk.branches] for trunk in stripped] == [[0, 1], [2, 3]]
    for trunk in (*kept, *stripped):
        assert {len(one.forced_ids) for one in trunk.branches} == {1}
