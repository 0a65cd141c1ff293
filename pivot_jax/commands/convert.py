"""`pivot-jax convert`: trajectories of one format written in another."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pivot_jax.data.failure import DataError, FieldError, FileError
from pivot_jax.data.formats.bad_rows import BadRows
from pivot_jax.data.formats.options import DEFAULT_AGENT, ReadOptions, WriteOptions, tools_of_file
from pivot_jax.data.formats.registry import AUTO, READ_FORMATS, WRITE_FORMATS, Located, read_located
from pivot_jax.data.formats.sources import sources
from pivot_jax.data.formats.writing import write
from pivot_jax.data.turns import turns
from pivot_jax.records import Candidate, Trajectory
from pivot_jax.verify.tool_call import ToolCallMatch, ToolCallRules
from pivot_jax.verify.verifier import Unjudgeable

DESCRIPTION = """Read trajectories in one format and write them in another. OUT appears whole or not at all.

    pivot-jax convert recorded.jsonl pivots.jsonl.gz --to pivot_rows --tools tools.json
    pivot-jax convert runs/*.traj all.jsonl --on-bad-row skip
"""


def main(words: Sequence[str]) -> None:
    """Exit code 0 when OUT is written; 2, with one message and no traceback, when it cannot be."""
    options = _options(words)
    try:
        convert(options)
    except (DataError, FieldError, OSError) as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        print(f"pivot-jax convert: interrupted; {options.out} is as it was", file=sys.stderr)
        raise SystemExit(130) from None


def convert(options: argparse.Namespace) -> None:
    """Do what the options say and print the counts."""
    out: Path = options.out
    rejects: Path | None = options.rejects
    if options.on_bad_row == "skip" and rejects is None:
        rejects = out.with_name(f"{out.name}.rejects.jsonl")
    _check_paths(options.inputs, out, rejects, options.overwrite)
    tools = {} if options.tools is None else tools_of_file(options.tools)
    read_options = ReadOptions(make_ids=options.make_ids, domain=options.domain, tools=tools)
    check = SelfScore(ToolCallMatch(ToolCallRules(string_threshold=options.string_threshold)))
    write_options = WriteOptions(agent=options.agent, check_label=check)
    with BadRows(options.on_bad_row, rejects) as bad:
        taken = Taken(read_located(options.inputs, options.read_format, read_options, bad, _tell_format), bad)
        held = write(out, taken, options.write_format, options=write_options, on_refused=taken.refuse)
    print(f"rows read     {bad.read:,}\ntrajectories  {held:,}\nturns         {taken.turns:,}")
    if options.on_bad_row == "skip":
        print(f"rejected      {bad.rejected:,}, in {rejects}")
        for reason, count in bad.reasons.most_common():
            print(f"{count:>12,}  {reason}")


class Taken:
    """The trajectories as the writer takes them: where the last one stands, for a writer that refuses it, and how many
    turns those have that were not refused."""

    def __init__(self, located: Iterator[Located], bad: BadRows) -> None:
        self._located, self._bad = located, bad
        self._last: Located | None = None
        self.turns = 0

    def __iter__(self) -> Iterator[Trajectory]:
        for located in self._located:
            self._last = located
            self.turns += len(turns(located.trajectory))
            yield located.trajectory

    def refuse(self, fault: FieldError) -> None:
        """Count the last trajectory as a bad row, or raise DataError."""
        assert self._last is not None
        self.turns -= len(turns(self._last.trajectory))
        self._bad.refuse(self._last.file, self._last.row, fault)


@dataclass(frozen=True)
class SelfScore:
    """Says why the expert action of a candidate does not score 1 against itself; "" if it does."""

    verifier: ToolCallMatch

    def __call__(self, candidate: Candidate) -> str:
        try:
            verdict = self.verifier(candidate, candidate.expert)
        except Unjudgeable as error:
            return str(error)
        return "" if verdict.reward == 1.0 else f"it scores {verdict.reward:g} ({verdict.reason})"


def _check_paths(inputs: Sequence[Path], out: Path, rejects: Path | None, overwrite: bool) -> None:
    """FileError where what is written would take the place of something."""
    read = {source.file.resolve() for source in sources(inputs)}
    for written in (out, *([rejects] if rejects is not None else [])):
        if written.resolve() in read:
            raise FileError(written, "is read and would be written; name another file")
        if not written.parent.is_dir():
            raise FileError(written, f"there is no folder {written.parent}")
    if rejects is not None and rejects.resolve() == out.resolve():
        raise FileError(out, "is also the file of rejects; name another one")
    if out.exists() and not (overwrite and out.is_file()):
        raise FileError(out, "is a folder" if out.is_dir() else "is already there; --overwrite replaces it")


def _tell_format(file: Path, name: str, why: str) -> None:
    print(f"{file}: {name}, {why}")


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="pivot-jax convert",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, metavar="IN", help="files, folders of files, or folders that datasets saved")
    add("out", type=Path, metavar="OUT", help="packed by .gz or .zst; .jsonl, .json (one row), .parquet")
    add("--from", dest="read_format", choices=READ_FORMATS, default=AUTO, help="default: told by each file's content")
    add("--to", dest="write_format", choices=WRITE_FORMATS, default=AUTO, help="default: parquet for .parquet, or chat")
    add("--on-bad-row", choices=("fail", "skip"), default="fail", help="stop at the first bad row, or set it aside")
    add("--rejects", type=Path, metavar="FILE", help="where --on-bad-row skip sets rows aside (OUT.rejects.jsonl)")
    add(
        "--tools", type=Path, metavar="FILE", help="JSON: tools of rows without any; a list, or lists by name or domain"
    )
    add("--domain", default="", help="the domain of rows that name none")
    add("--make-ids", action="store_true", help="name rows without an id by file and line")
    add("--agent", default=DEFAULT_AGENT, metavar="NAME", help="the agent that written pivot rows name")
    add(
        "--string-threshold",
        type=float,
        default=0.1,
        help="pivot rows: the word overlap at which labels are checked against themselves (default 0.1)",
    )
    add("--overwrite", action="store_true", help="replace OUT if it is there")
    options = parser.parse_args(words)
    if options.rejects is not None and options.on_bad_row != "skip":
        parser.error("--rejects goes with --on-bad-row skip")
    if not options.string_threshold >= 0.0:
        parser.error("--string-threshold is 0 or more")
    return options


def _refuse(message: str) -> NoReturn:
    print(f"pivot-jax convert: {message}", file=sys.stderr)
    raise SystemExit(2) from None
