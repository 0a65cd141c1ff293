"""The virtual shell: runs a command line on a tree, in process. `sandbox.run` does the same in a real shell."""

from __future__ import annotations

from dataclasses import dataclass

from pivot_jax.domains.terminal import text_commands, tree_commands
from pivot_jax.domains.terminal.filesystem import FileSystem, Refused
from pivot_jax.domains.terminal.process import Command, Process
from pivot_jax.domains.terminal.syntax import Pipeline, Stage, parse

MAX_OUTPUT_CHARACTERS = 65_536

COMMANDS: dict[str, Command] = {
    command.__name__: command
    for command in (
        text_commands.cat,
        text_commands.cut,
        text_commands.echo,
        text_commands.grep,
        text_commands.head,
        text_commands.pwd,
        text_commands.sort,
        text_commands.tail,
        text_commands.tee,
        text_commands.uniq,
        text_commands.wc,
        tree_commands.cp,
        tree_commands.find,
        tree_commands.ls,
        tree_commands.mkdir,
        tree_commands.mv,
        tree_commands.rm,
        tree_commands.touch,
    )
}


@dataclass(frozen=True, slots=True)
class Result:
    """What a command line wrote, its first error in short, its exit code, and the tree it left."""

    stdout: str
    error: str
    code: int
    tree: FileSystem


def run(tree: FileSystem, command: str) -> Result:
    """Run a command line; never raises, whatever the line is."""
    try:
        pipelines = parse(command)
    except Refused as refused:
        return Result("", str(refused), 2, tree)
    result = Result("", "", 0, tree)
    for pipeline in pipelines:
        if pipeline.conditional and result.code:
            continue
        last = _run_pipeline(result.tree, pipeline)
        stdout = result.stdout + last.stdout
        if len(stdout) > MAX_OUTPUT_CHARACTERS:
            return Result("", "limit reached", 1, last.tree)
        result = Result(stdout, result.error or last.error, last.code, last.tree)
    return result


def _run_pipeline(tree: FileSystem, pipeline: Pipeline) -> Result:
    # All stages start together, so every redirection is opened before the first stage has read anything.
    processes: list[Process | None] = []
    error = ""
    for stage in pipeline.stages:
        process = Process(tree, stage.words[1:])
        try:
            _open(process, stage)
            processes.append(process)
        except Refused as refused:
            error = error or str(refused)
            processes.append(None)
        tree = process.tree
    stdout, code = "", 0
    for stage, process in zip(pipeline.stages, processes, strict=True):
        if process is None:
            stdout, code = "", 1
            continue
        process.tree = tree
        if process.input_path is None:
            process.stdin = stdout
        else:
            process.stdin = tree.text(process.input_path) if tree.is_file(process.input_path) else ""
        stdout = _run_stage(process, stage)
        tree, code, error = process.tree, process.code, error or process.error
    return Result(stdout, error, code, tree)


def _open(process: Process, stage: Stage) -> None:
    """Open the redirections of a stage from left to right: output files appear, or lose what they held."""
    for redirect in stage.redirects:
        path = process.tree.resolve(redirect.target)
        if redirect.operator == "<":
            process.tree.text(path)
            process.input_path = path
            continue
        if process.tree.is_directory(path) or redirect.target.endswith("/"):
            raise Refused("is a directory")
        if redirect.operator == ">" or not process.tree.exists(path):
            process.tree = process.tree.write(path, "")
        process.output_path = path
        process.output_size = len(process.tree.text(path))


def _run_stage(process: Process, stage: Stage) -> str:
    """Run one command; what it hands to the next stage."""
    if not stage.words:
        return ""
    command = COMMANDS.get(stage.words[0])
    try:
        if command is None:
            process.fail("unknown command", 127)
        else:
            command(process)
    except Refused as refused:
        process.fail(str(refused))
    stdout = "".join(process.stdout)
    if len(stdout) > MAX_OUTPUT_CHARACTERS:
        process.fail("limit reached")
        return ""
    if process.output_path is None:
        return stdout
    # A command that removed its own output file wrote to a file that no longer has a name.
    if stdout and process.tree.is_file(process.output_path):
        try:
            kept = process.tree.text(process.output_path) if process.output_size else ""
            process.tree = process.tree.write(process.output_path, kept + stdout)
        except Refused as refused:
            process.fail(str(refused))
    return ""
