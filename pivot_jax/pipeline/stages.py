"""The stages by name, and `run`: those that a config lists, skipping what is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

from rich.console import Console

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_arms import Method
from pivot_jax.data.failure import DataError, RenderError
from pivot_jax.hosts.exchange import first_alone, first_says
from pivot_jax.pipeline.arms import arm_run, is_trained, needs_profile, spent, training_section
from pivot_jax.pipeline.candidates import make_candidates
from pivot_jax.pipeline.curve import curve
from pivot_jax.pipeline.e2e import train_e2e
from pivot_jax.pipeline.evaluate import evaluate
from pivot_jax.pipeline.export import export
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.pretrain import pretrain
from pivot_jax.pipeline.profile_store import StoreMismatch
from pivot_jax.pipeline.profiling import charged_profile, profile
from pivot_jax.pipeline.report import build_report, print_summary
from pivot_jax.pipeline.run import Run, check_vocabulary, complete, is_complete, open_run, require
from pivot_jax.pipeline.selection import select
from pivot_jax.pipeline.sft import train_sft
from pivot_jax.pipeline.train import train_pivot_rl

METHODS: Mapping[Method, Callable[[Run, str, Config, Console], Ledger]] = {
    "sft": train_sft,
    "pivot_rl": train_pivot_rl,
    "e2e_rl": train_e2e,
}
"""Each trains one arm from the run's policy, resuming where it stopped, and returns what all of it cost."""


def train(run: Run, console: Console) -> None:
    """Train the arms one after another; one that is trained already is not trained again. Each pays for what it needs:
    the profile is charged in full to every arm that uses it."""
    began = time.monotonic()
    config = run.config
    for arm in config.chosen_arms:
        require(run, "select" if needs_profile(config, arm) else "candidates", f"train {arm}")
    ledger, counts = Ledger(), {}
    for arm in config.arms:
        if is_trained(run, arm):
            charged = spent(run, arm)
        elif arm in config.chosen_arms:
            own = arm_run(run, arm)
            charged = METHODS[config.arms[arm].method](own, arm, own.config, console)
        else:
            continue
        if needs_profile(config, arm):
            charged = charged.charge(arm, "profile", charged_profile(run, config.for_arm(arm)))
        ledger = ledger.merge(charged)
        counts[arm] = {"steps": training_section(config, arm).steps}
    complete(run, "train", counts, ledger, began)


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
    "train": train,
    "evaluate": evaluate,
    "curve": curve,
    "report": report,
    "export": export,
}


ON_THE_HOST = ("candidates", "select", "report")
"""Stages that use no devices: of several processes the first one does them, and the others read what it wrote."""
FAULTS = (ConfigError, DataError, RenderError, StoreMismatch)
"""What is wrong with what the user gave, rather than with the program."""


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
        if name not in ("report", "export") and first_says(f"{name}: complete", is_complete(run, name)):
            console.print(f"{name}: complete, skipped")
        else:
            if name not in ("candidates", "report"):
                check_vocabulary(run, name)
            runner = partial(RUNNERS[name], run, console)
            first_alone(name, runner, FAULTS) if name in ON_THE_HOST else runner()
