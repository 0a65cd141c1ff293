"""Stage `export`: an arm's final policy as a Hugging Face directory that any tool can open."""

from __future__ import annotations

import time
from pathlib import Path

import jax
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.pipeline.evaluate import policy_of, trained_arms
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.policy.weights import write_weights


def export(run: Run, console: Console) -> None:
    """Write config.json, tokenizer and float32 safetensors of `export.arm`."""
    began = time.monotonic()
    arm = run.config.export.arm
    arms = trained_arms(run)
    if arm not in arms:
        raise ConfigError(f"export.arm: {arm!r} has no checkpoint in {run.dir}; there are: {', '.join(arms)}")
    target = Path(run.config.export.path or run.dir / "export" / arm)
    with jax.set_mesh(run.mesh):
        try:
            write_weights(target, policy_of(run, arm), run.arch, run.policy_dir, run.stop_ids[0])
        except FileExistsError as error:
            raise ConfigError(f"export.path: {error}") from error
    console.print(f"exported {arm} to {target}")
    complete(run, "export", {"arm": arm, "path": str(target)}, Ledger(), began)
