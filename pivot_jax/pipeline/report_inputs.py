"""What the report reads from a run directory, checked at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pivot_jax.pipeline.artifacts import read_json
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.metrics import METRICS_FILE, MetricLine, read_metrics

ARM_ORDER = ("base", "sft", "pivotrl")
"""Arms that stand first in every table, in this order; others follow in the order of the config."""

MADE_BY = {
    "config.json": "any stage",
    "manifest.json": "any stage",
    "ledger.json": "any stage that samples, trains or evaluates",
    "evaluation": "evaluate",
}


class Artifact(BaseModel):
    """Base of what the report reads: the fields it needs, frozen; a stage may write more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Suite(Artifact):
    """Episodes of one arm on one domain or skill: each outcome is 1 for success, else 0."""

    outcomes: tuple[Literal[0, 1], ...] = Field(min_length=1)
    seeds: tuple[int, ...]

    @model_validator(mode="after")
    def _one_seed_each(self) -> Suite:
        if len(self.seeds) != len(self.outcomes):
            raise ValueError(f"{len(self.outcomes)} outcomes but {len(self.seeds)} seeds")
        return self

    def by_seed(self) -> tuple[int, ...]:
        """Outcomes in the order of their seeds."""
        order = sorted(range(len(self.seeds)), key=self.seeds.__getitem__)
        return tuple(self.outcomes[index] for index in order)


class Evaluation(Artifact):
    """One arm evaluated: what the evaluate stage writes to `evaluation/ARM.json`."""

    arm: str
    in_domain: dict[str, Suite] = Field(min_length=1)
    other_domains: dict[str, Suite] = Field(default_factory=dict)
    """Domains that the run does not train on."""
    ood: dict[str, Suite] = Field(min_length=1)
    checkpoint: str
    temperature: float


class TurnScores(Artifact):
    """Rewards of the actions sampled at one held-out turn, by verifier; None for one that could not be judged."""

    turn: str
    domain: str
    task: str
    rewards: dict[str, tuple[float | None, ...]]


class NextActions(Artifact):
    """One arm evaluated on recorded trajectories: what the evaluate stage writes to `evaluation/ARM.json` of those."""

    arm: str
    turns: tuple[TurnScores, ...] = Field(min_length=1)
    checkpoint: str
    temperature: float


class PivotManifest(Artifact):
    """Which candidates became pivots, and why the others did not: what the select stage writes to `pivots.json`.

    `pass_rates` are mean rewards of the candidates' samples; `pass_rates_exact` the same under exact matching. None
    stands for a candidate with no sample that could be judged.
    """

    candidates: int
    kept: int
    by_reason: dict[str, int]
    mixed_fraction: float | None
    """None, as the next one, where the rule samples nothing."""
    uninformative_fraction: float | None
    pass_rates: tuple[float | None, ...]
    pass_rates_exact: tuple[float | None, ...]
    threshold: float
    k: int
    by_domain: dict[str, dict[str, Any]]


class Manifest(Artifact):
    """The part of the run's manifest that the report quotes."""

    command: str


@dataclass(frozen=True)
class RunInputs:
    """Everything a report is made from. `pivots` is None where no arm needed a profile and none was made; `metrics` is
    empty before the first training stage. Of `evaluations` (episodes) and `next_actions` (recorded trajectories) one is
    empty."""

    config: dict[str, Any]
    manifest: Manifest
    ledger: Ledger
    pivots: PivotManifest | None
    evaluations: Mapping[str, Evaluation]
    next_actions: Mapping[str, NextActions]
    metrics: tuple[MetricLine, ...]


def read_inputs(run_dir: Path) -> RunInputs:
    """Read and check the inputs of a report.

    Raises:
        FileNotFoundError: a required file is absent; the message names it and the stage that makes it.
        ValueError: a file that does not hold what it should; the message names it.
    """
    folder = _required(run_dir, "evaluation")
    paths = {path.stem: path for path in folder.glob("*.json")}
    if not paths:
        raise FileNotFoundError(f"{folder} holds no ARM.json; run the stage that makes them: {MADE_BY['evaluation']}")
    config = read_json(_required(run_dir, "config.json"))
    order = list(dict.fromkeys([*ARM_ORDER, *config.get("arms", {}), *sorted(paths)]))
    found = {arm: paths[arm] for arm in order if arm in paths}
    recorded = bool(config.get("data", {}).get("path"))
    return RunInputs(
        config=config,
        manifest=_read(Manifest, _required(run_dir, "manifest.json")),
        ledger=Ledger.from_json(read_json(_required(run_dir, "ledger.json"))),
        pivots=_read(PivotManifest, pivots) if (pivots := run_dir / "pivots.json").exists() else None,
        evaluations={} if recorded else {arm: _read_evaluation(Evaluation, path) for arm, path in found.items()},
        next_actions={arm: _read_evaluation(NextActions, path) for arm, path in found.items()} if recorded else {},
        metrics=read_metrics(run_dir) if (run_dir / METRICS_FILE).exists() else (),
    )


EvaluatedT = TypeVar("EvaluatedT", Evaluation, NextActions)


def _required(run_dir: Path, name: str) -> Path:
    path = run_dir / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is absent; run the stage that makes it: {MADE_BY[name]}")
    return path


def _read_evaluation(kind: type[EvaluatedT], path: Path) -> EvaluatedT:
    evaluation = _read(kind, path)
    if evaluation.arm != path.stem:
        raise ValueError(f"{path} holds arm {evaluation.arm!r}; the file is named after its arm")
    return evaluation


ArtifactT = TypeVar("ArtifactT", bound=Artifact)


def _read(kind: type[ArtifactT], path: Path) -> ArtifactT:
    value = read_json(path)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise ValueError(f"{path}: {problems}") from error
