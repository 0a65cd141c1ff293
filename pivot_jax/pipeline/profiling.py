"""Stage `profile`: K actions of the frozen policy at every candidate (Eq. 4), scored and stored.

The run and each of its arms may profile and select in their own way, with K fixed or adaptive. What is sampled is the
union of what they ask for, round by round: an adaptive profile decides on the draws of all its candidates so far.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pivot_jax.config import Config
from pivot_jax.data.trunks import BranchPoint, Trunk
from pivot_jax.hosts.exchange import each_its_own
from pivot_jax.pipeline.adaptive import draws_asked, rounds
from pivot_jax.pipeline.arms import ways_to_profile
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import Prepared, load_prepared
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.profile_store import ProfileStore
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run, complete, require
from pivot_jax.pipeline.sampling_mesh import sampling_run
from pivot_jax.pipeline.scoring import REWARDS, score_sampled, verifiers
from pivot_jax.pipeline.screening import check_screening, screening_cost, write_likelihoods
from pivot_jax.policy.mesh import parts
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.records import Candidate
from pivot_jax.rollout.actions import SampledAction, fetch
from pivot_jax.rollout.decode import sample_branches
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, round_up, state_uid
from pivot_jax.verify.verifier import Verifier

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly over [0, 1)."""


@dataclass(frozen=True, eq=False)
class ProfiledPoint:
    """A candidate, and where its actions leave their trunk."""

    candidate: Candidate
    trunk: Trunk
    branch: BranchPoint


def profiled_points(prepared: Sequence[Prepared], share: float) -> list[ProfiledPoint]:
    """The candidates to profile, in the order of the store: by trunk length, so that little is padded.

    A `share` below 1 keeps whole trajectories, spread evenly over the file; a smaller share keeps fewer of the same.
    """
    kept = [item for i, item in enumerate(prepared) if i * GOLDEN % 1 < share]
    placed = [(item, trunk) for item in kept for trunk in item.trunks]
    placed.sort(key=lambda pair: (len(pair[1].ids), pair[0].trajectory.id))
    return [
        ProfiledPoint(item.candidates[branch.turn_index], trunk, branch)
        for item, trunk in placed
        for branch in trunk.branches
    ]


def within_share(prepared: Sequence[Prepared], points: Sequence[ProfiledPoint], share: float) -> list[int]:
    """Which of the profiled points belong to this smaller share of the trajectories, as indices."""
    kept = {point.candidate.id for point in profiled_points(prepared, share)}
    return [index for index, point in enumerate(points) if point.candidate.id in kept]


def profile(run: Run, console: Console) -> None:
    """Sample, score and store; what an earlier, interrupted call stored is not sampled again."""
    began = time.monotonic()
    require(run, "candidates", "profile")
    run = sampling_run(run)
    section = run.config.profile
    prepared = load_prepared(run)
    points = profiled_points(prepared, section.share)
    store = open_store(run, points)
    judges, rules = verifiers(run.config.verifier, run.domains), _rules(run.config, prepared, points)
    sampled_now = 0
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        if any(own.profile.screen_above < 1 for own, _ in rules):
            write_likelihoods(run, params, prepared, [point.candidate.id for point in points], store.path)
            for own, rows in rules:
                check_screening(store.path, rows, own.profile)
        while (missing := wanted_draws(store, rules) & ~store.stored()).any():
            chunks = [slice(begin, begin + section.chunk) for begin in range(0, len(points), section.chunk)]
            chunks = [chunk for chunk in chunks if missing[chunk].any()]
            total = min(len(chunks) * section.chunk, len(points))
            for chunk in progress(chunks, "profile", console, unit="candidates", each=section.chunk, total=total):
                _profile_chunk(run, params, store, judges, chunk.start, points[chunk], missing[chunk])
            sampled_now += int(missing.sum())
    counts = {"candidates": len(points), "draws": section.samples, "actions_sampled_now": sampled_now}
    write_json(run.dir / "profile" / "cost.json", asdict(profile_cost(run, run.config, prepared, store)))
    # no arm pays here: the stage `train` charges each arm that uses the profile
    complete(run, "profile", counts, Ledger(), began)


def _rules(
    config: Config, prepared: Sequence[Prepared], points: Sequence[ProfiledPoint]
) -> list[tuple[Config, list[int]]]:
    """Each distinct way in which the run and its arms profile and select, with the candidates that it looks at."""
    return [(own, within_share(prepared, points, own.profile.share)) for own in ways_to_profile(config)]


def wanted_draws(store: ProfileStore, rules: Sequence[tuple[Config, Sequence[int]]]) -> NDArray[np.bool_]:
    """`[C, K]`: whether one of these configs asks for the draw, as far as the stored draws tell.

    Args:
        store: the run's.
        rules: configs, each with the stored candidates that it looks at.
    """
    wanted = np.zeros(store.shape, np.bool_)
    for config, rows in rules:
        wanted[rows] |= np.arange(wanted.shape[1]) < draws_asked(store, rows, config)[:, None]
    return wanted


def _profile_chunk(
    run: Run,
    params: Parameters[jax.Array],
    store: ProfileStore,
    judges: Sequence[Verifier],
    begin: int,
    chunk: Sequence[ProfiledPoint],
    missing: NDArray[np.bool_],
) -> None:
    """Sample the missing draws `[c, K]` at the candidates of one chunk, score them, and store both."""
    started, key = time.monotonic(), run.key("profile")
    held: dict[str, NDArray[Any]] = {}
    for draws, rows in _alike(missing):
        members = [chunk[row] for row in rows]
        sampled = list(zip(members, sample_points(run, params, members, draws, key), strict=True))
        judged = each_its_own("profile: verdicts", sampled, lambda one: _verdicts(run, judges, *one))
        for row, (_, group), verdicts in zip(rows, sampled, judged, strict=True):
            for name, values in {**_arrays(run, group), **verdicts}.items():
                held.setdefault(name, np.zeros(missing.shape + values.shape[1:], values.dtype))[row, draws] = values
    for draw in np.flatnonzero(missing.any(axis=0)).tolist():
        rows = np.flatnonzero(missing[:, draw]).tolist()
        store.write_draw(begin, draw, {name: values[rows, draw] for name, values in held.items()}, rows)
    path = run.dir / "profile" / "seconds.json"
    seconds = read_json(path) if path.exists() else {}
    spent = seconds.get(str(begin), 0.0) + time.monotonic() - started
    write_json(path, {**seconds, str(begin): spent})


def _alike(missing: NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """Draws, and the rows that miss these and no others; rows that miss none are in no group."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, absent in enumerate(missing):
        if absent.any():
            groups.setdefault(tuple(np.flatnonzero(absent).tolist()), []).append(row)
    return [(list(draws), rows) for draws, rows in groups.items()]


def profile_cost(run: Run, config: Config, prepared: Sequence[Prepared], store: ProfileStore) -> Cost:
    """What the part of the stored profile that a config uses cost, whichever calls made it, and for whom.

    Counted from what is stored, each trunk prefilled once a round, with the forward pass of screening. Seconds of the
    sampling are those of the whole profile, in proportion to the actions.
    """
    lengths, section, cost = store.read("lengths"), config.profile, Cost.zero()
    points = profiled_points(prepared, run.config.profile.share)
    members = np.array(within_share(prepared, points, section.share))
    asked = draws_asked(store, members.tolist(), config)
    for begin, end in rounds(section):
        for first in range(0, len(members), section.chunk):
            chunk = slice(first, first + section.chunk)
            rows = members[chunk][asked[chunk] > begin]
            sampled = [points[i] for i in rows]
            laid_out = [row for row, _ in branch_rows(sampled, range(begin, end), section.branches_per_trunk)]
            cost += sampling_cost(run.arch, laid_out, lengths[rows, begin:end].reshape(-1).tolist())
    screening = screening_cost(store.path, len(members), section)
    if not cost.rollout_turns:
        return screening
    whole = sum(read_json(run.dir / "profile" / "seconds.json").values())
    seconds = whole * cost.rollout_turns / int((lengths >= 0).sum())
    return replace(cost, verifier_calls=cost.rollout_turns, seconds=seconds) + screening


def charged_profile(run: Run, config: Config) -> Cost:
    """What an arm with this config pays: the run's own profile, or the part of what is stored that the arm uses."""
    own, same_profile = run.config, config.profile == run.config.profile
    if same_profile and (config.select == own.select or not own.profile.adaptive):
        return Cost(**read_json(run.dir / "profile" / "cost.json"))
    prepared = load_prepared(run)
    store = open_store(run, profiled_points(prepared, own.profile.share))
    return profile_cost(run, config, prepared, store)


def open_store(run: Run, points: Sequence[ProfiledPoint]) -> ProfileStore:
    """The run's profile store, keyed by everything its samples depend on."""
    prompts = hashlib.sha256()
    for point in points:
        prompts.update(point.candidate.id.encode() + b"\0")
        prompts.update(point.trunk.ids[: point.branch.start].tobytes() + point.branch.forced_ids.tobytes())
    key: dict[str, Any] = {
        "prompts": prompts.hexdigest(),
        "weights": digest(sorted(run.policy_dir.glob("*.safetensors"))),
        "tokenizer": digest([run.policy_dir / "tokenizer.json"]),
        "sampling": run.config.sampling.model_dump(),
        "seed": run.config.run.seed,
    }
    return ProfileStore(
        run.dir / "profile",
        key,
        candidates=len(points),
        draws=run.config.profile.samples,
        tokens=run.config.sampling.max_new_tokens,
        chunk=run.config.profile.chunk,
    )


def sample_points(
    run: Run, params: Parameters[jax.Array], points: Sequence[ProfiledPoint], draws: Sequence[int], key: jax.Array
) -> list[list[SampledAction]]:
    """The actions `[point][draw]` sampled at these points under this run key, each trunk prefilled once."""
    section = run.config.profile
    rows = branch_rows(points, draws, section.branches_per_trunk)
    # a batch is padded to a quarter of the chunk at a time, so that a run compiles for few batch sizes
    row_count = round_up(len(rows), max(1, section.chunk // 4))
    branch_count = max(1, section.branches_per_trunk // len(draws)) * len(draws)
    branch_count = round_up(branch_count, parts(run.mesh, run.rules, "branch"))
    batch = lay_out([row for row, _ in rows], run.mesh, run.rules, row_count=row_count, branch_count=branch_count)
    out = fetch(
        sample_branches(
            params, batch, key,
            settings=run.config.sampling, stop=run.stop_ids, arch=run.arch, rules=run.rules,
        )
    )  # fmt: skip
    actions: list[list[SampledAction]] = [[] for _ in points]
    for n, (_, members) in enumerate(rows):
        for place, index in enumerate(members):
            actions[index] = out[n][place * len(draws) : (place + 1) * len(draws)]
    return actions


def branch_rows(
    points: Sequence[ProfiledPoint], draws: Sequence[int], branches_per_trunk: int
) -> list[tuple[Row, list[int]]]:
    """Rows of consecutive points that share a trunk, at most `branches_per_trunk` branches in each, with the indices
    of their points; the branches of a row are its points in order, every draw of one before the next."""
    per_row = max(1, branches_per_trunk // len(draws))
    groups: list[list[int]] = []
    for index, point in enumerate(points):
        same = groups and points[groups[-1][0]].trunk is point.trunk and len(groups[-1]) < per_row
        if same:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [(_row([points[i] for i in members], draws), members) for members in groups]


def _row(points: Sequence[ProfiledPoint], draws: Sequence[int]) -> Row:
    slots = [
        BranchSlot(point.branch.start, point.branch.forced_ids, state_uid(point.candidate.id), draw)
        for point in points
        for draw in draws
    ]
    return Row(points[0].trunk.ids[: max(slot.start for slot in slots)], tuple(slots))


def _verdicts(
    run: Run, judges: Sequence[Verifier], point: ProfiledPoint, actions: Sequence[SampledAction]
) -> dict[str, NDArray[Any]]:
    """What the store holds of the verdicts on these actions: each array has one row an action."""
    scores = score_sampled(run, judges, point.candidate, actions)
    return {
        **{f"rewards/{name}": scores[name].rewards for name in REWARDS},
        **{f"status/{name}": scores[name].status for name in REWARDS},
    }


def _arrays(run: Run, actions: Sequence[SampledAction]) -> dict[str, NDArray[Any]]:
    """What the store holds of these actions themselves: each array has one row an action."""
    width = run.config.sampling.max_new_tokens
    tokens = np.zeros((len(actions), width), np.int32)
    logprobs = np.zeros((len(actions), width), np.float32)
    for i, action in enumerate(actions):
        tokens[i, : len(action.ids)] = action.ids
        logprobs[i, : len(action.ids)] = action.behavior_logprobs
    return {
        "tokens": tokens,
        "behavior_logprobs": logprobs,
        "finished": np.array([action.finished for action in actions]),
        "lengths": np.array([len(action.ids) for action in actions], np.int32),
    }


def digest(files: Sequence[Path]) -> str:
    """SHA-256 of the files' contents, in order."""
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
