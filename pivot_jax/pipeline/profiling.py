"""Stage `profile`: K actions of the frozen policy at every candidate (Eq. 4), scored and stored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pivot_jax.data.trunks import BranchPoint, Trunk
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.candidates import Prepared, load_prepared
from pivot_jax.pipeline.flops import sampling_cost
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.profile_store import ProfileStore
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run, complete, require
from pivot_jax.pipeline.scoring import score, verifiers
from pivot_jax.policy.spec import Parameters
from pivot_jax.policy.weights import read_weights
from pivot_jax.records import Candidate
from pivot_jax.rollout.actions import SampledAction, fetch
from pivot_jax.rollout.decode import sample_branches
from pivot_jax.rollout.layout import BranchSlot, Row, lay_out, state_uid


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
    write_json(run.dir / "profile_candidates.json", [point.candidate.id for point in points])
    store = open_store(run, points)
    judges = verifiers(run.config.verifier)
    cost = Cost.zero()
    with jax.set_mesh(run.mesh):
        params = read_weights(run.policy_dir, run.arch, run.mesh, run.rules)
        chunks = range(0, len(points), section.chunk)
        for begin in progress(chunks, "profile", console, unit="candidates", each=section.chunk, total=len(points)):
            draws = store.missing(begin)
            if not draws:
                continue
            chunk = points[begin : begin + section.chunk]
            started = time.monotonic()
            actions, chunk_cost = sample_points(run, params, chunk, draws)
            scores, calls = [], 0
            for point, group in zip(chunk, actions, strict=True):
                read = [
                    action.read(run.tokenizer, point.candidate.tools, run.config.data.action_format) for action in group
                ]
                scores.append(score(judges, point.candidate, read))
                calls += len(read)
            for k, draw in enumerate(draws):
                arrays = _token_arrays([group[k] for group in actions], run.config.sampling.max_new_tokens)
                for name in scores[0]:
                    arrays[f"rewards/{name}"] = np.array([s[name].rewards[k] for s in scores], np.float32)
                    arrays[f"status/{name}"] = np.array([s[name].status[k] for s in scores], np.int8)
                store.write_draw(begin, draw, arrays)
            cost += chunk_cost + Cost(verifier_calls=calls, seconds=time.monotonic() - started)
    counts = {"candidates": len(points), "draws": section.samples, "actions_sampled_now": cost.rollout_turns}
    complete(run, "profile", counts, Ledger().charge("pivotrl", "profile", cost), began)


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
) -> tuple[list[list[SampledAction]], Cost]:
    """The actions `[point][draw]` sampled at these points, each trunk prefilled once, and what that cost."""
    section = run.config.profile
    per_row = max(1, section.branches_per_trunk // len(draws))
    rows: list[tuple[Row, list[int]]] = []
    members: list[int] = []
    for index, point in enumerate([*points, None]):
        if members and (point is None or point.trunk is not points[members[0]].trunk or len(members) == per_row):
            rows.append((_row([points[i] for i in members], draws), members))
            members = []
        members.append(index)
    row_count = _row_count(section.chunk, per_row, rows)
    batch = lay_out(
        [row for row, _ in rows], run.mesh, run.rules, row_count=row_count, branch_count=per_row * len(draws)
    )
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
    return actions, sampling_cost(run.arch, [row for row, _ in rows], [action for group in actions for action in group])


def _row(points: Sequence[ProfiledPoint], draws: Sequence[int]) -> Row:
    slots = [
        BranchSlot(point.branch.start, point.branch.forced_ids, state_uid(point.candidate.id), draw)
        for point in points
        for draw in draws
    ]
    return Row(points[0].trunk.ids[: max(slot.start for slot in slots)], tuple(slots))


def _row_count(chunk: int, per_row: int, rows: Sequence[object]) -> int:
    """Rows are padded to a quarter of the chunk at a time, so that a run compiles for few batch sizes."""
    step = max(1, chunk // 4)
    return -(-len(rows) // step) * step


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
