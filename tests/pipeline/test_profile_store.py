"""The profile store: chunks whole or absent, growth in K, ragged draws, new verifiers, and a pinned key."""

from __future__ import annotations

import numpy as np
import pytest

from pivot_jax.pipeline.profile_store import ABSENT, JUDGED, ProfileStore, StoreMismatch


def open_store(path, draws=2, key=None):
    return ProfileStore(path / "store", key or {"weights": "abc"}, candidates=10, draws=draws, tokens=5, chunk=4)


def arrays(count: int, value: int):
    return {
        "lengths": np.full(count, 3, np.int32),
        "tokens": np.full((count, 5), value, np.int32),
        "finished": np.ones(count, np.bool_),
        "rewards/exact": np.full(count, value / 8, np.float32),
        "status/exact": np.full(count, JUDGED, np.int8),
    }


def test_what_is_written_is_read_back_and_the_rest_is_missing(tmp_path):
    store = open_store(tmp_path)
    store.write_draw(4, 0, arrays(4, 1), range(4))
    store.write_draw(8, 1, arrays(2, 7), range(2))  # the last chunk is shorter
    expected = np.zeros((10, 2), bool)
    expected[4:8, 0] = expected[8:, 1] = True
    np.testing.assert_array_equal(store.stored(), expected)
    again = open_store(tmp_path)
    tokens = again.read("tokens")
    assert (tokens[4:8, 0] == 1).all() and (tokens[8:, 1] == 7).all() and tokens.sum() == 5 * (4 * 1 + 2 * 7)
    assert again.read("rewards/exact")[9, 1] == np.float32(7 / 8)


def test_a_draw_without_its_lengths_is_not_there(tmp_path):
    store = open_store(tmp_path)
    store.write_draw(0, 0, arrays(4, 1), range(4))
    path = tmp_path / "store" / "lengths"
    for chunk in (path / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()  # killed before the last array was written
    assert not open_store(tmp_path).stored().any()


def test_a_draw_of_some_candidates_leaves_the_others_as_they_are(tmp_path):
    """Candidates that join a draw later are merged with those that are there, in the chunk and in no other."""
    store = open_store(tmp_path)
    store.write_draw(4, 1, arrays(2, 3), [1, 3])
    assert np.argwhere(store.stored()).tolist() == [[5, 1], [7, 1]]
    status = store.read("status/exact")
    assert (status[4:8, 1] == [ABSENT, JUDGED, ABSENT, JUDGED]).all() and status.sum() == 2 * JUDGED
    open_store(tmp_path).write_draw(4, 1, arrays(1, 6), [0])
    assert np.argwhere(store.stored()).tolist() == [[4, 1], [5, 1], [7, 1]]
    assert open_store(tmp_path).read("tokens")[4:8, 1, 0].tolist() == [6, 3, 0, 3]
    assert len([path for path in (tmp_path / "store" / "tokens" / "c").rglob("*") if path.is_file()]) == 1


def test_k_grows_and_keeps_what_was_sampled(tmp_path):
    store = open_store(tmp_path)
    for draw in range(2):
        store.write_draw(0, draw, arrays(4, draw + 1), range(4))
    grown = open_store(tmp_path, draws=4)
    assert grown.stored()[0].tolist() == [True, True, False, False]
    assert grown.read("rewards/exact").shape == (10, 4)  # before anything is written at the new draws
    grown.write_draw(0, 3, arrays(4, 9), range(4))
    assert grown.stored()[0].tolist() == [True, True, False, True]
    np.testing.assert_array_equal(grown.read("tokens")[0, :, 0], [1, 2, 0, 9])
    assert open_store(tmp_path, draws=2).stored()[:4].all()


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
