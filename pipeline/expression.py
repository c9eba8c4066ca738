"""Filters people write, `price > 10 and kind in ["a", "b"]`, as pyarrow expressions.

Parsed by Python's own `ast` and rebuilt from a short list of node types; nothing is evaluated. A
null compares as SQL has it: the record does not pass.
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ConfigError
from pipeline.sources.base import unknown_column

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GRAMMAR = "column == 1, != < <= > >=, in [...], is None, and, or, not, parentheses"
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<odd>`[^`]*`)|(?P<word>\w+)"""
    r"""|(?P<equal>(?<![=<>!])=(?!=))|(?P<other><>)"""
)
_WORDS = {"AND": "and", "OR": "or", "NOT": "not", "IN": "in", "IS": "is", "NULL": "None"}
_WORDS |= {word.lower(): value for word, value in _WORDS.items()}
_CONSTANTS = {"true": "True", "false": "False", "TRUE": "True", "FALSE": "False", "None": "None"}
_DEPTH = 50


def parse(text: str, schema: pa.Schema | None = None) -> pc.Expression:
    """A filter expression over columns.

    Python's operators; SQL's spellings of them (`=`, `<>`, AND, OR, NOT, IN, IS NULL, true, false)
    mean the same. Odd column names go between backticks.

    Args:
        text: for example `price > 10 and kind in ["a", "b"]`.
        schema: the columns there are, to check names and types; None checks neither.

    Raises:
        ConfigError: the text is no such expression, or doesn't fit the columns.
    """
    tree, names = _tree(text)
    expression = _build(tree, text, names)
    if schema is not None:
        for name in sorted(_columns(tree, names)):
            if name not in schema.names:
                raise unknown_column(name, schema.names, f"the filter {text!r}: the source")
        try:
            schema.empty_table().filter(expression)
        except pa.ArrowException as err:
            types = ", ".join(
                f"{n} is {schema.field(n).type}" for n in sorted(_columns(tree, names))
            )
            raise ConfigError(
                f"the filter {text!r} compares values of different types; {types}"
            ) from err
    return expression


def columns(text: str) -> set[str]:
    """The columns that an expression names."""
    tree, names = _tree(text)
    _build(tree, text, names)
    return _columns(tree, names)


def _columns(tree: ast.expr, names: dict[str, str]) -> set[str]:
    found = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {names.get(name, name) for name in found}


def _tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree, and the real names of columns written between backticks."""
    names: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        if match["odd"]:
            stand_in = f"_column_{len(names)}_"
            names[stand_in] = token[1:-1]
            return stand_in
        if match["word"]:
            return _WORDS.get(token) or _CONSTANTS.get(token) or token
        return "==" if match["equal"] else "!=" if match["other"] else token

    source = _TOKEN.sub(replace, text.strip())
    try:
        return ast.parse(source, mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        rest = source[err.offset - 1 :] if isinstance(err, SyntaxError) and err.offset else ""
        place = f"can't read on at {rest!r}" if rest.strip() else "it ends too early"
        raise ConfigError(
            f"the filter {text!r} is not a valid expression: {place}; expected {_GRAMMAR}"
        ) from err


def _build(node: ast.expr, text: str, names: dict[str, str], depth: int = 0) -> pc.Expression:
    def build(part: ast.expr) -> pc.Expression:
        return _build(part, text, names, depth + 1)

    if depth > _DEPTH:
        raise ConfigError(f"the filter is nested more than {_DEPTH} deep; simplify it")
    match node:
        case ast.BoolOp(op=op, values=values):
            join = operator.and_ if isinstance(op, ast.And) else operator.or_
            result = build(values[0])
            for value in values[1:]:
                result = join(result, build(value))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~build(operand)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            lefts = [left, *rights[:-1]]
            steps = [
                _compare(one, op, two, text, names)
                for one, op, two in zip(lefts, ops, rights, strict=True)
            ]
            result = steps[0]
            for step in steps[1:]:
                result = result & step
            return result
        case ast.Name():
            return _value(node, text, names)  # a bool column
        case _:
            _refuse(node, text, names)


def _compare(
    left: ast.expr, op: ast.cmpop, right: ast.expr, text: str, names: dict[str, str]
) -> pc.Expression:
    one = _value(left, text, names)
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            _refuse(right, text, names, "a list such as [1, 2]")
        choices = [_literal(item, text, names) for item in right.elts]
        try:
            inside = pc.is_in(one, pa.array(choices))
        except pa.ArrowException:
            _refuse(right, text, names, "values of one type")
        inside = pc.if_else(one.is_valid(), inside, pc.scalar(pa.scalar(None, pa.bool_())))
        return ~inside if isinstance(op, ast.NotIn) else inside
    null = isinstance(right, ast.Constant) and right.value is None
    if isinstance(op, ast.Is | ast.IsNot):
        if not null:
            _refuse(right, text, names, "None after is")
        return one.is_valid() if isinstance(op, ast.IsNot) else one.is_null()
    if null:
        _refuse(right, text, names, "is None or is not None")
    return _COMPARE[type(op)](one, _value(right, text, names))


def _value(node: ast.expr, text: str, names: dict[str, str]) -> pc.Expression:
    if isinstance(node, ast.Name):
        return pc.field(names.get(node.id, node.id))
    return pc.scalar(_literal(node, text, names))


def _literal(node: ast.expr, text: str, names: dict[str, str]) -> Any:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return -_literal(node.operand, text, names)
        case ast.Constant(value=str() | bool() | float() as value):
            return value
        case ast.Constant(value=int() as value) if value < 2**63:
            return value
    _refuse(node, text, names, "a number, a string, true or false")


def _refuse(node: ast.AST, text: str, names: dict[str, str], expected: str = _GRAMMAR) -> NoReturn:
    place = ast.unparse(node)
    for stand_in, name in names.items():
        place = place.replace(stand_in, f"`{name}`")
    raise ConfigError(f"the filter {text!r}: can't use {place!r} there; expected {expected}")
