"""Re-scoring and audit on a profiled run: the same verifier says the same, and an audit counts what is there."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from pivot_jax.config import ConfigError, VerifierSection
from pivot_jax.config_files import validate
from pivot_jax.pipeline.profile_store import ABSENT, ERROR, JUDGED, ProfileStore
from pivot_jax.pipeline.profiling import ProfiledPoint
from pivot_jax.pipeline.rescoring import chosen_section, open_profile, rescore, rescored, stored_actions, stored_arrays
from pivot_jax.pipeline.run import Run
from pivot_jax.pipeline.scoring import REWARDS, Scores, functional_verifier, verifiers
from pivot_jax.pipeline.selection import selection
from pivot_jax.pipeline.verifier_audit import agreement, audit, judged, switches
from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.verifier import Unjudgeable
from tests.pipeline.small_run import SMALL, do

pytestmark = pytest.mark.usefixtures("few_devices")

Opened = tuple[Run, list[ProfiledPoint], ProfileStore]


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    """A run whose adaptive profile leaves some draws unsampled, opened again from its directory alone."""
    run_dir = tmp_path_factory.mktemp("rescoring") / "run"
    config = validate(
        {
            **SMALL,
            "run": {"dir": str(run_dir)},
            "data": {"tasks": 3, "domains": ["terminal"]},
            "profile": {"samples": 4, "chunk": 16, "adaptive": True, "least": 2, "round_size": 2, "doubt": 0.2},
            "arms": {"pivotrl": {"method": "pivot_rl"}},
        },
        "test",
    )
    for stage in ("candidates", "profile"):
        do(stage, config)
    return open_profile(run_dir, "test")


def test_the_same_verifiers_say_what_profiling_stored(opened):
    run, points, store = opened
    assert not store.stored().all()
    for verifier in verifiers(run.config.verifier, run.domains):
        again = rescored(run, points, store, verifier, workers=2 if verifier.name == "exact" else 1)
        for kind, values in (("rewards", again.rewards), ("status", again.status)):
            stored = store.read(f"{kind}/{verifier.name}")
            np.testing.assert_array_equal(values, stored)
            assert values.dtype == stored.dtype
    assert {*np.unique(store.read("rewards/functional"))} == {0.0, 1.0}


def test_another_verifier_is_stored_beside_the_others_and_nothing_else_changes(opened):
    run, points, store = opened
    before = {name: store.read(name) for name in ("tokens", "lengths", *(f"rewards/{name}" for name in REWARDS))}
    section = chosen_section(run.config, "tool_call", {"string_threshold": 0.3})
    rescore(run, points, store, section, "loose")
    for name, values in before.items():
        np.testing.assert_array_equal(store.read(name), values)
    # oracle: each stored action judged by itself
    verifier, arrays = functional_verifier(section, run.domains), stored_arrays(store)
    for row, point in enumerate(points):
        for draw, action in stored_actions(run, point, row, arrays).items():
            verdict = verifier(point.candidate, action)
            assert store.read("rewards/loose")[row, draw] == np.float32(verdict.reward)
    assert ((store.read("status/loose") == ABSENT) == ~store.stored()).all()
    settings = store.settings_of("loose")
    assert settings == section.model_dump(mode="json")
    assert (settings["name"], settings["string_threshold"]) == ("tool_call", 0.3)


def test_a_name_holds_the_verdicts_of_one_setting(opened):
    run, points, store = opened
    one, other = (chosen_section(run.config, "swe", {"swe": {"target": value}}) for value in (True, False))
    for _ in range(2):
        rescore(run, points, store, one, "swe")
    with pytest.raises(ConfigError, match=r"stored as 'swe'; choose another name:\n  swe.target: was True, now False$"):
        rescore(run, points, store, other, "swe")
    settings = store.settings_of("swe")
    del settings["swe"]["similarity"], settings["judge"]
    store.settings_file("swe").write_text(json.dumps(settings))
    rescore(run, points, store, one, "swe")  # verdicts from before an option existed are those of its default
    store.settings_file("swe").write_text(json.dumps(settings | {"gone": 1}))
    with pytest.raises(
        ConfigError, match=r"of 'swe' cannot be compared.*\n.*settings/swe.json: verifier.gone: unknown"
    ):
        rescore(run, points, store, one, "swe")
    for name in ("functional", "exact", "tool_name", "../x", "", "A"):
        with pytest.raises(ConfigError, match="--as"):
            rescore(run, points, store, one, name)


def test_options_are_checked_as_in_a_config(opened):
    config = opened[0].config
    with pytest.raises(ConfigError, match=r"options: verifier.swe.targt: unknown key; did you mean 'target'"):
        chosen_section(config, "swe", {"swe": {"targt": True}})
    with pytest.raises(ConfigError, match=r"the judge needs judge.base_url"):
        chosen_section(config, "judge", {})


def test_a_directory_that_is_no_profiled_run_is_told(tmp_path, opened):
    with pytest.raises(ConfigError, match=r"holds no config.json"):
        open_profile(tmp_path, "test")
    config = opened[0].config
    made = config.model_copy(update={"run": config.run.model_copy(update={"dir": str(tmp_path / "early")})})
    do("candidates", made)
    with pytest.raises(ConfigError, match="needs the stage 'profile' first"):
        open_profile(tmp_path / "early", "test")


def test_a_moved_run_is_opened_where_it_is(tmp_path, opened):
    run, _, store = opened
    moved = tmp_path / "moved"
    moved.mkdir()
    for entry in run.dir.iterdir():
        (moved / entry.name).symlink_to(entry)
    own, points, again = open_profile(moved, "test")
    assert own.dir == moved and len(points) == again.shape[0]
    np.testing.assert_array_equal(again.read("lengths"), store.read("lengths"))


class Torn:
    """Cannot judge actions of an odd number of characters; accepts some of the others."""

    name = "torn"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        written = action.model_dump_json()
        if len(written) % 2:
            raise Unjudgeable("odd")
        return Verdict(reward=float(len(written) % 4 == 0))


def test_an_audit_counts_what_is_stored(opened):
    run, points, store = opened
    torn = rescored(run, points, store, Torn())
    store.write_verdicts("torn", torn.rewards, torn.status, {"by": "a test"})
    found = audit(run, points, store, examples=2)
    names = [one.verifier for one in found.verifiers]
    assert names[:3] == ["exact", "functional", "tool_name"] and names[-1] == "torn"  # those of profiling first
    stored = store.stored()
    rewards, status = ({name: store.read(f"{kind}/{name}") for name in names} for kind in ("rewards", "status"))
    assert found.actions == stored.sum() and found.candidates == len(points)
    for one in found.verifiers:
        assert one.judged + one.errors == stored.sum()
        assert one.errors == (status[one.verifier] == ERROR).sum()
    assert found.verifiers[-1].errors > 0
    # oracle: counted one by one
    assert [(pair.first, pair.second) for pair in found.agreements] == list(itertools.combinations(names, 2))
    for pair in found.agreements:
        cells, equal = {(a, b): 0 for a in (0, 1) for b in (0, 1)}, 0
        for row, draw in np.argwhere(stored).tolist():
            if status[pair.first][row, draw] == status[pair.second][row, draw] == JUDGED:
                one, other = rewards[pair.first][row, draw], rewards[pair.second][row, draw]
                cells[int(one > 0), int(other > 0)] += 1
                equal += one == other
        assert (pair.both_accept, pair.only_first, pair.only_second, pair.neither) == (
            cells[1, 1], cells[1, 0], cells[0, 1], cells[0, 0],
        )  # fmt: skip
        assert pair.judged == sum(cells.values()) and pair.equal == pytest.approx(equal / pair.judged)
        shown = [one for one in found.disagreements if (one.first, one.second) == (pair.first, pair.second)]
        assert (len(shown) == 0) == (equal == pair.judged) and len(shown) <= 2
        assert len({one.candidate for one in shown}) == len(shown)
    ids = [point.candidate.id for point in points]
    for one in found.disagreements:
        assert one.rewards[0] != one.rewards[1] and one.candidate in ids
        json.loads(one.expert)
    assert found.disagreements and all(one.sampled for one in found.disagreements)
    json.dumps([vars(one) for one in found.disagreements])


def test_switching_the_reward_keeps_what_selecting_by_it_would_keep(opened):
    """Oracle: the stage's own selection, with the other reward in the config and every draw fixed."""
    run, points, store = opened
    found = {one.reward: one for one in audit(run, points, store).switches}
    all_rows = range(len(points))
    kept = {}
    for name in REWARDS:
        # the first two draws of every candidate are stored: a run with K = 2 would have made those alone
        fixed = validate(
            {
                **run.config.model_dump(),
                "profile": {"samples": 2, "chunk": 16},
                "select": {"threshold": 1.0, "reward": name},
            },
            "test",
        )
        kept[name] = {one["id"] for one in selection(store, points, all_rows, fixed)["pivots"]}
    scores = {
        name: Scores(store.read(f"rewards/{name}")[:, :2], store.read(f"status/{name}")[:, :2]) for name in REWARDS
    }
    for one in switches(scores, run.config.select):
        now, then = kept["functional"], kept[one.reward]
        assert (one.pivots, one.kept, one.lost, one.gained) == (
            len(then), len(now & then), len(now - then), len(then - now),
        )  # fmt: skip
        assert one.jaccard == pytest.approx(len(now & then) / max(1, len(now | then)))
    assert found.keys() == set(store.verdict_names()) - {"functional"}
    assert all(one.kept + one.gained == one.pivots for one in found.values())


def test_nothing_judged_is_no_number():
    nobody = Scores(np.zeros((2, 2), np.float32), np.full((2, 2), ERROR, np.int8))
    everybody = Scores(np.zeros((2, 2), np.float32), np.full((2, 2), JUDGED, np.int8))
    assert judged("n", nobody).mean_reward is None and judged("n", nobody).errors == 4
    pair = agreement(("n", "e"), {"n": nobody, "e": everybody})
    assert (pair.judged, pair.equal, pair.neither) == (0, None, 0)


def test_every_verifier_of_a_config_can_be_built(tmp_path, monkeypatch):
    judge = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "cache": str(tmp_path)}
    for name in ("execution", "tool_call", "tool_name", "exact", "swe", "terminal", "multi_harness", "judge"):
        section = VerifierSection.model_validate({"name": name, "judge": judge, "terminal": {"judge": True}})
        assert functional_verifier(section, {}).name == "functional"
    keyed = VerifierSection.model_validate({"name": "judge", "judge": {**judge, "key_variable": "NO_SUCH_KEY"}})
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="key_variable: the environment variable NO_SUCH_KEY is not set"):
        functional_verifier(keyed, {})
