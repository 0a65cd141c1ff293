"""Re-scoring: another verifier's verdicts on the actions that are stored, without sampling one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pivot_jax.config import Config, ConfigError, VerifierSection
from pivot_jax.config_arms import merged
from pivot_jax.config_files import validate
from pivot_jax.pipeline.candidates import load_prepared
from pivot_jax.pipeline.profile_store import ABSENT, ProfileStore
from pivot_jax.pipeline.profiling import ProfiledPoint, open_store, profiled_points
from pivot_jax.pipeline.run import Run, open_run, require
from pivot_jax.pipeline.scoring import REWARDS, Scores, functional_verifier, score
from pivot_jax.pipeline.stored_config import differences, stored_config
from pivot_jax.records import Action
from pivot_jax.rollout.actions import SampledAction
from pivot_jax.verify.verifier import Verifier


def open_profile(run_dir: Path, command: str) -> tuple[Run, list[ProfiledPoint], ProfileStore]:
    """A profiled run as it is on disk: its config, its candidates in the order of the store, and the store.

    Raises:
        ConfigError: there is no run in this directory, or it is not profiled.
    """
    config = stored_config(run_dir)
    run = open_run(config, command)
    require(run, "profile", "verify")
    points = profiled_points(load_prepared(run), config.profile.share)
    return run, points, open_store(run, points)


def chosen_section(config: Config, verifier: str, options: Mapping[str, Any]) -> VerifierSection:
    """The run's own verifier section under another verifier's name, with options over it; ConfigError as in a file."""
    own = {**config.verifier.model_dump(), "name": verifier}
    changed = merged(config.model_dump(), {"verifier": merged(own, options)})
    return validate(changed, "options").verifier


def stored_actions(run: Run, point: ProfiledPoint, row: int, arrays: Mapping[str, Any]) -> dict[int, Action]:
    """The actions stored for one candidate, by draw, as profiling read them.

    Args:
        run: of the profile.
        point: the candidate.
        row: its row in the store.
        arrays: `tokens`, `behavior_logprobs`, `lengths` and `finished`.
    """
    actions = {}
    for draw in np.flatnonzero(arrays["lengths"][row] >= 0).tolist():
        written = slice(arrays["lengths"][row, draw])
        sampled = SampledAction(
            ids=arrays["tokens"][row, draw][written],
            behavior_logprobs=arrays["behavior_logprobs"][row, draw][written],
            finished=bool(arrays["finished"][row, draw]),
        )
        actions[draw] = sampled.read(run.tokenizer, point.candidate.tools, run.config.data.action_format)
    return actions


def stored_arrays(store: ProfileStore) -> dict[str, Any]:
    """The arrays that `stored_actions` reads."""
    return {name: store.read(name) for name in ("tokens", "behavior_logprobs", "lengths", "finished")}


def rescored(
    run: Run, points: Sequence[ProfiledPoint], store: ProfileStore, verifier: Verifier, workers: int = 1
) -> Scores:
    """A verifier's rewards and statuses `[C, K]` of everything stored; draws that are not stored have status ABSENT.

    Args:
        run: of the profile.
        points: its candidates, in the order of the store.
        store: the stored actions.
        verifier: must bear being called by `workers` threads.
        workers: candidates judged at a time.
    """
    arrays = stored_arrays(store)
    actions = [stored_actions(run, point, row, arrays) for row, point in enumerate(points)]
    result = Scores(np.zeros(store.shape, np.float32), np.full(store.shape, ABSENT, np.int8))

    def one(point: ProfiledPoint, drawn: Mapping[int, Action]) -> Scores:
        return score([verifier], point.candidate, list(drawn.values()))[verifier.name]

    with ThreadPoolExecutor(workers) as pool:
        for row, scores in enumerate(pool.map(one, points, actions)):
            draws = list(actions[row])
            result.rewards[row, draws], result.status[row, draws] = scores.rewards, scores.status
    return result


def rescore(
    run: Run, points: Sequence[ProfiledPoint], store: ProfileStore, section: VerifierSection, name: str
) -> None:
    """Judge everything stored with the verifier of a section, and store the verdicts under a name.

    Raises:
        ConfigError: the name is not one, is one of profiling's, or holds the verdicts of other settings.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name) or name in REWARDS:
        raise ConfigError(f"--as: {name!r} must be made of a-z, 0-9 and _, and not be one of {', '.join(REWARDS)}")
    settings = section.model_dump(mode="json")
    if changed := list(_changed(run, store, name, settings)):
        raise ConfigError(
            f"--as: verdicts of other settings are stored as {name!r}; choose another name:\n  " + "\n  ".join(changed)
        )
    workers = section.judge.concurrency if section.asks_judge else 1
    scores = rescored(run, points, store, functional_verifier(section, run.domains, name), workers)
    store.write_verdicts(name, scores.rewards, scores.status, settings)


def _changed(run: Run, store: ProfileStore, name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """What of the settings stored under this name is otherwise; options that did not exist yet had today's defaults."""
    stored = store.settings_of(name)
    if stored is None:
        return
    try:
        old = validate({**run.config.model_dump(), "verifier": stored}, str(store.settings_file(name))).verifier
    except ConfigError as error:
        raise ConfigError(f"--as: the settings of {name!r} cannot be compared; choose another name\n{error}") from error
    yield from differences(old.model_dump(mode="json"), settings)
