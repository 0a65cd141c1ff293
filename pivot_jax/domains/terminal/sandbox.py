"""The same command line in a real shell, inside bubblewrap: the truth that the virtual shell is compared with.

Nothing of the host can be written: the tree goes in as a tar stream, lives on a small tmpfs that is the command's
only lasting place, and comes back as a tar stream. There is no network, no /proc, no environment; time, memory,
processes and file sizes are limited; every process dies with the sandbox.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
from dataclasses import dataclass

from pivot_jax.domains.terminal.filesystem import WORKING_DIRECTORY, FileSystem
from pivot_jax.domains.terminal.shell import Result

_NOBODY = 65534
_GRACE_SECONDS = 5.0

# The driver runs the command with limits, ends whatever it left running, then writes the tree and the command's
# output to its own stdout, which the command never holds.
_DRIVER = """
tar -xf - --no-same-owner -C "$TASK" || exit 125
cd "$TASK"
(
  ulimit -c 0 -t "$CPU" -v "$MEMORY" -u "$PROCESSES" -f "$FILE" || exit 125
  exec env -i PATH="$PATH" LC_ALL=C HOME="$TASK" timeout --signal=KILL "$SECONDS_LIMIT" bash -c "$COMMAND"
) </dev/null >/out/stdout 2>/out/stderr
code=$?
kill -KILL -1 2>/dev/null
tar -cf - -C / "${TASK#/}" out 2>/dev/null | head -c "$TOTAL"
exit $code
"""


@dataclass(frozen=True)
class Limits:
    """What one command line may use. Sizes are bytes, `file` and `memory` of each file and process."""

    seconds: float = 5.0
    cpu_seconds: int = 2
    memory: int = 512 << 20
    processes: int = 64
    file: int = 1 << 20
    tree: int = 16 << 20
    output: int = 65_536
    entries: int = 50_000


DEFAULT_LIMITS = Limits()


def run(tree: FileSystem, command: str, limits: Limits = DEFAULT_LIMITS) -> Result:
    """Run a command line on a copy of `tree` in the sandbox.

    Returns:
        What the shell wrote (latin-1, cut at `limits.output`), its first error in short, its exit code, and the tree
        it left; a link, socket or device in that tree appears as a file whose text starts with a NUL.

    Raises:
        RuntimeError: bubblewrap is not installed, or could not start the shell.
    """
    if "\0" in command:
        return Result("", "bad syntax", 2, tree)
    process = subprocess.Popen(
        _confinement(command.encode("utf-8", "surrogateescape" if command.isascii() else "replace"), limits),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # The limit on processes does not bind root, so the shell never runs as root.
        user=_NOBODY if os.geteuid() == 0 else None,
        group=_NOBODY if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
    )
    try:
        archive, failure = process.communicate(_pack(tree), timeout=limits.seconds + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Result("", "limit reached", 124, tree)
    if process.returncode == 125 or (not archive and failure.startswith(b"bwrap:")):
        raise RuntimeError(f"the sandbox did not start: {failure.decode('latin-1').strip()}")
    return _unpack(archive, process.returncode, tree, limits)


def _confinement(command: bytes, limits: Limits) -> list[str | bytes]:
    """The bubblewrap command line."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise RuntimeError("bwrap is not installed; install the Debian package bubblewrap to run commands for real")
    settings: dict[str, str | bytes] = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "TASK": WORKING_DIRECTORY,
        "COMMAND": command,
        "CPU": str(limits.cpu_seconds),
        "MEMORY": str(limits.memory >> 10),
        "PROCESSES": str(limits.processes),
        "FILE": str(limits.file >> 10),
        "SECONDS_LIMIT": str(limits.seconds),
        "TOTAL": str(4 * limits.tree),
    }
    words: list[str | bytes] = [bubblewrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    for key, value in settings.items():
        words += ["--setenv", key, value]
    words += ["--ro-bind", "/usr", "/usr"]
    for folder in ("bin", "lib", "lib64"):
        if os.path.exists(f"/{folder}"):
            words += ["--symlink", f"usr/{folder}", f"/{folder}"]
    words += ["--dev", "/dev", "--remount-ro", "/dev"]
    for folder in (WORKING_DIRECTORY, "/out"):
        words += ["--size", str(limits.tree), "--tmpfs", folder]
    return [*words, "--remount-ro", "/", "--chdir", WORKING_DIRECTORY, "/usr/bin/bash", "-c", _DRIVER]


def _pack(tree: FileSystem) -> bytes:
    """The tree as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in sorted(tree.entries.items()):
            member = tarfile.TarInfo(path)
            if text is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                data = text.encode("latin-1")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _unpack(archive: bytes, code: int, before: FileSystem, limits: Limits) -> Result:
    """Read the driver's archive; a tree beyond the limits counts as a failed command that left `before`."""
    entries: dict[str, str | None] = {}
    streams = {"out/stdout": "", "out/stderr": ""}
    root = WORKING_DIRECTORY[1:]
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as members:
            for member in members:
                path = member.name.encode("utf-8", "surrogateescape").decode("latin-1")
                content = members.extractfile(member) if member.isreg() else None
                text = content.read().decode("latin-1") if content is not None else f"\0{member.linkname}"
                if len(entries) > limits.entries:
                    return Result("", "limit reached", code or 1, before)
                if path in streams:
                    streams[path] = text[: limits.output]
                elif path.startswith(f"{root}/"):
                    entries[path[len(root) + 1 :]] = None if member.isdir() else text
    except tarfile.ReadError:
        return Result("", "limit reached", code or 1, before)
    return Result(streams["out/stdout"], _in_short(streams["out/stderr"], code), code, FileSystem(entries))


_KILLED = (128 + signal.SIGKILL, 128 + signal.SIGXCPU, 128 + signal.SIGXFSZ)
_SHORT = (
    ("No such file", "no such file"),
    ("Not a directory", "not a directory"),
    ("not a directory", "not a directory"),
    ("exists", "file exists"),
    ("not empty", "file exists"),
    ("same file", "same file"),
    ("itself", "same file"),
    ("directory", "is a directory"),
    ("command not found", "unknown command"),
    ("missing", "missing operand"),
    ("syntax error", "bad syntax"),
    ("option", "bad option"),
)
"""What the tools say, and the virtual shell's words for it; the first that fits."""


def _in_short(stderr: str, code: int) -> str:
    """The first line of stderr in the virtual shell's words."""
    if code in _KILLED:
        return "limit reached"
    first = stderr.partition("\n")[0]
    if not first:
        return ""
    return next((short for needle, short in _SHORT if needle in first), "failed")
