"""The virtual shell: hand-computed outputs, refusals, limits."""

from __future__ import annotations

import random
import string

import pytest

from pivot_jax.domains.terminal import shell
from pivot_jax.domains.terminal.filesystem import MAX_ENTRIES, MAX_FILE_CHARACTERS, FileSystem, Refused
from pivot_jax.domains.terminal.syntax import parse

TREE = FileSystem.of(
    {"docs/a.txt": "b x\na y\nb x\n", "logs/app.log": "error disk\nwarn net\nerror cpu\n", "n.txt": "10\n9\n-1\n"},
    ["old"],
)


def out(command: str) -> str:
    result = shell.run(TREE, command)
    assert result.code == 0, result
    return result.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls", "docs\nlogs\nn.txt\nold\n"),
        ("ls docs old", "docs:\na.txt\n\nold:\n"),
        ("ls -R", ".:\ndocs\nlogs\nn.txt\nold\n\n./docs:\na.txt\n\n./logs:\napp.log\n\n./old:\n"),
        ("cat docs/a.txt n.txt", "b x\na y\nb x\n10\n9\n-1\n"),
        ("grep -c error logs/app.log", "2\n"),
        ("grep -rl x .", "./docs/a.txt\n"),
        ("grep -v -i ERROR logs/app.log", "warn net\n"),
        ("grep -r x", "docs/a.txt:b x\ndocs/a.txt:b x\n"),
        ("grep -c '^b' docs/a.txt n.txt", "docs/a.txt:2\nn.txt:0\n"),
        ("sort docs/a.txt", "a y\nb x\nb x\n"),
        ("sort n.txt", "-1\n10\n9\n"),
        ("sort -n n.txt", "-1\n9\n10\n"),
        ("sort -r -u docs/a.txt", "b x\na y\n"),
        ("sort docs/a.txt | uniq -c", "      1 a y\n      2 b x\n"),
        ("wc -l docs/a.txt", "3 docs/a.txt\n"),
        ("wc -l -w < docs/a.txt", " 3  6\n"),
        ("head -n 1 docs/a.txt", "b x\n"),
        ("tail -1 n.txt", "-1\n"),
        ("head -n 1 docs/a.txt n.txt", "==> docs/a.txt <==\nb x\n\n==> n.txt <==\n10\n"),
        ("find . -name app.log", "./logs/app.log\n"),
        ("find docs -type f", "docs/a.txt\n"),
        ("find -name '*.txt' | wc -l", "2\n"),
        ("cut -d ' ' -f 2 logs/app.log", "disk\nnet\ncpu\n"),
        ("echo 'a  b' \"c\"d", "a  b cd\n"),
        ("pwd", "/task\n"),
        ("cat /task/n.txt ./docs/../n.txt", "10\n9\n-1\n10\n9\n-1\n"),
        ("cat nope ; echo after", "after\n"),
        ("echo a > f && cat < f >> f2 ; cat f f2", "a\na\n"),
    ],
)
def test_output(command: str, expected: str) -> None:
    assert out(command) == expected


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("mv n.txt old", {"docs/a.txt", "logs/app.log", "old/n.txt"}),
        ("mv docs old", {"old/docs/a.txt", "logs/app.log", "n.txt"}),
        ("cp -r docs old/", {"docs/a.txt", "old/docs/a.txt", "logs/app.log", "n.txt"}),
        ("rm -r logs && rm -f nope", {"docs/a.txt", "n.txt"}),
        ("mkdir -p a/b && touch a/b/c", {"docs/a.txt", "logs/app.log", "n.txt", "a/b/c"}),
        ("echo x | tee t | tee -a n.txt", {"docs/a.txt", "logs/app.log", "n.txt", "t"}),
        ("rm -r -f /task", set()),
    ],
)
def test_tree(command: str, paths: set[str]) -> None:
    assert {path for path, _ in shell.run(TREE, command).tree.files()} == paths


def test_a_file_sorted_into_itself_is_emptied_before_it_is_read() -> None:
    for command in ("sort n.txt > n.txt", "cat n.txt | sort > n.txt"):
        assert shell.run(TREE, command).tree.text("n.txt") == ""


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("cat nope", "no such file"),
        ("cat docs", "is a directory"),
        ("cat n.txt/x", "not a directory"),
        ("cat ../../etc/passwd", "no such file"),
        ("cat /etc/passwd", "no such file"),
        ("mv n.txt n.txt", "same file"),
        ("mkdir docs", "file exists"),
        ("juggle", "unknown command"),
        ("ls -l", "bad option"),
        ("rm", "missing operand"),
        ("ls && nope", "unknown command"),
        *((command, "bad syntax") for command in ("ls |", "| ls", "ls ;; ls", "ls &", "cat <", "echo $HOME", "ls *")),
        *((command, "bad syntax") for command in ("echo `ls`", "(ls)", "ls 2> x", "echo 'a", "a\nb", "", "echo é")),
    ],
)
def test_refusals(command: str, error: str) -> None:
    result = shell.run(TREE, command)
    assert (result.error, result.code != 0) == (error, True)
    assert result.tree.digest() == TREE.digest()


def test_everything_is_bounded() -> None:
    tree = FileSystem.of({"a": "x" * 99 + "\n"})
    for _ in range(40):
        tree = shell.run(tree, "cat a a a a > b && mv b a").tree
    assert all(len(text) <= MAX_FILE_CHARACTERS for _, text in tree.files())
    for number in range(2 * MAX_ENTRIES):
        tree = shell.run(tree, f"touch f{number}").tree
    assert len(tree.entries) == MAX_ENTRIES
    big = FileSystem.of({"a": "x\n" * (MAX_FILE_CHARACTERS // 2)})
    assert shell.run(big, "cat " + "a " * 190).error == "limit reached"
    assert shell.run(big, "cat a | " * 12 + "cat").error == "limit reached"
    assert shell.run(big, "ls " * 200).error == "limit reached"
    assert shell.run(big, "cat a a ; cat a a ; cat a").error == "limit reached"


def test_no_text_makes_it_raise() -> None:
    rng = random.Random(0)
    pieces = [
        *shell.COMMANDS,
        *string.printable,
        "docs",
        "n.txt",
        "-",
        "--",
        "-n",
        "-r",
        "..",
        "/",
        ">>",
        "&&",
        "é",
        "\0",
    ]
    for _ in range(5000):
        command = rng.choice(("", " ")).join(rng.choice(pieces) for _ in range(rng.randrange(12)))
        result = shell.run(TREE, command)
        assert result.code != 0 or not result.error or "|" in command or ";" in command


def test_the_tree_is_never_changed_in_place() -> None:
    digest = TREE.digest()
    shell.run(TREE, "rm -r docs ; echo x > n.txt ; mkdir new ; mv logs old")
    assert TREE.digest() == digest


def test_digest_tells_directories_files_and_text_apart() -> None:
    trees = [{}, {"a": None}, {"a": ""}, {"a": "x"}, {"b": "x"}, {"a": None, "a/b": ""}]
    assert len({FileSystem(entries).digest() for entries in trees}) == len(trees)
    assert FileSystem({"a": "x", "b": "y"}).digest() == FileSystem({"b": "y", "a": "x"}).digest()


@pytest.mark.parametrize("word", ["", "nope/x", "n.txt/", "n.txt/.", "../x", "/", "x" * 300])
def test_paths_that_lead_nowhere(word: str) -> None:
    with pytest.raises(Refused):
        TREE.resolve(word)


@pytest.mark.parametrize(
    ("word", "path"), [(".", ""), ("./docs/", "docs"), ("docs/..", ""), ("../task/n.txt", "n.txt"), ("/task", "")]
)
def test_paths(word: str, path: str) -> None:
    assert TREE.resolve(word) == path


def test_parsing_keeps_quoted_operators_as_words() -> None:
    (pipeline,) = parse("echo 'a | b' \"c > d\">f")
    (stage,) = pipeline.stages
    assert stage.words == ("echo", "a | b", "c > d")
    assert [(redirect.operator, redirect.target) for redirect in stage.redirects] == [(">", "f")]
