"""Bounds on what checked code may use: a tree transformation that counts steps and guards sizes.

Every loop, comprehension and call takes steps from one budget; sums, products and powers are refused before they grow
too large; lists stay flat, so that comparing two is never slow. Nothing is timed: the same code always ends alike.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from pivot_jax.domains.coding.language import BUILTINS

MAX_STEPS = 500
MAX_ITEMS = 300
MAX_BITS = 200
_RECURSION_STEPS = 10
_SIZED = (list, tuple, range)


class OutOfSteps(Exception):
    """The code ran longer than it may."""


class OutOfSpace(Exception):
    """The code made something larger than it may."""


class Meter:
    """The budget of one call, and the guarded operations that the transformed tree names."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS

    def names(self) -> dict[str, Any]:
        """What the transformed code sees besides its own function."""
        plain: dict[str, Any] = {name: _BUILTINS[name] for name in BUILTINS}
        guards: tuple[Callable[..., Any], ...] = (self.tick, self.each, self.call, *_GUARDS)
        return {"__builtins__": {}, **plain, **{f"_{guard.__name__}": guard for guard in guards}}

    def tick(self, steps: int = 1) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise OutOfSteps

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        # What cannot be iterated fails here and not at the first value, as in a plain loop.
        return self._ticking(iter(values))

    def _ticking(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.tick()
            yield value

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        # A function written in Python may be the code itself: a high price bounds the depth of recursion.
        price = _RECURSION_STEPS if isinstance(function, FunctionType) else 1
        self.tick(price + sum(len(argument) for argument in arguments if isinstance(argument, _SIZED)))
        return function(*arguments, **options)


def metered(tree: ast.Module) -> ast.Module:
    """The tree with every guard in place; the tree given is used up."""
    return ast.fix_missing_locations(_Transformer().visit(tree))


def scalar(value: Any) -> Any:
    """The value, which must not be a list: lists stay flat."""
    if value is None or isinstance(value, (int, float)):
        return value
    raise TypeError("a list holds numbers only")


def flat(values: Any) -> Any:
    for value in values:
        scalar(value)
    return values


def bounded_range(*limits: int) -> range:
    values = range(*limits)
    # `len` fails on a range too long for a machine integer; slicing it does not.
    if len(values[: MAX_ITEMS + 1]) > MAX_ITEMS:
        raise OutOfSpace
    return values


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, (list, tuple)) and isinstance(right, _SIZED) and len(left) + len(right) > MAX_ITEMS:
        raise OutOfSpace


def _check_product(left: Any, right: Any) -> None:
    for items, times in ((left, right), (right, left)):
        if isinstance(items, (list, tuple)) and isinstance(times, int) and len(items) * times > MAX_ITEMS:
            raise OutOfSpace
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_BITS:
        raise OutOfSpace


def add(left: Any, right: Any) -> Any:
    _check_sum(left, right)
    return left + right


def add_in_place(left: Any, right: Any) -> Any:
    _check_sum(left, right)
    return operator.iadd(left, right)


def multiply(left: Any, right: Any) -> Any:
    _check_product(left, right)
    return left * right


def multiply_in_place(left: Any, right: Any) -> Any:
    _check_product(left, right)
    return operator.imul(left, right)


def power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and left.bit_length() * right > MAX_BITS:
        raise OutOfSpace
    return left**right


_GUARDS = (scalar, flat, add, add_in_place, multiply, multiply_in_place, power)
_BUILTINS: dict[str, Any] = {
    "len": len, "min": min, "max": max, "sum": sum, "abs": abs, "sorted": sorted, "range": bounded_range, "list": list,
    "int": int, "bool": bool, "reversed": reversed, "all": all, "any": any,
}  # fmt: skip


class _Transformer(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.iter = _guarded("each", node.iter)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_guarded("tick")))
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.iter = _guarded("each", node.iter)
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        self.generic_visit(node)
        node.elt = _guarded("scalar", node.elt)
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        self.generic_visit(node)
        node.elt = _guarded("scalar", node.elt)
        return node

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        return _guarded("flat", node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        self.generic_visit(node)
        return _guarded("flat", node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            return ast.Call(ast.Name("_call", ast.Load()), [node.func, *node.args], node.keywords)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        guard = {ast.Add: "add", ast.Mult: "multiply", ast.Pow: "power"}.get(type(node.op))
        return _guarded(guard, node.left, node.right) if guard else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        guard = {ast.Add: "add_in_place", ast.Mult: "multiply_in_place", ast.Pow: "power"}.get(type(node.op))
        if guard is None or not isinstance(node.target, ast.Name):
            return node
        return ast.Assign([node.target], _guarded(guard, ast.Name(node.target.id, ast.Load()), node.value))


def _guarded(guard: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(f"_{guard}", ast.Load()), list(arguments), [])
