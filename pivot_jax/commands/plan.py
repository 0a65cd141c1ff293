"""`pivot-jax plan`: what a step needs of the hardware, found without it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from pivot_jax.config import ConfigError
from pivot_jax.config_files import load
from pivot_jax.config_overrides import override

DESCRIPTION = """Bytes, FLOPs, collectives and time of one step of PivotRL on a mesh, without its hardware and without
weights, and whether it fits. Where the mesh names a TPU topology and libtpu is installed, the TPU compiler is asked.

    pivot-jax plan configs/tau2_qwen3_30b_a3b.toml configs/mesh/v5p_64.toml
    pivot-jax plan configs/tau2_qwen3_8b.toml configs/mesh/h100_8.toml --train.pivots-per-step 16 --no-compile
"""
COMPILE_LIMIT = 180.0
"""Seconds for the TPU compiler, so that the whole plan ends within five minutes on two cores."""


def main(words: Sequence[str]) -> None:
    """Exit code 0 when the step fits, 1 when it does not, 2 on a config fault (one message, no traceback)."""
    configs, options, overrides = _options(words)
    # a plan holds no arrays; without this jax would look for an accelerator that it does not need
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from rich.console import Console
    from rich.markdown import Markdown

    from pivot_jax.planning.page import page
    from pivot_jax.planning.plan import make_plan

    try:
        config = override(load(configs), overrides)
        plan = make_plan(
            config, shlex.join(["pivot-jax", "plan", *words]),
            limit=0.0 if options.no_compile else options.compile_limit,
            effort="full" if options.full_effort else "low",
        )  # fmt: skip
    except ConfigError as error:
        print(f"pivot-jax plan: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    text = page(plan)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)
    raise SystemExit(0 if plan.verdict.fits else 1)


def _options(words: Sequence[str]) -> tuple[list[str], argparse.Namespace, list[str]]:
    """The config files, our own options, and the overrides of the config."""
    split = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    parser = argparse.ArgumentParser(
        prog="pivot-jax plan",
        usage="pivot-jax plan CONFIG... [options] [--section.key value ...]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--compile-limit", type=float, default=COMPILE_LIMIT, metavar="SECONDS", help="for the TPU compiler (180)")
    add("--full-effort", action="store_true", help="let the TPU compiler do all it can: some five times slower")
    add("--no-compile", action="store_true", help="the account alone, in seconds")
    add("--out", type=Path, metavar="FILE", help="also write the page, as Markdown")
    options, overrides = parser.parse_known_args(words[split:])
    if not words[:split]:
        parser.error("name the config files, the mesh's last")
    return list(words[:split]), options, overrides
