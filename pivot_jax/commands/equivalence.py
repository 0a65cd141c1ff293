"""`pivot-jax equivalence`: whether one training step comes out the same on several meshes."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pivot_jax.config import Config, ConfigError, MeshSection
from pivot_jax.config_files import load
from pivot_jax.pipeline.artifacts import write_json

DESCRIPTION = """Do the same step on several meshes, and print how far they are apart from the first of them: sampled
tokens and their log-probs, logits, advantages, loss, every gradient, the parameters' change and the optimizer's moments
after three steps, and a checkpoint that one mesh wrote and the next restores.

    pivot-jax equivalence configs/quickstart.toml --meshes configs/mesh/cpu_1.toml configs/mesh/cpu_8_*.toml
"""


def main(words: Sequence[str]) -> None:
    """Exit code 0; 1 if a quantity is out of tolerance; 2 for a config, a mesh or options that cannot be used."""
    options = _options(words)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        config, meshes = load(options.configs), named_meshes(options.configs, options.meshes)
        check_dtype(config, options.tolerance)
        _prepare_devices(meshes)
        # imported late, so that a config fault is told at once and --help needs no accelerator
        from pivot_jax.data.failure import DataError, RenderError
        from pivot_jax.pipeline.equivalence import compare_meshes
        from pivot_jax.pipeline.equivalence_table import as_json, differences, failures, print_differences

        _check_devices(meshes)
        try:
            with tempfile.TemporaryDirectory() as directory:
                compared = compare_meshes(config, meshes, Path(directory))
        except (DataError, RenderError) as error:
            _refuse(error)
    except ConfigError as error:
        _refuse(error)
    found = differences(compared.pairs, options.tolerance)
    print_differences(compared, found, console)
    if options.json is not None:
        write_json(options.json, as_json(compared, found, shlex.join(["pivot-jax", "equivalence", *words])))
    if failures(found):
        raise SystemExit(1)


def named_meshes(configs: Sequence[Path], files: Sequence[Path]) -> dict[str, MeshSection]:
    """The section `mesh` of the config with each of the files merged over it, by the file's name without its ending.

    Raises:
        ConfigError: a file that cannot be read, fewer than two, or two of one name.
    """
    if len(files) < 2:
        raise ConfigError("--meshes: name two files or more; the first is what the others are compared with")
    if len({file.stem for file in files}) < len(files):
        raise ConfigError("--meshes: two files have the same name; the table could not tell them apart")
    return {file.stem: load([*configs, file]).mesh for file in files}


def check_dtype(config: Config, tolerance: float | None) -> None:
    """ConfigError for a comparison in bfloat16 without a tolerance of its own."""
    if config.policy.dtype != "float32" and tolerance is None:
        raise ConfigError(
            f"policy.dtype: {config.policy.dtype} rounds by 0.4 percent, differently on each mesh; "
            "compare in float32, or say with --tolerance what may differ"
        )


def _least_devices(section: MeshSection) -> int:
    """The devices that a mesh needs at least; where it takes what is left, that is one row of them."""
    return math.prod(section.sizes() if section.data != -1 else section.model_copy(update={"data": 1}).sizes())


def _prepare_devices(meshes: Mapping[str, MeshSection]) -> None:
    """Settings that jax reads when it is first imported: as many CPU devices as the largest mesh needs, and no other
    platform if all meshes are said to be of CPU devices."""
    if all(section.chip == "cpu" for section in meshes.values()):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(max(map(_least_devices, meshes.values()))))


def _check_devices(meshes: Mapping[str, MeshSection]) -> None:
    import jax

    for name, section in meshes.items():
        if (least := _least_devices(section)) > jax.device_count():
            raise ConfigError(
                f"{name}: needs {least} devices, there are {jax.device_count()} ({jax.default_backend()}); "
                f"for CPU devices set JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES={least} and no other count in XLA_FLAGS"
            )


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pivot-jax equivalence", description=DESCRIPTION, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG", help="config files, merged left to right")
    parser.add_argument("--meshes", type=Path, nargs="+", required=True, metavar="MESH", help="a config file a mesh")
    parser.add_argument(
        "--tolerance", type=float, metavar="X",
        help="in place of the tolerance of every quantity that need not be bit-equal",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what is printed as JSON")
    options = parser.parse_args(list(words))
    if options.tolerance is not None and not options.tolerance >= 0:
        parser.error("--tolerance must not be negative")
    return options


def _refuse(error: Exception) -> NoReturn:
    print(f"pivot-jax: {error}", file=sys.stderr)
    raise SystemExit(2) from None
