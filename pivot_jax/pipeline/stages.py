"""The stages by name, and `run`: those that a config lists, skipping what is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.console import Console

from pivot_jax.config import Config, ConfigError
from pivot_jax.pipeline.candidates import make_candidates
from pivot_jax.pipeline.evaluate import evaluate
from pivot_jax.pipeline.export import export
from pivot_jax.pipeline.pretrain import pretrain
from pivot_jax.pipeline.profiling import profile
from pivot_jax.pipeline.report import build_report, print_summary
from pivot_jax.pipeline.run import Run, check_vocabulary, is_complete, open_run
from pivot_jax.pipeline.selection import select
from pivot_jax.pipeline.sft import sft
from pivot_jax.pipeline.train import train


def report(run: Run, console: Console) -> None:
    """Write report.json and index.html from what the other stages left, and print the tables."""
    try:
        built = build_report(run.dir)
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    print_summary(built, console)
    console.print(f"report: {run.dir / 'report' / 'index.html'}")


RUNNERS: Mapping[str, Callable[[Run, Console], None]] = {
    "candidates": make_candidates,
    "profile": profile,
    "select": select,
    "sft": sft,
    "train": train,
    "evaluate": evaluate,
    "report": report,
    "export": export,
}


def run_stages(stage: str, config: Config, command: str, console: Console) -> None:
    """Do one stage, or with `run` all that the config lists; a complete stage is named and skipped."""
    stages = config.run.stages if stage == "run" else (stage,)
    if "pretrain" in stages:
        pretrain(config, command, console)
    rest = [name for name in stages if name != "pretrain"]
    if not rest:
        return
    run = open_run(config, command)
    for name in rest:
        if name not in ("report", "export") and is_complete(run, name):
            console.print(f"{name}: complete, skipped")
        else:
            if name not in ("candidates", "report"):
                check_vocabulary(run, name)
            RUNNERS[name](run, console)
