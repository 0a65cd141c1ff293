"""The same config under several seeds: one run directory and one child process for each.

A child that crashes loses its own seed alone, and gives its memory back. A killed one continues where it stopped.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pivot_jax.config import Config
from pivot_jax.config_arms import merged
from pivot_jax.config_files import load, validate
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.pipeline.provenance import commit, machine_of_children
from pivot_jax.pipeline.run import is_recorded, pin_config, read_manifest

SEEDS_APART = 10_000
"""Between the first task seeds of two runs: the demonstrations of no two overlap, nor do their evaluations."""
FIRST_EVALUATION = 1_000_000
STARTS = "starts.json"
"""Commit, machine and command of every start of a run, oldest first."""


@dataclass(frozen=True)
class SeedRun:
    """One run to be made: config files, and what this run sets over them (section → field → value)."""

    seed: int
    files: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Any]]

    @property
    def dir(self) -> Path:
        return Path(self.overrides["run"]["dir"])

    @property
    def config(self) -> Config:
        """The whole config; ConfigError as `config_files.load`."""
        return validate(merged(load(self.files).model_dump(), dict(self.overrides)), " ".join(self.files))

    @property
    def words(self) -> list[str]:
        """The command that makes it, as a user would type it."""
        words = ["pivot-jax", "run", *self.files]
        for section, fields in self.overrides.items():
            for name, value in fields.items():
                values = value if isinstance(value, list | tuple) else [value]
                words += [f"--{section}.{name.replace('_', '-')}", *map(str, values)]
        return words


def seed_run(
    files: Sequence[str], run_dir: Path, seed: int, domains: Sequence[str] = (), arms: Sequence[str] = ()
) -> SeedRun:
    """The run of one seed, in `run_dir/seed_S`: its own random keys, demonstrations and evaluation tasks.

    It makes no base policy: `base_run` does, once for all seeds.

    Args:
        domains: the domains of this run, whose evaluation plays the config's others too; empty for all of the config.
        arms: the arms of this run; empty for all.
    """
    loaded, first = load(files), SEEDS_APART * seed
    stages = loaded.run.stages
    run: dict[str, Any] = {"dir": str(run_dir / f"seed_{seed}"), "seed": seed}
    if "pretrain" in stages:
        run["stages"] = tuple(stage for stage in stages if stage != "pretrain")
    if arms:
        run["arms"] = tuple(arms)
    data: dict[str, Any] = {"first_seed": first}
    evaluation: dict[str, Any] = {"first_seed": FIRST_EVALUATION + first}
    if domains:
        data["domains"] = tuple(domains)
    if domains and (others := tuple(name for name in loaded.data.domains if name not in domains)):
        evaluation["other_domains"] = others
    return SeedRun(seed, tuple(files), {"run": run, "data": data, "evaluate": evaluation})


def base_run(files: Sequence[str]) -> list[SeedRun]:
    """The run that makes the base policy, in the config's own directory; none if its stages lack `pretrain`."""
    section = load(files).run
    overrides = {"run": {"dir": section.dir, "stages": ("pretrain",)}}
    return [SeedRun(section.seed, tuple(files), overrides)] if "pretrain" in section.stages else []


def is_finished(run: SeedRun) -> bool:
    """Whether every stage that leaves a record has finished.

    Raises:
        ConfigError: the run directory was made with another config.
    """
    if not (run.dir / "config.json").exists():
        return False
    config = run.config
    pin_config(run.dir, config)
    manifest = read_manifest(run.dir)
    stages = [stage for stage in config.run.stages if stage not in ("report", "export")]
    return all(is_recorded(manifest, config, stage) for stage in stages)


def finish(runs: Sequence[SeedRun]) -> list[SeedRun]:
    """Make the runs that are not finished, one after another; returns those that did not get to the end.

    SIGTERM is passed on to the child, which saves its state; no further run is started then.
    """
    unfinished = []
    for place, run in enumerate(runs):
        if is_finished(run):
            print(f"finished: {run.dir}", flush=True)
            continue
        print(shlex.join(run.words), flush=True)
        record_start(run)
        stopped = _child(run)
        if stopped or not is_finished(run):
            unfinished.append(run)
        if stopped:
            return [*unfinished, *(rest for rest in runs[place + 1 :] if not is_finished(rest))]
    return unfinished


def made(files: Sequence[str], runs: Sequence[SeedRun], *, aggregate_only: bool) -> list[SeedRun]:
    """The runs that are finished, after making the base policy and those that are missing; or, with `aggregate_only`,
    those that were finished before."""
    if not aggregate_only and not finish(base_run(files)):
        finish(runs)
    return [run for run in runs if is_finished(run)]


def record_start(run: SeedRun) -> None:
    """Add commit, machine and command to what the run directory says of its starts."""
    start = {"command": shlex.join(run.words), **commit(), "machine": machine_of_children()}
    write_json(run.dir / STARTS, [*read_starts(run.dir), start])


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """What `record_start` recorded; nothing for a run that was started by hand."""
    return read_json(run_dir / STARTS) if (run_dir / STARTS).exists() else []


def _child(run: SeedRun) -> bool:
    """Run it in a child process; True if this process was told to stop meanwhile."""
    stopped = False
    with subprocess.Popen([sys.executable, "-m", "pivot_jax.cli", *run.words[1:]]) as child:

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal stopped
            stopped = True
            child.send_signal(number)

        before = signal.signal(signal.SIGTERM, stop)
        try:
            code = child.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
    if code:
        print(f"{run.dir}: exit code {code}; the same command continues it", file=sys.stderr, flush=True)
    return stopped
