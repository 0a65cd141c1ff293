"""The profile stage: adaptive sampling on a real policy equals its replay on a fixed K, whatever is killed or added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pivot_jax.pipeline import profiling
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.profile_store import ABSENT, ProfileStore
from pivot_jax.pipeline.profiling import charged_profile, profiled_points
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.selection import selection
from tests.pipeline import small_run

pytestmark = pytest.mark.usefixtures("few_devices")

ADAPTIVE = {"adaptive": True, "least": 2, "round_size": 2, "doubt": 0.2}
MOST, CHUNK = 6, 8


def profiled(run_dir: Path, profile, arms=None) -> tuple[Run, ProfileStore]:
    return small_run.profiled(run_dir, ["terminal"], 2, {"samples": MOST, "chunk": CHUNK, **profile}, arms)


def read(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> tuple[Run, ProfileStore]:
    """Every draw stored, and an arm that would have made fewer."""
    arm = {"method": "pivot_rl", "profile": ADAPTIVE}
    return profiled(tmp_path_factory.mktemp("fixed") / "run", {}, {"adaptive": arm})


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory) -> tuple[Run, ProfileStore]:
    """The run's own profile is adaptive, and nothing else is asked for."""
    return profiled(tmp_path_factory.mktemp("adaptive") / "run", ADAPTIVE)


def test_an_adaptive_profile_stores_the_draws_of_its_replay_and_no_others(fixed, adaptive):
    (run, whole), (own, ragged) = fixed, adaptive
    replay = read(run.dir / "selections" / "adaptive.json")
    manifest = read(own.dir / "pivots.json")
    assert manifest == replay and 0 < manifest["kept"] < manifest["candidates"]
    stored = ragged.stored()
    assert whole.stored().all() and not stored.all() and stored[:, :2].all()
    assert stored.sum(1).mean() == manifest["drawn"] < MOST == read(run.dir / "pivots.json")["drawn"]
    assert (np.diff(stored.astype(int), axis=1) <= 0).all()  # the first draws of each candidate
    for name in ("tokens", "rewards/functional", "status/functional", "status/exact"):
        np.testing.assert_array_equal(ragged.read(name)[stored], whole.read(name)[stored])
    assert (ragged.read("status/functional")[~stored] == ABSENT).all() and not ragged.read("tokens")[~stored].any()
    assert manifest["not_judged_actions"] == 0 and manifest["prior"].keys() == {"a", "b"}


def test_each_pays_for_the_draws_it_uses_in_the_rounds_that_made_them(fixed, adaptive):
    (run, whole), (own, ragged) = fixed, adaptive
    replayed = charged_profile(run, run.config.for_arm("adaptive"))
    paid = charged_profile(own, own.config)
    everything = charged_profile(run, run.config)
    for name in ("rollout_turns", "sampled_tokens", "verifier_calls", "prompt_tokens_computed", "flops"):
        assert getattr(replayed, name) == getattr(paid, name), name
    stored, points = ragged.stored(), profiled_points(load_prepared(own), 1.0)
    assert paid.rollout_turns == stored.sum() and everything.rollout_turns == whole.stored().size
    assert paid.sampled_tokens == ragged.read("lengths")[stored].sum() < everything.sampled_tokens
    # a trunk is prefilled again in each round that has an open candidate on it
    prefilled = 0
    for begin in range(0, MOST, 2):
        for first in range(0, len(points), CHUNK):
            starts: dict[int, int] = {}
            for index in range(first, min(first + CHUNK, len(points))):
                if stored[index, begin]:
                    point = points[index]
                    starts[id(point.trunk)] = max(starts.get(id(point.trunk), 0), point.branch.start)
                    prefilled += 2 * len(point.branch.forced_ids)
            prefilled += sum(starts.values())
    assert paid.prompt_tokens_computed == prefilled
    assert replayed.seconds == pytest.approx(everything.seconds * stored.mean())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("writes", [3, 5])
def test_a_killed_adaptive_profile_resumes_to_the_same_store(adaptive, tmp_path, monkeypatch, writes):
    _, ragged = adaptive
    write, calls = ProfileStore.write_draw, []

    def struck(*arguments):
        calls.append(arguments)
        if len(calls) > writes:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(ProfileStore, "write_draw", struck)
    with pytest.raises(Killed):
        profiled(tmp_path / "run", ADAPTIVE)
    monkeypatch.setattr(ProfileStore, "write_draw", write)
    run, resumed = profiled(tmp_path / "run", ADAPTIVE)
    sampled = read(run.dir / "manifest.json")["stages"]["profile"]["counts"]["actions_sampled_now"]
    assert 0 < sampled < ragged.stored().sum()
    for name in ("lengths", "tokens", "rewards/functional", "status/tool_name"):
        np.testing.assert_array_equal(resumed.read(name), ragged.read(name))


def test_what_arms_ask_for_is_sampled_once_and_changes_no_others_decision(fixed, adaptive, tmp_path, monkeypatch):
    """A fixed arm joins draws that adaptive candidates have in part; every arm decides as if it were alone."""
    sampled, sample = [], profiling.sample_points

    def counted(run, params, points, draws, key):
        sampled.extend((point.candidate.id, draw) for point in points for draw in draws)
        return sample(run, params, points, draws, key)

    monkeypatch.setattr(profiling, "sample_points", counted)
    arms = {
        "five": {"method": "pivot_rl", "profile": {"adaptive": False, "samples": 5, "share": 0.5}},
        "random": {"method": "pivot_rl", "select": {"rule": "random"}},
    }
    run, store = profiled(tmp_path / "run", ADAPTIVE, arms)
    stored, alone = store.stored(), adaptive[1].stored()
    assert len(sampled) == len(set(sampled)) == stored.sum() > alone.sum()
    assert read(run.dir / "pivots.json") == read(adaptive[0].dir / "pivots.json")
    five = read(run.dir / "selections" / "five.json")
    members = profiling.within_share(load_prepared(run), profiled_points(load_prepared(run), 1.0), 0.5)
    assert five["drawn"] == 5 and five["prior"] is None and stored[members, :5].all()
    assert charged_profile(run, run.config.for_arm("five")).rollout_turns == 5 * len(members)
    np.testing.assert_array_equal(stored[members, 5], alone[members, 5])
    rest = np.setdiff1d(np.arange(len(stored)), members)
    np.testing.assert_array_equal(stored[rest], alone[rest])


def test_an_undecided_candidate_is_an_error(adaptive):
    run, store = adaptive
    points = profiled_points(load_prepared(run), 1.0)
    stricter = run.config.model_copy(update={"profile": run.config.profile.model_copy(update={"doubt": 0.0})})
    with pytest.raises(ValueError, match="candidates are undecided; run the stage 'profile'"):
        selection(store, points, range(len(points)), stricter)
