"""`pivot-jax verify`: our verifiers against recorded rewards, and against each other on the actions of a run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pivot_jax.config import ConfigError, VerifierSection
from pivot_jax.config_arms import merged
from pivot_jax.pipeline.artifacts import write_json
from pivot_jax.pipeline.stored_config import stored_config
from pivot_jax.verify.vectors import Outcome, VectorError, read_vectors, score_vectors

NAMES: tuple[str, ...] = get_args(VerifierSection.model_fields["name"].annotation)


def main(words: Sequence[str]) -> None:
    """Exit code 0; 1 if a vector disagrees; 2 for a file, a run or options that cannot be used."""
    options = _options(words)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        if options.vectors is not None:
            raise SystemExit(compare_vectors(options.vectors, options.json, console))
        audit_run(options, shlex.join(["pivot-jax", "verify", *words]), console)
    except (VectorError, ConfigError) as error:
        _refuse(error)


def compare_vectors(file: Path, json_file: Path | None, console: Console) -> int:
    """Score a file of vectors and print the agreement by server; 1 if any disagrees, else 0."""
    outcomes = score_vectors(read_vectors(file))
    servers = {server: [one for one in outcomes if one.vector.server == server] for server in _servers(outcomes)}
    table = Table("server", "n", "agree", "disagree", title=f"Agreement with {file}")
    for server, group in servers.items():
        agree = sum(not one.differences for one in group)
        table.add_row(escape(server), str(len(group)), str(agree), str(len(group) - agree))
    console.print(table)
    disagreeing = [one for one in outcomes if one.differences]
    for one in disagreeing:
        console.print(escape(f"{one.vector.server}: {one.vector.desc}: {'; '.join(one.differences)}"), soft_wrap=True)
    if json_file is not None:
        write_json(json_file, _vectors_json(servers))
    return 1 if disagreeing else 0


def audit_run(options: argparse.Namespace, command: str, console: Console) -> None:
    """Re-score a run if that is asked for, and audit the verifiers whose verdicts it stores."""
    run_dir: Path = options.audit or options.rescore
    _prepare_devices(run_dir)
    # imported late: they need jax, which vectors do without
    from pivot_jax.data.failure import DataError, RenderError
    from pivot_jax.pipeline.profile_store import StoreMismatch
    from pivot_jax.pipeline.rescoring import chosen_section, open_profile, rescore
    from pivot_jax.pipeline.verifier_audit import audit
    from pivot_jax.pipeline.verifier_tables import print_audit

    try:
        run, points, store = open_profile(run_dir, command)
        if options.rescore is not None:
            section = chosen_section(run.config, options.verifier, _table(options.option))
            rescore(run, points, store, section, options.stored_as or options.verifier)
        found = audit(run, points, store, options.examples)
    except (DataError, RenderError, StoreMismatch) as error:
        _refuse(error)
    print_audit(found, console)
    if options.json is not None:
        write_json(options.json, asdict(found))


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pivot-jax verify", description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--vectors", type=Path, metavar="FILE", help="score recorded vectors, and tell every difference")
    what.add_argument("--audit", type=Path, metavar="RUN", help="compare the verdicts that a run stores")
    what.add_argument("--rescore", type=Path, metavar="RUN", help="judge a run's stored actions anew, then audit")
    parser.add_argument("--verifier", choices=NAMES, help="with --rescore: the verifier")
    parser.add_argument("--as", dest="stored_as", metavar="NAME", help="with --rescore: stored as (the verifier's)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE",
        help="with --rescore: a key of the config section [verifier] over the run's own, such as swe.target=false",
    )  # fmt: skip
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="disagreements shown for each pair (3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what is printed as JSON")
    options = parser.parse_args(list(words))
    if options.rescore is not None and options.verifier is None:
        parser.error("--rescore needs --verifier")
    if options.rescore is None and (options.verifier or options.stored_as or options.option):
        parser.error("--verifier, --as and --option belong to --rescore")
    if options.examples < 0:
        parser.error("--examples must not be negative")
    return options


def _table(assignments: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` as nested tables; a value that is not TOML is text. ConfigError if there is no `=`."""
    table: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--option {assignment!r}: must be KEY=VALUE")
        *sections, name = key.replace("-", "_").split(".")
        nested: dict[str, Any] = {name: _value(text)}
        for section in reversed(sections):
            nested = {section: nested}
        table = merged(table, nested)
    return table


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _prepare_devices(run_dir: Path) -> None:
    """Settings that jax reads when it is first imported: an audit computes on the CPU, and needs as many devices there
    as the run's mesh has at least."""
    mesh = stored_config(run_dir).mesh
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(max(mesh.data, 1) * mesh.fsdp * mesh.expert * mesh.tensor))


def _servers(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(one.vector.server for one in outcomes))


def _vectors_json(servers: dict[str, list[Outcome]]) -> dict[str, Any]:
    return {
        server: {
            "n": len(group),
            "agree": sum(not one.differences for one in group),
            "disagreements": [
                {"desc": one.vector.desc, "differences": list(one.differences)} for one in group if one.differences
            ],
        }
        for server, group in servers.items()
    }


def _refuse(error: Exception) -> NoReturn:
    print(f"pivot-jax: {error}", file=sys.stderr)
    raise SystemExit(2) from None
