"""The training loop that every arm shares: resume, step, record, save."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from rich.console import Console

from pivot_jax.config import OptimizerSection
from pivot_jax.hosts.exchange import any_says, first_says
from pivot_jax.hosts.processes import is_first
from pivot_jax.pipeline.checkpoint import Checkpoints, Interrupted, Resumed, fresh_state, starting_policy
from pivot_jax.pipeline.ledger import Cost, Ledger, Phase
from pivot_jax.pipeline.metrics import MetricsWriter
from pivot_jax.pipeline.optimizer import TrainState
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.run import Run
from pivot_jax.policy.spec import Parameters

Charges = Mapping[Phase, Cost]
Advance = Callable[[TrainState, Any, int], tuple[TrainState, Mapping[str, jax.Array], Charges]]
"""(state, batch indices, step) → next state, metrics still on the devices, what the step cost by phase."""


@dataclass(frozen=True)
class Start:
    """Where the batches that an arm is given begin: at the outset, or at a checkpoint from which it has other data."""

    step: int = 0
    charges: Charges = field(default_factory=dict)
    """What making the data cost; it enters the ledger with the first step from there."""


OUTSET = Start()


def train_arm(
    run: Run,
    arm: str,
    *,
    steps: int,
    optimizer: OptimizerSection,
    checkpoint_every: int,
    batches: Any,
    params: Parameters[jax.Array],
    advance: Advance,
    console: Console,
    start: Start = OUTSET,
    until: int | None = None,
) -> Ledger:
    """Train one arm to `until`, or all of `steps`, from its newest checkpoint if there is one, else from `params`.

    A checkpoint at `start` was made with the batches before these; a later one says how far into these it is. Metrics
    of a step are fetched while the next one runs, and recorded under the arm's name. Returns what the whole arm cost,
    the part before a resume included.

    Raises:
        Interrupted: SIGTERM or SIGINT came, be it in the last step; the state was saved first.
    """
    with Checkpoints(run, arm) as checkpoints, _metrics(run) as writer:
        done, end = first_says(f"{arm}: newest checkpoint", checkpoints.latest or 0), until or steps
        if done:
            state, resumed = checkpoints.restore(run, optimizer, done, base=params)
            ledger = Ledger.from_json(resumed.ledger)
            if done > start.step:
                batches.set_state(resumed.iterator)
        else:
            state, ledger = fresh_state(starting_policy(run, params), optimizer), Ledger()
        if done == start.step:
            for phase, cost in start.charges.items():
                ledger = ledger.charge(arm, phase, cost)
        if writer is not None:
            writer.truncate_after(arm, done)
        unwritten: tuple[int, Mapping[str, jax.Array]] | None = None
        for step in progress(range(done, end), arm, console, unit="steps", total=steps, done=done):
            began = time.monotonic()
            state, metrics, charges = advance(state, next(batches), step)
            if unwritten is not None:
                _write(writer, arm, *unwritten)
            unwritten = (step + 1, metrics)
            ledger = _charge(ledger, arm, charges, time.monotonic() - began)
            stopping = any_says(f"{arm}: stop after step {step + 1}", checkpoints.stop_requested)
            if stopping or step + 1 == end or (step + 1) % checkpoint_every == 0:
                _write(writer, arm, *unwritten)
                unwritten = None
                checkpoints.save(step + 1, state, Resumed(batches.get_state(), ledger.to_json()))
            if stopping:
                break
        if any_says(f"{arm}: stop at the end", checkpoints.stop_requested):
            raise Interrupted(f"{arm}: stopped after step {checkpoints.latest} of {steps}, saved in {checkpoints.path}")
    return ledger


def _charge(ledger: Ledger, arm: str, charges: Charges, seconds: float) -> Ledger:
    """Add a step's costs; seconds that no phase claimed belong to the update, whose end is not waited for."""
    claimed = sum(cost.seconds for cost in charges.values())
    for phase, cost in charges.items():
        rest = max(0.0, seconds - claimed) if phase == "update" else 0.0
        ledger = ledger.charge(arm, phase, replace(cost, seconds=cost.seconds + rest))
    return ledger


def _metrics(run: Run) -> AbstractContextManager[MetricsWriter | None]:
    """Of several processes, the first one writes metrics."""
    return MetricsWriter(run.dir) if is_first() else nullcontext()


def _write(writer: MetricsWriter | None, arm: str, step: int, metrics: Mapping[str, jax.Array]) -> None:
    fetched = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
    if writer is not None:
        writer.write(arm, step, fetched)
