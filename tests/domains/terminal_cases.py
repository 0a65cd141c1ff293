"""Random command lines, and many real shells in one sandbox, for comparing the two engines."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pivot_jax.domains.terminal import sandbox
from pivot_jax.domains.terminal.filesystem import FileSystem
from pivot_jax.domains.terminal.shell import Result

Case = tuple[FileSystem, str]

FOLDERS = ("docs", "logs", "old", "docs/deep")
FILES = ("docs/a.txt", "docs/deep/b.txt", "logs/app.log", "c.txt", "logs/n.txt")
LINES = (
    "error disk",
    "warn user",
    "Error net",
    "info",
    "10 x",
    "9 x",
    "2 disk",
    "-3 y",
    "warn user",
    "",
    "a:b:c",
    "b  c",
)
WORDS = ("error", "disk", "user", "^warn", "'x$'", "zzz", "a.b", "o")
WIDE_LIMITS = sandbox.Limits(seconds=120, cpu_seconds=60, processes=512)

_DRIVER = """
for case in [0-9]*; do
  cd "$case/tree" && bash -c "$(cat ../command)" </dev/null >../stdout 2>../stderr
  code=$?
  cd ../..
  echo $code > "$case/code"
done
"""


def random_tree(rng: random.Random) -> FileSystem:
    """A small tree: some of the files, each with 0 to 6 lines, some with equal content."""
    files = {
        path: "".join(f"{rng.choice(LINES)}\n" for _ in range(rng.randrange(7))) for path in FILES if rng.random() < 0.8
    }
    return FileSystem.of(files, [folder for folder in FOLDERS if rng.random() < 0.8])


def random_command(rng: random.Random) -> str:
    """A command line inside the supported grammar; most succeed, many fail on purpose."""
    line = _pipeline(rng)
    for _ in range(3):
        if rng.random() < 0.3:
            line += rng.choice((" && ", " ; ", ";", "&&")) + _pipeline(rng)
    return line


def _path(rng: random.Random, *, new: float = 0.1) -> str:
    path = rng.choice((*FILES, *FILES, *FOLDERS))
    if rng.random() < new:
        path = rng.choice(("new.txt", "docs/new.txt", "nope/x", "c.txt/x", "fresh", "docs/fresh"))
    prefix = rng.choice(("", "", "", "", "./", "docs/../", ".//"))
    return prefix + path + ("/" if rng.random() < 0.06 else "")


def _paths(rng: random.Random, low: int, high: int) -> str:
    return " ".join(_path(rng) for _ in range(rng.randint(low, high)))


def _options(rng: random.Random, *choices: str) -> str:
    return "".join(f"{option} " for option in choices if rng.random() < 0.3)


def _reader(rng: random.Random, low: int) -> str:
    """A command that reads files, or stdin when it is given none."""
    files = _paths(rng, low, 2)
    word = rng.choice(WORDS)
    return rng.choice(
        (
            f"cat {files}",
            f"grep {_options(rng, '-c', '-v', '-i', '-l')}{word} {files}",
            f"grep {word} {files} {_options(rng, '-c', '-l')}",
            f"sort {_options(rng, '-r', '-n', '-u')}{files}",
            f"uniq {_options(rng, '-c')}{_path(rng) if low else ''}",
            f"wc {_options(rng, '-l', '-w', '-c')}{files}",
            f"head -n {rng.randrange(4)} {files}",
            f"tail -n {rng.randrange(4)} {files}",
            f"head -{rng.randrange(4)} {_path(rng) if low else ''}",
            f"cut -d {rng.choice((':', chr(39) + ' ' + chr(39)))} -f {rng.choice(('1', '2', '1,3', '2-3'))} {files}",
        )
    ).strip()


def _changer(rng: random.Random) -> str:
    target = "." if rng.random() < 0.1 else _path(rng, new=0.5)
    # A directory is never copied into itself: the real cp then leaves half a copy, the virtual one none.
    source, *places = rng.sample(("logs", "old", "docs/deep", "docs/a.txt", "c.txt", "nope"), 3)
    return rng.choice(
        (
            f"mv {_path(rng)} {target}",
            f"mv {_path(rng)} {_path(rng)} {target}",
            f"cp {_path(rng)} {target}",
            f"cp {_path(rng)} {_path(rng)} {target}",
            f"cp -r {source} {rng.choice((*places, 'docs', 'docs/fresh', 'fresh'))}",
            f"cp -r {source} {places[0]} {rng.choice((places[1], 'docs'))}",
            f"rm {_options(rng, '-r', '-f')}{_paths(rng, 1, 2)}",
            f"mkdir {_options(rng, '-p')}{target}",
            f"mkdir -p {target}/more/deep",
            f"touch {target}",
            f"echo {rng.choice(LINES) or 'word'} > {target}",
            f"echo 'some words' >> {target}",
            f"> {target}",
        )
    )


def _lister(rng: random.Random) -> str:
    test = rng.choice(("", "-type f", "-type d", "-name a.txt", "-name '*.txt'", "-name '?.txt' -type f", "-name docs"))
    return rng.choice(
        (
            f"ls {_options(rng, '-R')}{_paths(rng, 0, 2)}",
            f"find {_paths(rng, 0, 2)} {test} | sort",
            f"find {_paths(rng, 0, 1)} {test} | wc -l",
            f"grep -r {_options(rng, '-l', '-c', '-i')}{rng.choice(WORDS)} {_paths(rng, 0, 2)} | sort",
        )
    ).strip()


def _pipeline(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return _changer(rng)
    if kind < 0.5:
        return _lister(rng)
    line = _reader(rng, 1) if rng.random() < 0.85 else f"{_reader(rng, 0)} < {rng.choice(FILES)}"
    spaced = rng.choice((" ", ""))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        line += f"{spaced}|{spaced}" + _reader(rng, 0)
    if rng.random() < 0.35:
        # A name that nothing reads: which stage opens a shared file first is a race in a real shell.
        line += f" {rng.choice(('>', '>>'))} {rng.choice(('out.txt', 'docs/out.txt', 'nope/out.txt', 'docs'))}"
    elif rng.random() < 0.1:
        line += f" | tee {_options(rng, '-a')}out.txt"
    return line


def run_together(cases: Sequence[Case]) -> list[Result]:
    """Run every case in its own directory, by its own bash, 200 of them in one sandbox."""
    return [result for start in range(0, len(cases), 200) for result in _run_batch(cases[start : start + 200])]


def _run_batch(cases: Sequence[Case]) -> list[Result]:
    entries: dict[str, str | None] = {}
    for index, (tree, command) in enumerate(cases):
        entries[str(index)] = entries[f"{index}/tree"] = None
        entries[f"{index}/command"] = command
        entries |= {f"{index}/tree/{path}": text for path, text in tree.entries.items()}
    after = sandbox.run(FileSystem(entries), _DRIVER, WIDE_LIMITS).tree.entries
    results = []
    for index in range(len(cases)):
        prefix = f"{index}/tree/"
        tree = FileSystem({path[len(prefix) :]: text for path, text in after.items() if path.startswith(prefix)})
        code = int(after[f"{index}/code"] or "the batch ended early")
        results.append(Result(after[f"{index}/stdout"] or "", after[f"{index}/stderr"] or "", code, tree))
    return results
