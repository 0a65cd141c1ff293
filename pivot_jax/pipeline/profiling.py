"""Stage `profile`: K actions of the frozen policy at every candidate (Eq. 4), scored and stored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pivot_jax.data.trunks import BranchPoint, Trunk
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.candidates import Prepared, load_prepared
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.profile_store import ProfileStore
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run, complete, require
from pivot_jax.pipeline.scoring import REWARDS, Scores, score, verifiers
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.records import Candidate
from pivot_jax.rollout.actions import SampledAction, fetch
from pivot_jax.rollout.decode import sample_branches
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, round_up, state_uid
from pivot_jax.verify.verifier import Verifier


@dataclass(frozen=True, eq=False)
class ProfiledPoint:
    """A candidate, and where its actions leave their trunk."""

    candidate: Candidate
    trunk: Trunk
    branch: BranchPoint


def profiled_points(prepared: Sequence[Prepared], share: float) -> list[ProfiledPoint]:
    """The candidates to profile, in the order of the store: by trunk length, so that little is padded.

    A `share` below 1 keeps whole trajectories, spread evenly over the file.
    """
    kept = [item for i, item in enumerate(prepared) if int((i + 1) * share) > int(i * share)]
    placed = [(item, trunk) for item in kept for trunk in item.trunks]
    placed.sort(key=lambda pair: (len(pair[1].ids), pair[0].trajectory.id))
    return [
        ProfiledPoint(item.candidates[branch.turn_index], trunk, branch)
        for item, trunk in placed
        for branch in trunk.branches
    ]


def profile(run: Run, console: Console) -> None:
    """Sample, score and store; what an earlier, interrupted call stored is not sampled again."""
    began = time.monotonic()
    require(run, "candidates", "profile")
    section = run.config.profile
    points = profiled_points(load_prepared(run), section.share)
    store = open_store(run, points)
    judges = verifiers(run.config.verifier)
    sampled_now = 0
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        chunks = range(0, len(points), section.chunk)
        for begin in progress(chunks, "profile", console, unit="candidates", each=section.chunk, total=len(points)):
            draws = store.missing(begin)
            if draws:
                chunk = points[begin : begin + section.chunk]
                _profile_chunk(run, params, store, judges, begin, chunk, draws)
                sampled_now += len(chunk) * len(draws)
    counts = {"candidates": len(points), "draws": section.samples, "actions_sampled_now": sampled_now}
    ledger = Ledger().charge("pivotrl", "profile", profile_cost(run, points, store))
    complete(run, "profile", counts, ledger, began)


def _profile_chunk(
    run: Run,
    params: Parameters[jax.Array],
    store: ProfileStore,
    judges: Sequence[Verifier],
    begin: int,
    chunk: Sequence[ProfiledPoint],
    draws: Sequence[int],
) -> None:
    """Sample these draws at the candidates of one chunk, score them, and store both."""
    started = time.monotonic()
    actions = sample_points(run, params, chunk, draws)
    scores: list[dict[str, Scores]] = []
    for point, group in zip(chunk, actions, strict=True):
        read = [action.read(run.tokenizer, point.candidate.tools, run.config.data.action_format) for action in group]
        scores.append(score(judges, point.candidate, read))
    for k, draw in enumerate(draws):
        arrays = _token_arrays([group[k] for group in actions], run.config.sampling.max_new_tokens)
        for name in REWARDS:
            arrays[f"rewards/{name}"] = np.array([group[name].rewards[k] for group in scores], np.float32)
            arrays[f"status/{name}"] = np.array([group[name].status[k] for group in scores], np.int8)
        store.write_draw(begin, draw, arrays)
    path = run.dir / "profile" / "seconds.json"
    seconds = read_json(path) if path.exists() else {}
    spent = seconds.get(str(begin), 0.0) + time.monotonic() - started
    write_json(path, {**seconds, str(begin): spent})


def profile_cost(run: Run, points: Sequence[ProfiledPoint], store: ProfileStore) -> Cost:
    """What the stored profile cost, whichever calls made it: counted from what is stored, each trunk prefilled once."""
    section, cost = run.config.profile, Cost.zero()
    lengths = store.read("lengths")
    for begin in range(0, len(points), section.chunk):
        chunk = points[begin : begin + section.chunk]
        rows = [row for row, _ in branch_rows(chunk, range(section.samples), section.branches_per_trunk)]
        cost += sampling_cost(run.arch, rows, lengths[begin : begin + len(chunk)].reshape(-1).tolist())
    seconds = sum(read_json(run.dir / "profile" / "seconds.json").values())
    return replace(cost, verifier_calls=cost.rollout_turns, seconds=seconds)


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
    run: Run, params: Parameters[jax.Array], points: Sequence[ProfiledPoint], draws: Sequence[int]
) -> list[list[SampledAction]]:
    """The actions `[point][draw]` sampled at these points, each trunk prefilled once."""
    section = run.config.profile
    rows = branch_rows(points, draws, section.branches_per_trunk)
    # a batch is padded to a quarter of the chunk at a time, so that a run compiles for few batch sizes
    row_count = round_up(len(rows), max(1, section.chunk // 4))
    branch_count = max(1, section.branches_per_trunk // len(draws)) * len(draws)
    batch = lay_out([row for row, _ in rows], run.mesh, run.rules, row_count=row_count, branch_count=branch_count)
    out = fetch(
        sample_branches(
            params, batch, run.key("profile"),
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


def _token_arrays(actions: Sequence[SampledAction], width: int) -> dict[str, NDArray[Any]]:
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
