"""`pivot-jax STAGE CONFIG... [--section.key value] [--dry-run | --audit]`, and commands that are no stage of a run."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pivot_jax.config import STAGES, Config, ConfigError
from pivot_jax.config_files import load
from pivot_jax.config_hosts import HostsSection
from pivot_jax.config_overrides import override
from pivot_jax.hosts.guard import split

COMMANDS = ("convert", "equivalence", "plan", "verify")
"""Those that are no stage of a run; each is `main(words)` of its module in `commands`, and tells its own `--help`."""

USAGE = f"""usage: pivot-jax STAGE CONFIG.toml... [--section.key value ...] [--dry-run | --audit]
       pivot-jax COMMAND ...

STAGE is one of: {", ".join(STAGES)}, or `run`, which does the stages that the config lists
(run.stages) and skips those already complete in the run directory. Config files are merged left to
right; overrides come last. --dry-run prints the resolved config and the plan, and exits. --audit, with
the stage `candidates`, prints what the candidates are like and writes it to RUN/audit.json.
COMMAND is one of: {", ".join(COMMANDS)}; `pivot-jax COMMAND --help` says what it does.

    pivot-jax run configs/quickstart.toml
    pivot-jax candidates configs/quickstart.toml --audit
    pivot-jax train configs/quickstart.toml --loss.clip-high 0.28 --run.arms pivotrl
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit code 0 when done or stopped by a signal, 2 on a config fault (one message, no traceback)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    if words[0] in COMMANDS:
        importlib.import_module(f"pivot_jax.commands.{words[0]}").main(words[1:])
        return
    audit = "--audit" in words
    try:
        stage, config, dry_run = parse([word for word in words if word != "--audit"])
        if audit and (stage != "candidates" or dry_run):
            raise ConfigError("--audit belongs to the stage 'candidates', without --dry-run")
    except ConfigError as error:
        print(f"pivot-jax: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    hosts = HostsSection() if dry_run else config.hosts
    if hosts.launch != "single":
        name = f"process {hosts.process}" if hosts.launch == "given" else "this process"
        split(name, hosts.coordinator if hosts.process else "")
    _prepare_devices()
    # imported late, so that a config fault is told at once and --help needs no accelerator
    from rich.console import Console

    from pivot_jax.hosts.processes import HostsError, is_first
    from pivot_jax.hosts.start import joined
    from pivot_jax.pipeline.audit import audit_candidates
    from pivot_jax.pipeline.checkpoint import Interrupted
    from pivot_jax.pipeline.plan import print_plan
    from pivot_jax.pipeline.run import open_run
    from pivot_jax.pipeline.stages import FAULTS, run_stages

    command = shlex.join(["pivot-jax", *words])
    try:
        with joined(hosts, FAULTS):
            console = Console(width=None if sys.stdout.isatty() else 140, quiet=not is_first())
            try:
                if dry_run:
                    print_plan(config, console)
                else:
                    run_stages(stage, config, command, console)
                if audit:
                    audit_candidates(open_run(config, command), console)
            except Interrupted as stopped:
                console.print(f"{stopped}; the same command continues from there")
    except (*FAULTS, HostsError) as error:
        print(f"pivot-jax: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("pivot-jax: interrupted; the same command continues with what is not stored yet", file=sys.stderr)
        raise SystemExit(130) from None


def parse(words: Sequence[str]) -> tuple[str, Config, bool]:
    """(stage, config, dry run) of a command line; ConfigError says what is wrong with it."""
    stage, *rest = words
    if stage not in (*STAGES, "run"):
        raise ConfigError(f"unknown stage {stage!r}; one of {', '.join(STAGES)}, run")
    split = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    files, options = rest[:split], rest[split:]
    if not files:
        raise ConfigError(f"{stage}: no config file given")
    dry_run = "--dry-run" in options
    return stage, override(load(files), [option for option in options if option != "--dry-run"]), dry_run


def _prepare_devices() -> None:
    """Settings that jax reads when it is first imported.

    Compiled programs are kept between runs. On a CPU each core is a device, because XLA splits a small program over
    devices better than over threads.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pivot_jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(2, os.cpu_count() or 1)))


if __name__ == "__main__":
    main()
