"""The part of Python that an edit may be written in: its words, and what a checked syntax tree may hold.

Whatever passes here can do nothing but compute with numbers and flat lists; `meter` bounds how long and how large.
"""

from __future__ import annotations

import ast
import re

MAX_CHARACTERS = 100
MAX_NUMBER = 99
LOCALS = ("i", "t")
BUILTINS = (
    "len", "min", "max", "sum", "abs", "sorted", "range", "list", "int", "bool", "reversed", "all", "any",
)  # fmt: skip
METHODS = ("count", "index")

_WORD = re.compile(r"[A-Za-z_]\w*|\d+|\*\*=|//=|[*/<>=!+\-%&|^]=|\*\*|//|[-+*/%<>=&|^()\[\],:.]", re.ASCII)
_NODES = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.If,
    ast.For, ast.While, ast.Pass, ast.Break, ast.Continue, ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp,
    ast.Call, ast.keyword, ast.Name, ast.Constant, ast.List, ast.Tuple, ast.Subscript, ast.Slice, ast.ListComp,
    ast.GeneratorExp, ast.comprehension, ast.Attribute, ast.expr_context, ast.operator, ast.boolop, ast.unaryop,
    ast.cmpop,
)  # fmt: skip
_OPERATORS_REFUSED = (ast.Is, ast.IsNot, ast.Invert, ast.LShift, ast.RShift, ast.MatMult)


class Refused(Exception):
    """An edit that is not carried out; the text is the kind of error that the policy reads."""


def normalised(text: str) -> str:
    """The text of one line with a single space between its words.

    Raises:
        Refused: "limit" when it is too long, "syntax" when it holds something that is no word of the language, or
            cannot stand without the line before it.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused("limit")
    words = _WORD.findall(text)
    if "".join(words) != text.replace(" ", "") or not words or words[0] in ("else", "elif"):
        raise Refused("syntax")
    return " ".join(words)


def checked(source: str) -> ast.Module:
    """The syntax tree of one function.

    Args:
        source: a `def` whose lines are normalised and indented.

    Raises:
        Refused: "syntax" when it is not Python, "forbidden" when it is Python that is not allowed here, "name" for
            a name that the function does not know.
    """
    try:
        tree = ast.parse(source)
    # The parser's own stack may overflow before the length limit tells.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refused("syntax") from None
    if len(tree.body) != 1 or not isinstance(function := tree.body[0], ast.FunctionDef):
        raise Refused("forbidden")
    # Texts cannot be written in an edit: a string here is the docstring that the file came with.
    if ast.get_docstring(function, clean=False) is not None:
        del function.body[0]
    names = {function.name, *BUILTINS, *LOCALS, *(argument.arg for argument in function.args.args)}
    for node in ast.walk(tree):
        _check(node, function, names)
    return tree


def _check(node: ast.AST, function: ast.FunctionDef, names: set[str]) -> None:
    if not isinstance(node, _NODES) or isinstance(node, _OPERATORS_REFUSED):
        raise Refused("forbidden")
    if isinstance(node, ast.FunctionDef) and node is not function:
        raise Refused("forbidden")
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise Refused("name")
        if isinstance(node.ctx, ast.Store) and (node.id in BUILTINS or node.id == function.name):
            raise Refused("forbidden")
    elif isinstance(node, ast.Constant):
        if not (node.value is None or isinstance(node.value, int)) or (node.value or 0) > MAX_NUMBER:
            raise Refused("forbidden")
    elif isinstance(node, ast.Call):
        # What is called must be written out: a function by its name, a method after its dot.
        named = isinstance(node.func, ast.Name) and node.func.id in (*BUILTINS, function.name)
        if not named and not isinstance(node.func, ast.Attribute):
            raise Refused("forbidden")
        if any(keyword.arg != "reverse" for keyword in node.keywords):
            raise Refused("name")
    elif isinstance(node, ast.Attribute):
        if node.attr not in METHODS:
            raise Refused("forbidden")
    elif isinstance(node, (ast.Assign, ast.For, ast.AugAssign, ast.comprehension)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            raise Refused("forbidden")
    elif isinstance(node, ast.Subscript) and not isinstance(node.value, (ast.Name, ast.Call, ast.Subscript, ast.List)):
        # The compiler warns about some others, and none is of use.
        raise Refused("forbidden")
