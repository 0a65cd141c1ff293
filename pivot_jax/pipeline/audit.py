"""`pivot-jax candidates CONFIG --audit`: what the run's candidates are like, before anything is spent on them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.data.chat_jsonl import read_trajectories
from pivot_jax.data.turns import turns
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.audit_counts import Task, audit_of
from pivot_jax.pipeline.audit_facts import TrajectoryFacts, facts_of
from pivot_jax.pipeline.audit_record import Audit
from pivot_jax.pipeline.audit_tables import print_audit
from pivot_jax.pipeline.candidates import HELD_OUT, TRAIN, prepare
from pivot_jax.pipeline.run import Run, require
from pivot_jax.pipeline.scoring import verifiers


def audit_candidates(run: Run, console: Console) -> Audit:
    """Audit the candidates that the stage `candidates` made, one trajectory in memory at a time; writes `audit.json`
    and prints it.

    Raises:
        ConfigError: the stage is not complete, or it left no training trajectory.
    """
    require(run, "candidates", "--audit")
    if next(iter(read_trajectories(run.dir / TRAIN)), None) is None:
        raise ConfigError(f"--audit: {run.dir / TRAIN} holds no trajectory; lower data.held_out")
    audit = audit_of(_training(run), _held_out(run), run.config.verifier.name)
    write_json(run.dir / "audit.json", audit.model_dump(mode="json"))
    print_audit(audit, console)
    console.print(f"audit: {run.dir / 'audit.json'}")
    return audit


def _training(run: Run) -> Iterator[TrajectoryFacts]:
    judges = verifiers(run.config.verifier, run.domains)
    for trajectory in read_trajectories(run.dir / TRAIN):
        yield facts_of(prepare(run, trajectory), run.tokenizer, run.config.data.action_format, judges)


def _held_out(run: Run) -> Iterator[tuple[Task, int]]:
    for trajectory in read_trajectories(run.dir / HELD_OUT):
        yield (trajectory.domain, trajectory.task_id), len(turns(trajectory))
