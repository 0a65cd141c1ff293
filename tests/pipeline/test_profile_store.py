"""The profile store: chunks whole or absent, growth in K, new verifiers, and a pinned key."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.pipeline.profile_store import ProfileStore, StoreMismatch


def open_store(path, draws=2, key=None):
    return ProfileStore(path / "store", key or {"weights": "abc"}, candidates=10, draws=draws, tokens=5, chunk=4)


def arrays(count: int, value: int):
    return {
        "lengths": np.full(count, 3, np.int32),
        "tokens": np.full((count, 5), value, np.int32),
        "finished": np.ones(count, np.bool_),
        "rewards/exact": np.full(count, value / 8, np.float32),
    }


def test_what_is_written_is_read_back_and_the_rest_is_missing(tmp_path):
    store = open_store(tmp_path)
    store.write_draw(4, 0, arrays(4, 1))
    store.write_draw(8, 1, arrays(2, 7))  # the last chunk is shorter
    assert [store.missing(begin) for begin in (0, 4, 8)] == [[0, 1], [1], [0]]
    again = open_store(tmp_path)
    tokens = again.read("tokens")
    assert (tokens[4:8, 0] == 1).all() and (tokens[8:, 1] == 7).all() and tokens.sum() == 5 * (4 * 1 + 2 * 7)
    assert again.read("rewards/exact")[9, 1] == np.float32(7 / 8)


def test_a_draw_without_its_lengths_is_not_there(tmp_path):
    store = open_store(tmp_path)
    partial = arrays(4, 1)
    store.write_draw(0, 0, partial)
    path = tmp_path / "store" / "lengths"
    for chunk in (path / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()  # killed before the last array was written
    assert open_store(tmp_path).missing(0) == [0, 1]


def test_k_grows_and_keeps_what_was_sampled(tmp_path):
    store = open_store(tmp_path)
    for draw in range(2):
        store.write_draw(0, draw, arrays(4, draw + 1))
    grown = open_store(tmp_path, draws=4)
    assert grown.missing(0) == [2, 3]
    grown.write_draw(0, 3, arrays(4, 9))
    assert grown.missing(0) == [2]
    np.testing.assert_array_equal(grown.read("tokens")[0, :, 0], [1, 2, 0, 9])
    assert open_store(tmp_path, draws=2).missing(0) == []


def test_a_new_verifier_adds_its_array(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(KeyError, match="no array 'rewards/judge'"):
        store.read("rewards/judge")
    store.write("rewards/judge", np.arange(20, dtype=np.float32).reshape(10, 2))
    assert open_store(tmp_path).read("rewards/judge")[9, 1] == 19


def test_another_key_is_refused_with_the_difference(tmp_path):
    open_store(tmp_path)
    with pytest.raises(StoreMismatch, match="weights: was 'abc', now 'xyz'"):
        open_store(tmp_path, key={"weights": "xyz"})
