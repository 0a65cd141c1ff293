"""What the runs of several seeds found: counts and costs of every seed and arm, as results files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pivot_jax.pipeline.artifacts import read_json
from pivot_jax.pipeline.ledger import Cost, Ledger
from pivot_jax.pipeline.next_action_estimates import Tally, tallies
from pivot_jax.pipeline.report_inputs import Evaluation, NextActions, RunInputs, Suite, read_inputs
from pivot_jax.pipeline.seed_runs import SeedRun, read_starts

QUARTER = 4


class Record(BaseModel):
    """Base of the records of a results file: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(Record):
    """Successes of one arm on one domain or skill."""

    successes: int
    episodes: int


class ArmResult(Record):
    """One arm of one run."""

    in_domain: dict[str, Score]
    other_domains: dict[str, Score] = Field(default_factory=dict)
    """Domains that the run did not train on."""
    ood: dict[str, Score]
    next_action: dict[str, dict[str, Tally]] = Field(default_factory=dict)
    """Of recorded trajectories, which have neither: verifier → `DOMAIN/TASK` → rewards at its held-out turns."""
    turns: int = 0
    """Held-out turns of recorded trajectories."""
    ledger: dict[str, dict[str, Any]]
    """Phase → fields of `Cost`; the phase `evaluation` belongs to no method."""
    mixed_fraction: tuple[float, float] | None
    """Share of training groups with mixed rewards, over the first and the last quarter of the steps; None for SFT."""

    def cost(self, *, profile: bool = True) -> Cost:
        """What the arm cost to train, with or without its profile."""
        left_out = {"evaluation"} if profile else {"evaluation", "profile"}
        return sum((Cost(**c) for phase, c in self.ledger.items() if phase not in left_out), Cost.zero())


class RunResult(Record):
    """One run: all arms from one base policy, under one seed."""

    seed: int
    domains: tuple[str, ...]
    starts: list[dict[str, Any]]
    """Commit, machine and command of every start."""
    seconds: float
    candidates: dict[str, int]
    """Candidate turns by domain, each profiled."""
    uninformative: dict[str, float]
    """Share of the candidate turns of a domain whose sampled actions all got the same reward, if any were sampled."""
    pivots: dict[str, int]
    """Pivots by domain, by the config's own selection."""
    selections: dict[str, int]
    """Pivots of the arms that select otherwise."""
    arms: dict[str, ArmResult]


class Results(BaseModel):
    """A results file: `runs` and how they came about (`settings` is the resolved config of the first run)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command: str
    config: str
    domains: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    runs: tuple[RunResult, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """`base`, then the arms that every run has, in the order of the config."""
        return ("base", *(arm for arm in self.settings["arms"] if all(arm in run.arms for run in self.runs)))

    def trained_on(self, domains: tuple[str, ...]) -> Results:
        """Of these results, the runs of these domains."""
        return self.model_copy(update={"runs": tuple(run for run in self.runs if run.domains == domains)})


def run_result(run: SeedRun) -> RunResult:
    """Read a finished run directory.

    Raises:
        FileNotFoundError, ValueError: a file that is missing or not as its stage writes it; the message names it.
    """
    inputs = read_inputs(run.dir)
    manifest = read_json(run.dir / "manifest.json")
    by_domain: Mapping[str, Any] = inputs.pivots.by_domain if inputs.pivots else {}
    selections = sorted((run.dir / "selections").glob("*.json"))
    return RunResult(
        seed=run.seed,
        domains=_domains(inputs),
        starts=read_starts(run.dir),
        seconds=sum(stage["seconds"] for stage in manifest["stages"].values()),
        candidates={name: part["candidates"] for name, part in by_domain.items()},
        uninformative={
            name: part["uninformative_fraction"]
            for name, part in by_domain.items()
            if part["uninformative_fraction"] is not None
        },
        pivots={name: part["kept"] for name, part in by_domain.items()},
        selections={path.stem: read_json(path)["kept"] for path in selections},
        arms={
            arm: ArmResult(
                **(_scores(evaluation) if isinstance(evaluation, Evaluation) else _tallies(evaluation)),
                ledger=_phases(inputs.ledger, arm),
                mixed_fraction=_quarters([line.metrics for line in inputs.metrics if line.stage == arm]),
            )
            for arm, evaluation in {**inputs.evaluations, **inputs.next_actions}.items()
        },
    )


def _domains(inputs: RunInputs) -> tuple[str, ...]:
    """The domains that the run's config names, or those of the recorded trajectories."""
    if not inputs.next_actions:
        return tuple(inputs.config["data"]["domains"])
    return tuple(sorted({turn.domain for found in inputs.next_actions.values() for turn in found.turns}))


def _tallies(found: NextActions) -> dict[str, Any]:
    names = found.turns[0].rewards
    by_reward = {name: tallies(found.turns, name) for name in names}
    return {"in_domain": {}, "ood": {}, "next_action": by_reward, "turns": len(found.turns)}


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    def counted(suites: Mapping[str, Suite]) -> dict[str, Score]:
        return {n: Score(successes=sum(s.outcomes), episodes=len(s.outcomes)) for n, s in suites.items()}

    return {kind: counted(getattr(evaluation, kind)) for kind in ("in_domain", "other_domains", "ood")}


def _phases(ledger: Ledger, arm: str) -> dict[str, dict[str, Any]]:
    return Ledger.to_json(ledger).get(arm, {})


def _quarters(lines: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    shares = [line["pivot/mixed_fraction"] for line in lines if "pivot/mixed_fraction" in line]
    if not shares:
        return None
    size = max(1, len(shares) // QUARTER)
    return sum(shares[:size]) / size, sum(shares[-size:]) / size


def read_results(path: Path) -> Results:
    """The results file at `path`; ValueError if it is none."""
    return Results.model_validate(read_json(path))
