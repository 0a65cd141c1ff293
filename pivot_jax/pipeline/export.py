"""Stage `export`: an arm's final policy as a Hugging Face directory that any tool can open.

A policy with adapters is exported with these added in, and the adapters alone in its folder `adapter`, as PEFT stores
them. The directory appears whole, with both.
"""

from __future__ import annotations

import time
from pathlib import Path

import jax
from rich.console import Console

from pivot_jax.config import ConfigError
from pivot_jax.pipeline.arms import is_trained, policy_of
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.run import Run, complete
from pivot_jax.policy.adapter_files import is_exportable, write_adapters
from pivot_jax.policy.weights import appearing_directory, write_policy


def export(run: Run, console: Console) -> None:
    """Write config.json, tokenizer and float32 safetensors of `export.arm`."""
    began = time.monotonic()
    arm = run.config.export.arm
    if arm != "base" and arm not in run.config.arms:
        raise ConfigError(f"export.arm: unknown arm {arm!r}; one of base, {', '.join(run.config.arms)}")
    if arm != "base" and not is_trained(run, arm):
        raise ConfigError(f"export.arm: {arm!r} is not trained to the end in {run.dir}; run the stage 'train' first")
    target = Path(run.config.export.path or run.dir / "export" / arm)
    with jax.set_mesh(run.mesh):
        policy = policy_of(run, arm)
        adapters = policy.blocks.lora
        has_adapters = adapters is not None and is_exportable(adapters, run.arch)
        try:
            with appearing_directory(target) as partial:
                write_policy(partial, policy, run.arch, run.policy_dir, run.stop_ids[0])
                if has_adapters:
                    write_adapters(partial / "adapter", adapters, run.arch, str(run.policy_dir))
        except FileExistsError as error:
            raise ConfigError(f"export.path: {error}") from error
    console.print(f"exported {arm} to {target}" + (", its adapters to adapter/ in it" if has_adapters else ""))
    complete(run, "export", {"arm": arm, "path": str(target)}, Ledger(), began)
