"""Commands that read text and write text: cat, grep, sort, uniq, wc, head, tail, cut, tee, echo, pwd.

Each behaves as the GNU tool does in the C locale, for the options it accepts; others are refused.
"""

from __future__ import annotations

import functools
import itertools
import re

from pivot_jax.domains.terminal.filesystem import WORKING_DIRECTORY, Refused
from pivot_jax.domains.terminal.process import Process, lines, options, unlines

_NUMBER = re.compile(r"[ \t]*(-?\d*(?:\.\d+)?)")
_PATTERN = re.compile(r"\^?[A-Za-z0-9_ ./:,@%=-]*\$?")


def cat(process: Process) -> None:
    _, _, operands = options(process.arguments, "")
    for operand, text in process.texts(operands):
        path = process.input_path if operand == "-" else process.tree.resolve(operand)
        if path is not None and path == process.output_path and process.output_size:
            process.fail("same file")
        else:
            process.stdout.append(text)


def echo(process: Process) -> None:
    if process.arguments and re.fullmatch(r"-[neE]+", process.arguments[0]):
        raise Refused("bad option")
    process.stdout.append(" ".join(process.arguments) + "\n")


def pwd(process: Process) -> None:
    options(process.arguments, "LP")
    process.stdout.append(WORKING_DIRECTORY + "\n")


def tee(process: Process) -> None:
    flags, _, operands = options(process.arguments, "a")
    process.stdout.append(process.stdin)
    for operand in operands:
        try:
            path = process.tree.resolve(operand)
            if process.tree.is_directory(path) or operand.endswith("/"):
                raise Refused("is a directory")
            kept = process.tree.text(path) if "a" in flags and process.tree.is_file(path) else ""
            process.tree = process.tree.write(path, kept + process.stdin)
        except Refused as refused:
            process.fail(str(refused))


def sort(process: Process) -> None:
    flags, _, operands = options(process.arguments, "rnu")
    everything = [line for _, text in process.texts(operands, code=2) for line in lines(text)]
    if process.code:
        return
    reverse = "r" in flags
    if "n" not in flags:
        ordered = sorted(set(everything) if "u" in flags else everything, reverse=reverse)
    elif "u" in flags:
        ordered = sorted({_number(line): line for line in reversed(everything)}.values(), key=_number, reverse=reverse)
    else:
        ordered = sorted(everything, key=lambda line: (_number(line), line), reverse=reverse)
    process.stdout.append(unlines(ordered))


def _number(line: str) -> float:
    match = _NUMBER.match(line)
    digits = match[1] if match else ""
    return float(digits) if re.search(r"\d", digits) else 0.0


def uniq(process: Process) -> None:
    flags, _, operands = options(process.arguments, "c")
    if len(operands) > 1:
        raise Refused("bad option")
    for _, text in process.texts(operands):
        groups = [(line, len(list(group))) for line, group in itertools.groupby(lines(text))]
        process.stdout.append(unlines([f"{count:7d} {line}" if "c" in flags else line for line, count in groups]))


def wc(process: Process) -> None:
    flags, _, operands = options(process.arguments, "lwc")
    counters = [letter for letter in "lwc" if letter in flags or not flags]
    operands = operands or ["-"]
    irregular, rows = False, []
    for operand in operands:
        # wc counts what it can open, and it can open a directory: a row of zeros beside the error.
        text, is_directory = "", False
        try:
            irregular |= operand == "-" and process.input_path is None
            is_directory = operand != "-" and process.tree.is_directory(process.tree.resolve(operand))
            text = process.text(operand)
        except Refused as refused:
            process.fail(str(refused))
            irregular |= is_directory
            if not is_directory:
                continue
        sizes = {"l": text.count("\n"), "w": len(text.split()), "c": len(text)}
        label = "" if operands == ["-"] else f" {operand}"
        rows.append(([sizes[letter] for letter in counters], len(text), label))
    width = max(len(str(sum(size for _, size, _ in rows))), 7 if irregular else 1)
    if len(operands) == len(counters) == 1:
        width = 1
    if len(operands) > 1:
        totals = [sum(row[column] for row, _, _ in rows) for column in range(len(counters))]
        rows.append((totals, 0, " total"))
    for row, _, label in rows:
        process.stdout.append(" ".join(f"{number:{width}d}" for number in row) + label + "\n")


def head(process: Process) -> None:
    _ends(process, last=False)


def tail(process: Process) -> None:
    _ends(process, last=True)


def _ends(process: Process, *, last: bool) -> None:
    arguments = process.arguments
    if arguments and re.fullmatch(r"-\d+", arguments[0]):
        arguments = ("-n", arguments[0][1:], *arguments[1:])
    _, values, operands = options(arguments, "", "n")
    amount = values.get("n", "10")
    if not re.fullmatch(r"\d{1,6}", amount):
        raise Refused("bad option")
    count, shown = int(amount), 0
    if last and not count:
        return
    for operand in operands or ["-"]:
        text, opens = "", operand == "-" or _opens(process, operand)
        # A directory can be opened, and has its header before reading it fails; for no lines it is not read at all.
        try:
            text = process.text(operand) if count or not opens else ""
        except Refused as refused:
            process.fail(str(refused))
        if not opens:
            continue
        if len(operands) > 1:
            label = "standard input" if operand == "-" else operand
            process.stdout.append(("\n" if shown else "") + f"==> {label} <==\n")
        shown += 1
        every = lines(text)
        process.stdout.append(unlines(every[max(0, len(every) - count) :] if last else every[:count]))


def _opens(process: Process, operand: str) -> bool:
    try:
        return process.tree.exists(process.tree.resolve(operand))
    except Refused:
        return False


def cut(process: Process) -> None:
    _, values, operands = options(process.arguments, "", "df")
    delimiter = values.get("d", "\t")
    if "f" not in values or len(delimiter) != 1:
        raise Refused("bad option")
    wanted = _fields(values["f"])
    for _, text in process.texts(operands):
        cuts = (line.split(delimiter) for line in lines(text))
        process.stdout.append(
            unlines(
                [
                    delimiter.join(
                        part for index, part in enumerate(parts, start=1) if len(parts) == 1 or index in wanted
                    )
                    for parts in cuts
                ]
            )
        )


def _fields(description: str) -> frozenset[int]:
    """The fields that a list such as `1,3-4` names."""
    wanted: set[int] = set()
    for item in description.split(","):
        match = re.fullmatch(r"([1-9]\d{0,2})(?:-([1-9]\d{0,2}))?", item)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise Refused("bad option")
        wanted |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(wanted)


@functools.lru_cache(maxsize=1024)
def _expression(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """The Python expression of a basic regular expression made of literals, `.`, a leading ^ and a final $."""
    if not _PATTERN.fullmatch(pattern):
        raise Refused("bad option")
    body = pattern.removeprefix("^").removesuffix("$")
    source = "".join("." if character == "." else re.escape(character) for character in body)
    source = ("^" if pattern.startswith("^") else "") + source + (r"\Z" if pattern.endswith("$") else "")
    return re.compile(source, re.IGNORECASE if ignore_case else 0)


def grep(process: Process) -> None:
    flags, _, operands = options(process.arguments, "lrcvi", required=1)
    expression = _expression(operands.pop(0), "i" in flags)
    recursive = "r" in flags
    inputs = _grep_inputs(process, operands, recursive)
    prefixed = len(operands) > 1 or any(below for _, below in inputs)
    selected = False
    for operand, _ in inputs:
        label = "(standard input)" if operand == "-" else operand
        prefix = f"{label}:" if prefixed else ""
        try:
            path = process.input_path if operand == "-" else process.tree.resolve(operand)
            if path is not None and path == process.output_path and not flags & {"l", "c"}:
                raise Refused("same file")
            text = process.text(operand)
        except Refused as refused:
            process.fail(str(refused), 2)
            # grep counts what it can open, and it can open a directory.
            if "c" in flags and "l" not in flags and str(refused) == "is a directory":
                process.stdout.append(f"{prefix}0\n")
            continue
        found = [line for line in lines(text) if (expression.search(line) is None) == ("v" in flags)]
        selected = selected or bool(found)
        if "l" in flags:
            process.stdout.append(f"{label}\n" if found else "")
        elif "c" in flags:
            process.stdout.append(f"{prefix}{len(found)}\n")
        else:
            process.stdout.append(unlines([prefix + line for line in found]))
    if not selected and not process.code:
        process.code = 1


def _grep_inputs(process: Process, operands: list[str], recursive: bool) -> list[tuple[str, bool]]:
    """(operand, found below a directory) of everything to be searched."""
    if not recursive:
        return [(operand, False) for operand in operands or ["-"]]
    inputs: list[tuple[str, bool]] = []
    for operand in operands or ["."]:
        try:
            path = "" if operand == "-" else process.tree.resolve(operand)
        except Refused as refused:
            process.fail(str(refused), 2)
            continue
        if operand == "-" or not process.tree.is_directory(path):
            inputs.append((operand, False))
            continue
        # Without an operand the working directory is searched, and names are shown without `./`.
        start = "" if not operands else operand if operand.endswith("/") else f"{operand}/"
        skip = len(path) + 1 if path else 0
        inputs += [(start + p[skip:], True) for p in process.tree.below(path) if process.tree.is_file(p)]
    return inputs
