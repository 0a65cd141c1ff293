"""Checkpoints of a training stage (Orbax): state, data iterator, ledger. A resumed run equals the uninterrupted one.

Where adapters are trained, a checkpoint holds nothing else of the policy: the rest is the run's own pi_0.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from pivot_jax.config import OptimizerSection
from pivot_jax.hosts.exchange import first_says
from pivot_jax.pipeline.optimizer import TrainState, initial_alone, initial_state, trained_alone, with_frozen
from pivot_jax.pipeline.run import Run
from pivot_jax.policy.lora import adapter_targets, attached, initialise_adapters
from pivot_jax.policy.spec import Parameters, restore_targets
from pivot_jax.policy.weights import read_weights


class Interrupted(Exception):
    """SIGTERM or SIGINT came; everything up to this step is saved."""


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint holds beside the state."""

    iterator: dict[str, Any]
    ledger: dict[str, Any]


class Checkpoints:
    """Checkpoints of one arm under `RUN/checkpoints/ARM`; the latest two are kept, or all with `run.keep_checkpoints`.
    A context manager.

    While it is open, SIGTERM and SIGINT only set `stop_requested`; the training loop saves and stops at the next step.
    """

    def __init__(self, run: Run, arm: str) -> None:
        self.path = checkpoint_dir(run.dir, arm)
        most = None if run.config.run.keep_checkpoints else 2
        options = ocp.CheckpointManagerOptions(max_to_keep=most, create=True, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.path, options=options)
        self._handlers: dict[int, Any] = {}
        self.stop_requested = False

    def __enter__(self) -> Checkpoints:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._manager.close()

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    @property
    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, resumed: Resumed) -> None:
        """Write one checkpoint; it appears whole or not at all."""
        extra = {"iterator": resumed.iterator, "ledger": resumed.ledger}
        trained, _ = trained_alone(state)
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(trained), extra=ocp.args.JsonSave(extra))
        )
        self._manager.wait_until_finished()

    @property
    def steps(self) -> list[int]:
        """The steps of all whole checkpoints that are kept, in order."""
        return sorted(self._manager.all_steps())

    def restore(
        self,
        run: Run,
        optimizer: OptimizerSection,
        step: int | None = None,
        *,
        base: Parameters[jax.Array] | None = None,
    ) -> tuple[TrainState, Resumed]:
        """The newest checkpoint (or the one of `step`), placed on this run's mesh, whatever mesh wrote it.

        Adapters are attached to `base`, or else to pi_0 as it is read again.
        """
        target = state_targets(run, optimizer)
        found = self._manager.restore(
            step or self.latest,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(target), extra=ocp.args.JsonRestore()),
        )
        frozen = None
        if run.config.lora.rank:
            frozen = read_weights(run.policy_dir, run.arch, run.mesh, run.rules) if base is None else base
        state = with_frozen(found["state"], frozen)
        return state, Resumed(found["extra"]["iterator"], found["extra"]["ledger"])

    def resumed(self) -> Resumed:
        """What the newest checkpoint holds beside the state."""
        extra = self._manager.restore(self.latest, args=ocp.args.Composite(extra=ocp.args.JsonRestore()))["extra"]
        return Resumed(extra["iterator"], extra["ledger"])


def state_targets(run: Run, optimizer: OptimizerSection) -> TrainState:
    """Shapes, dtypes and shardings of what a checkpoint holds of a training state, on this run's mesh."""
    if run.config.lora.rank:
        trained: Any = adapter_targets(run.arch, run.config.lora, run.mesh, run.rules)
    else:
        trained = restore_targets(run.arch, run.mesh, run.rules)
    whole = jax.sharding.NamedSharding(run.mesh, jax.sharding.PartitionSpec())

    def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        sharding = whole if leaf.ndim == 0 else jax.sharding.NamedSharding(run.mesh, leaf.sharding.spec)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = jax.eval_shape(lambda trained: initial_alone(trained, optimizer), trained)
    return jax.tree.map(placed, state)


def final_policy(run: Run, arm: str, optimizer: OptimizerSection) -> Parameters[jax.Array]:
    """The parameters of an arm's newest checkpoint."""
    with Checkpoints(run, arm) as checkpoints:
        return checkpoints.restore(run, optimizer)[0].params


def fresh_state(params: Parameters[jax.Array], optimizer: OptimizerSection) -> TrainState:
    """Step 0 from these parameters, which stay usable: what a step trains, and so donates, is a copy."""
    state, frozen = trained_alone(initial_state(params, optimizer))
    return with_frozen(replace(state, params=jax.tree.map(jnp.copy, state.params)), frozen)


def starting_policy(run: Run, params: Parameters[jax.Array]) -> Parameters[jax.Array]:
    """What training begins with: these parameters, with new adapters attached if it is adapters that are trained."""
    if not run.config.lora.rank:
        return params
    key = run.key("lora")
    return attached(params, initialise_adapters(key, run.arch, run.config.lora, run.mesh, run.rules))


def checkpoint_dir(run_dir: Path, arm: str) -> Path:
    """Where an arm's checkpoints are."""
    return (run_dir / "checkpoints" / arm).absolute()


def newest_step(run_dir: Path, arm: str) -> int:
    """The step of an arm's newest whole checkpoint; 0 if there is none."""
    path = checkpoint_dir(run_dir, arm)
    found = max(ocp.utils.checkpoint_steps(path), default=0) if path.is_dir() else 0
    return first_says(f"{arm}: newest step", int(found))
