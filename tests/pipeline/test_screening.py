"""Likelihood screening on a real policy: its probabilities, what is sampled, what is selected, and who pays."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.config_files import validate
from pivot_jax.objective.signal import is_pivot
from pivot_jax.pipeline import screening
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.flops import sequence_flops
from pivot_jax.pipeline.profile_store import JUDGED, ProfileStore
from pivot_jax.pipeline.profiling import charged_profile, open_store, profiled_points
from pivot_jax.pipeline.report_table import print_summary
from pivot_jax.pipeline.run import Run, open_run
from pivot_jax.pipeline.screening import FILE, demonstrated_logprobs
from pivot_jax.policy.logprobs import trunk_logprobs
from pivot_jax.policy.mesh import to_mesh
from pivot_jax.policy.weights import read_weights
from tests.pipeline import small_run
from tests.pipeline.small_run import SMALL, do

pytestmark = pytest.mark.usefixtures("few_devices")

SAMPLES = 6
SCREENED = {"screen_above": 0.7}
ADAPTIVE = {**SCREENED, "adaptive": True, "least": 2, "round_size": 2, "doubt": 0.2}


def profiled(run_dir: Path, profile, arms=None) -> tuple[Run, ProfileStore]:
    return small_run.profiled(run_dir, ["retail", "terminal"], 5, {"samples": SAMPLES, "chunk": 16, **profile}, arms)


def read(path: Path):
    return json.loads(path.read_text())


def probabilities(store: ProfileStore):
    return np.exp(read(store.path / FILE)["logprobs"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Run, ProfileStore]:
    """Every candidate sampled, and arms that would have screened."""
    arms = {
        "screened": {"method": "pivot_rl", "profile": SCREENED},
        "both": {"method": "pivot_rl", "profile": ADAPTIVE},
        "random": {"method": "pivot_rl", "select": {"rule": "random"}},
        "unlikely": {"method": "pivot_rl", "profile": SCREENED, "select": {"rule": "unlikely"}},
    }
    return profiled(tmp_path_factory.mktemp("whole") / "run", {}, arms)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Run, ProfileStore]:
    """The run's own profile screens, and nothing else is asked for."""
    return profiled(tmp_path_factory.mktemp("alone") / "run", SCREENED)


def test_the_probability_is_that_of_the_whole_action_after_its_state(alone):
    run, store = alone
    prepared = load_prepared(run)
    stored = {
        point.candidate.id: p for point, p in zip(profiled_points(prepared, 1.0), probabilities(store), strict=True)
    }
    turns = [pair for item in prepared for pair in zip(item.rendered.turns, item.candidates, strict=True)]
    of_trunks = jax.jit(partial(trunk_logprobs, arch=run.arch, rules=run.rules))
    assert len(turns) == len(stored) > 50
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        # each state and action by itself, cut off after the action: another path than that of whole trajectories
        for begin in range(0, len(turns), 8):
            padded = np.zeros((8, 512), np.int32)
            for row, (turn, _) in enumerate(turns[begin : begin + 8]):
                padded[row, : len(turn.state_ids) + len(turn.action_ids)] = [*turn.state_ids, *turn.action_ids]
            logprobs = np.asarray(of_trunks(params, to_mesh(padded, run.mesh, run.rules, "batch", "seq")), np.float64)
            for row, (turn, candidate) in zip(logprobs, turns[begin : begin + 8], strict=False):
                start = len(turn.state_ids)
                p = np.exp(row[start : start + len(turn.action_ids)].sum())
                assert stored[candidate.id] == pytest.approx(p, abs=1e-5), candidate.id


def test_what_the_policy_samples_agrees_with_the_probabilities(whole):
    """Draws that equal the demonstrated action are as frequent as p says: binomial, within four standard deviations."""
    _, store = whole
    p, exact, functional = probabilities(store), store.read("rewards/exact"), store.read("rewards/functional")
    hits, expected, spread = exact.sum(), SAMPLES * p.sum(), np.sqrt(SAMPLES * (p * (1 - p)).sum())
    assert abs(hits - expected) < 4 * spread and spread < 0.1 * expected
    # whoever repeats the demonstration passes, so pass rates are at least p
    assert (functional >= exact).all()


def test_likely_candidates_are_not_sampled_and_the_others_as_without_screening(whole, alone):
    (_, everything), (run, store) = whole, alone
    likely, stored = probabilities(store) >= 0.7, store.stored()
    assert 0.2 < likely.mean() < 0.8
    np.testing.assert_array_equal(stored, np.repeat(~likely[:, None], SAMPLES, axis=1))
    for name in ("tokens", "rewards/functional", "status/exact"):
        np.testing.assert_array_equal(store.read(name)[~likely], everything.read(name)[~likely])
    manifest, points = read(run.dir / "pivots.json"), profiled_points(load_prepared(run), 1.0)
    rewards, valid = everything.read("rewards/functional"), everything.read("status/functional") == JUDGED
    kept = np.asarray(is_pivot(jnp.asarray(rewards), jnp.asarray(valid), run.config.select.threshold)) & ~likely
    chosen = [point.candidate.id for point, keep in zip(points, kept, strict=True) if keep]
    assert [pivot["id"] for pivot in manifest["pivots"]] == chosen and chosen
    assert manifest["by_reason"]["likely: not sampled"] == likely.sum()
    assert sum(manifest["by_reason"].values()) == manifest["candidates"] == len(points)
    assert manifest["drawn"] == pytest.approx(SAMPLES * (~likely).mean())


def test_an_arm_selects_and_pays_as_a_run_of_its_own(whole, alone):
    (run, _), (own, store) = whole, alone
    assert read(run.dir / "selections" / "screened.json") == read(own.dir / "pivots.json")
    assert "random" not in [path.stem for path in (run.dir / "selections").iterdir()]
    replayed, paid = charged_profile(run, run.config.for_arm("screened")), charged_profile(own, own.config)
    for name in ("rollout_turns", "sampled_tokens", "verifier_calls", "prompt_tokens_computed", "flops"):
        assert getattr(replayed, name) == getattr(paid, name), name
    assert paid.rollout_turns == store.stored().sum()
    # the pass over the trajectories is paid for, by those who screen
    sequences = [sequence for item in load_prepared(own) for sequence in item.rendered.sequences()]
    logits = sum(int(sequence.action_mask.sum()) for sequence in sequences)
    flops = sequence_flops(own.arch, [len(sequence.ids) for sequence in sequences], logits)
    cost = read(store.path / FILE)["cost"]
    assert cost["flops"] == flops and cost["seconds"] > 0 and cost["rollout_turns"] == 0
    without = own.config.profile.model_copy(update={"screen_above": 1.0})
    assert screening.screening_cost(store.path, 10, without).flops == 0
    assert screening.screening_cost(store.path, len(store.stored()) // 2, own.config.profile).flops < flops


def test_adaptive_rounds_go_on_among_the_others(whole, tmp_path):
    run, store = profiled(tmp_path / "run", ADAPTIVE)
    manifest, likely = read(run.dir / "pivots.json"), probabilities(store) >= 0.7
    assert manifest == read(whole[0].dir / "selections" / "both.json")
    drawn = store.stored().sum(axis=1)
    assert not drawn[likely].any() and drawn[~likely].min() == 2 and drawn[~likely].max() == SAMPLES
    assert drawn.mean() == pytest.approx(manifest["drawn"])


def test_the_rule_unlikely_trains_on_what_is_left_and_samples_nothing_to_choose(whole, tmp_path):
    values = {
        **SMALL,
        "run": {"dir": str(tmp_path / "run")},
        "data": whole[0].config.data.model_dump(),
        "profile": {"samples": SAMPLES, "chunk": 16, **SCREENED},
        "select": {**SMALL["select"], "rule": "unlikely"},
        "train": {**SMALL["train"], "steps": 2},
        "evaluate": {"episodes": 2, "questions": 1, "max_turns": 2},
        "arms": {"pivotrl": {"method": "pivot_rl"}},
    }
    own = validate(values, "test")
    do("run", own)
    run, manifest = open_run(own, "test"), read(tmp_path / "run" / "pivots.json")
    store = open_store(run, profiled_points(load_prepared(run), 1.0))
    assert not store.stored().any()
    assert manifest == read(whole[0].dir / "selections" / "unlikely.json")
    p, points = probabilities(store), profiled_points(load_prepared(run), 1.0)
    left = [point.candidate.id for point, one in zip(points, p, strict=True) if one < 0.7]
    assert [pivot["id"] for pivot in manifest["pivots"]] == left and 0 < len(left) < len(points)
    assert manifest["by_reason"] == {"likely: not sampled": len(points) - len(left), "pivot": len(left)}
    assert manifest["mixed_fraction"] is None and manifest["drawn"] == 0
    phases = read(tmp_path / "run" / "ledger.json")["pivotrl"]
    assert phases["profile"]["rollout_turns"] == 0 < phases["profile"]["flops"]
    assert phases["rollout"]["rollout_turns"] == 2 * 4 * 4
    assert phases["profile"]["flops"] == charged_profile(whole[0], whole[0].config.for_arm("unlikely")).flops
    report, page = tmp_path / "run" / "report" / "report.json", tmp_path / "run" / "report" / "index.html"
    assert read(report)["pivots"]["uninformative_fraction"] is None
    assert "</b>with mixed rewards" not in page.read_text() and "likely: not sampled" in page.read_text()
    told = io.StringIO()
    print_summary(read(report), Console(file=told, width=200))
    assert f"No action was sampled at the {len(points)} candidate turns." in told.getvalue()


def test_screening_that_leaves_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"profile\.screen_above: .* probability 1e-30 or more.*; raise it"):
        profiled(tmp_path / "run", {"screen_above": 1e-30})


def test_an_interrupted_profile_computes_the_probabilities_once(alone, tmp_path, monkeypatch):
    calls, write = [], ProfileStore.write_draw

    def counted(*arguments):
        calls.append(1)
        return demonstrated_logprobs(*arguments)

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(screening, "demonstrated_logprobs", counted)
    monkeypatch.setattr(ProfileStore, "write_draw", killed)
    with pytest.raises(KeyboardInterrupt):
        profiled(tmp_path / "run", SCREENED)
    monkeypatch.setattr(ProfileStore, "write_draw", write)
    run, store = profiled(tmp_path / "run", SCREENED)
    assert len(calls) == 1 and read(run.dir / "pivots.json") == read(alone[0].dir / "pivots.json")
    np.testing.assert_array_equal(store.read("tokens"), alone[1].read("tokens"))
