"""Verdicts of other verifiers in the profile store: whole or absent, with the settings that they follow from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pivot_jax.pipeline.profile_store import ABSENT, ERROR, JUDGED, ProfileStore


def open_store(path: Path, draws: int = 2) -> ProfileStore:
    return ProfileStore(path / "store", {"weights": "abc"}, candidates=10, draws=draws, tokens=5, chunk=4)


def verdicts(value: float, draws: int = 2):
    status = np.full((10, draws), JUDGED, np.int8)
    status[3, 1] = ERROR
    return np.full((10, draws), value, np.float32), status


def write(store: ProfileStore, value: float, threshold: float) -> None:
    store.write_verdicts("swe", *verdicts(value), {"threshold": threshold})


def test_verdicts_are_read_back_with_their_settings(tmp_path):
    store = open_store(tmp_path)
    assert store.verdict_names() == [] and store.settings_of("swe") is None
    write(store, 0.5, 0.8)
    for own in (store, open_store(tmp_path)):
        assert own.verdict_names() == ["swe"] and own.settings_of("swe") == {"threshold": 0.8}
        np.testing.assert_array_equal(own.read("rewards/swe"), verdicts(0.5)[0])
        np.testing.assert_array_equal(own.read("status/swe"), verdicts(0.5)[1])
    assert not store.stored().any()  # what is sampled is another matter


def test_later_verdicts_take_the_place_of_earlier_ones_in_every_open_store(tmp_path):
    store, other = open_store(tmp_path), open_store(tmp_path)
    write(store, 0.5, 0.8)
    assert other.read("rewards/swe")[0, 0] == 0.5
    write(store, 0.25, 0.9)
    for own in (store, other, open_store(tmp_path)):
        assert (own.read("rewards/swe") == 0.25).all() and own.settings_of("swe") == {"threshold": 0.9}


def test_verdicts_grow_with_k_and_the_new_draws_are_absent(tmp_path):
    write(open_store(tmp_path), 1.0, 0.8)
    grown = open_store(tmp_path, draws=3)
    assert grown.read("status/swe")[:, 2].tolist() == [ABSENT] * 10 and grown.read("status/swe")[3, 1] == ERROR
    grown.write_verdicts("swe", *verdicts(0.5, draws=3), {"threshold": 0.8})
    assert open_store(tmp_path, draws=3).read("rewards/swe")[9, 2] == 0.5


class Killed(BaseException):
    pass


@pytest.mark.parametrize("calls", range(13))
def test_a_killed_write_leaves_the_old_verdicts_or_none(tmp_path, monkeypatch, calls):
    """Killed at every call that changes the disk outside TensorStore, and in the midst of a TensorStore write."""
    store = open_store(tmp_path)
    write(store, 0.5, 0.8)
    left = [calls]

    def struck(act):
        def run(*arguments, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return act(*arguments, **options)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", struck(os.rename))
        patched.setattr(os, "replace", struck(os.replace))
        patched.setattr(Path, "unlink", struck(Path.unlink))
        patched.setattr("pivot_jax.pipeline.profile_store.shutil.rmtree", struck(lambda path: _rmtree(path)))
        patched.setattr(ProfileStore, "write", struck(ProfileStore.write))
        try:
            write(store, 0.25, 0.9)
            finished = True
        except Killed:
            finished = False
    assert finished == (calls >= 12)  # the last call that can be killed is counted, so that none is left out
    found = open_store(tmp_path)
    if finished:
        expected = (0.25, 0.9)
    elif found.verdict_names():
        expected = (0.5, 0.8)
    else:
        expected = None
        assert found.settings_of("swe") is None
        with pytest.raises(KeyError, match="status/swe"):
            found.read("status/swe")
    if expected:
        assert (found.read("rewards/swe") == expected[0]).all() and found.settings_of("swe") == {
            "threshold": expected[1]
        }
    write(found, 0.25, 0.9)  # the same call completes what was left
    again = open_store(tmp_path)
    assert (again.read("rewards/swe") == 0.25).all() and again.settings_of("swe") == {"threshold": 0.9}
    assert [path.name for path in (tmp_path / "store" / "rewards").iterdir()] == ["swe"]


def _rmtree(path: Path) -> None:
    for entry in sorted(path.rglob("*"), reverse=True):
        entry.rmdir() if entry.is_dir() else os.unlink(entry)
    path.rmdir()
