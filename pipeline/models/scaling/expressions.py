"""Processing expressions of gdal-calc that are chains of numbers on one band: ``clip(A, 0, 3000) / 3000``."""

from __future__ import annotations

import ast
import math
from typing import Final

from segment_tiles.pipeline.library_messages import ignored_warnings
from segment_tiles.pipeline.models.scaling.scaling import Chain, Operation

BAND: Final = "A"
"""What stands for the values of the band."""
LONGEST: Final = 1000
"""Characters of an expression."""
NEEDED: Final = (
    "only a chain of +, -, *, /, clip, minimum and maximum with numbers on one band A is understood, such as "
    "clip(A, 0, 3000) / 3000"
)


def chain_of_expression(text: str) -> Chain:
    """Return the operations of an expression; nothing of it is executed.

    >>> [str(operation) for operation in chain_of_expression("clip(A, 0, 3000) / 3000")]
    ['clip 0, 3000', 'scale 3000']

    Raises
    ------
    ValueError
        If it is no such chain.
    """
    if len(text) > LONGEST:
        raise ValueError(NEEDED)
    try:
        with ignored_warnings():  # of literals that Python will not have one day
            parsed = ast.parse(text.strip(), mode="eval")
        chain = _chain(parsed.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(NEEDED) from error
    return chain


def _chain(node: ast.expr) -> Chain:
    if isinstance(node, ast.Name) and node.id == BAND:
        return ()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return (*_chain(node.operand), Operation("scale", -1.0))
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        if right is not None:
            return (*_chain(node.left), _by_number(node.op, right))
        if left is not None:
            return (*_chain(node.right), *_number_by(node.op, left))
    if isinstance(node, ast.Call) and not node.keywords:
        return _called(node)
    raise ValueError(NEEDED)


def _by_number(operator: ast.operator, number: float) -> Operation:
    """Return what is done to values: ``A - 3``."""
    if isinstance(operator, ast.Add):
        return Operation("offset", -number)
    if isinstance(operator, ast.Sub):
        return Operation("offset", number)
    if isinstance(operator, ast.Mult):
        return Operation("scale", 1 / number)
    if isinstance(operator, ast.Div):
        return Operation("scale", number)
    raise ValueError(NEEDED)


def _number_by(operator: ast.operator, number: float) -> Chain:
    """Return what is done to values that stand behind a number: ``3 - A``."""
    if isinstance(operator, ast.Add | ast.Mult):
        return (_by_number(operator, number),)
    if isinstance(operator, ast.Sub):
        return Operation("scale", -1.0), Operation("offset", -number)
    raise ValueError(NEEDED)


def _called(node: ast.Call) -> Chain:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    numbers = [_number(entry) for entry in node.args]
    values = [entry for entry, number in zip(node.args, numbers, strict=True) if number is None]
    known = [number for number in numbers if number is not None]
    if len(values) != 1:
        raise ValueError(NEEDED)
    chain = _chain(values[0])
    if name == "clip" and len(known) == 2 and numbers[0] is None:
        return (*chain, Operation("clip", known[0], known[1]))
    if name in {"maximum", "minimum"} and len(known) == 1:
        return (*chain, Operation("clip-min" if name == "maximum" else "clip-max", known[0]))
    raise ValueError(NEEDED)


def _number(node: ast.expr) -> float | None:
    """Return the number that an expression without the band is; None if it has the band."""
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
    ):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _number(node.operand)
        return None if number is None else -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.BinOp):
        left, right = _number(node.left), _number(node.right)
        if left is not None and right is not None:
            found = _calculated(node.op, left, right)
            if math.isfinite(found):
                return found
    return None


def _calculated(operator: ast.operator, left: float, right: float) -> float:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Div):
        return left / right
    raise ValueError(NEEDED)
