"""Finds names in the expressions of stream maps that stand for nothing.

Expressions are Python, which simpleeval evaluates for each record (https://sdk.meltano.com/en/latest/stream_maps.html).
What only a record can tell is accepted here; if it is wrong, the sync fails on that record.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

FAKER_IS_MISSING = "but Faker is not installed: install the tap with its extra, faker"

_OTHER_NAMES = ("config", "fake", "self", "__stream_name__", "__original_stream_name__")
"""What expressions can read besides the record and its properties."""
_DICT_METHODS = frozenset(dir(dict))

Schema = Mapping[str, Any]
"""A JSON schema. One without `properties` allows any field."""


def problems(text: str, key: str, stream: str, schema: Schema, functions: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with an expression, such as: names emial, which is not a property of end_users.

    Args:
        text: The expression.
        key: The property that it computes, or `__filter__`.
        stream: The stream, as errors name it.
        schema: The schema of its records.
        functions: The names of the functions that expressions can call.
    """
    try:
        expression = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError) as error:
        yield f"is not valid: {error.msg if isinstance(error, SyntaxError) else error}"
        return
    nodes = [*ast.walk(expression)]
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    properties = schema["properties"]
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    record = {"_": schema, "record": schema, "self": properties.get(key, {})}
    schemas = {**properties, **record, **{name: {} for name in variables}}
    for node in nodes:
        if isinstance(node, ast.Name) and node in called:
            if node.id not in functions:
                yield f"calls {node.id}, which is not a function{did_you_mean(node.id, functions)}"
        elif isinstance(node, ast.Name):
            if node.id == "fake" and not find_spec("faker"):
                yield f"uses fake, {FAKER_IS_MISSING}"
            elif node.id not in {*schemas, *functions, *_OTHER_NAMES}:
                yield f"names {node.id}, which is not a property of {stream}{did_you_mean(node.id, properties)}"
        for value, name, is_new_allowed in _fields(node):
            fields = _schema(value, schemas).get("properties", {})
            if fields and name not in fields and (did_you_mean(name, fields) or not is_new_allowed):
                yield f"names {name}, which is not a field of {ast.unparse(value)}{did_you_mean(name, fields)}"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of an error about a name: the most similar one, if there is any."""
    similar = difflib.get_close_matches(name, [*names], n=1, cutoff=0.7)
    return f"; did you mean {similar[0]}?" if similar else ""


def _schema(node: ast.AST, schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema of what an expression stands for; an empty one if it is unknown."""
    match node:
        case ast.Name(id=name):
            return schemas.get(name, {})
        case ast.BoolOp(op=ast.Or(), values=[value, *_]):  # end_user or {}
            return _schema(value, schemas)
    for value, name in _reads(node):
        schema: Schema = _schema(value, schemas).get("properties", {}).get(name, {})
        return schema
    return {}


def _fields(node: ast.AST) -> Iterator[tuple[ast.expr, str, bool]]:
    """Yield the objects that a node uses, with the names of their fields, and whether it may add that field."""
    for value, name in _reads(node):
        yield value, name, False
    match node:
        case ast.Compare(left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()], comparators=[value]):
            yield value, name, False
        case ast.DictComp(key=ast.Name(id=key_name), generators=[ast.comprehension(iter=iterable, ifs=conditions)]):
            # As in {key: value for key, value in end_user.items() if key != 'email'}.
            match iterable:
                case ast.Call(func=ast.Attribute(value=value, attr="items" | "keys")) | value:
                    for name in _compared(key_name, conditions):
                        yield value, name, False
    for value, name, replacement in _replacements(node):
        yield value, name, not (isinstance(replacement, ast.Constant) and replacement.value is None)


def _replacements(node: ast.AST) -> Iterator[tuple[ast.expr, str, ast.expr]]:
    """Yield an object that a node copies, with the names and values of the fields that it replaces or adds."""
    match node:
        case ast.Dict(keys=[None, *keys], values=[value, *replacements]):
            # As in {**end_user, 'email': None}.
            for key, replacement in zip(keys, replacements, strict=True):
                for name in _texts(key):
                    yield value, name, replacement
        case ast.Call(func=ast.Name(id="dict"), args=[value], keywords=keywords):
            # As in dict(end_user, email=None).
            for keyword in keywords:
                if keyword.arg:
                    yield value, keyword.arg, keyword.value


def _reads(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield the object and the name of the field that a node reads, if it does."""
    match node:
        case (
            ast.Subscript(value=value, slice=ast.Constant(value=str(name)))
            | ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(name)), *_])
        ):
            yield value, name
        case ast.Attribute(value=value, attr=name) if name not in _DICT_METHODS:
            yield value, name


def _compared(key_name: str, conditions: Iterable[ast.expr]) -> Iterator[str]:
    """Yield the texts that conditions compare a variable with."""
    for condition in conditions:
        for node in ast.walk(condition):
            match node:
                case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                    if key_name in {getattr(left, "id", None), getattr(right, "id", None)}:
                        yield from _texts(left, right)
                case ast.Compare(
                    left=ast.Name(id=name),
                    ops=[ast.In() | ast.NotIn()],
                    comparators=[ast.List(elts=texts) | ast.Set(elts=texts) | ast.Tuple(elts=texts)],
                ) if name == key_name:
                    yield from _texts(*texts)


def _texts(*nodes: ast.AST | None) -> Iterator[str]:
    """Yield the constant texts among nodes."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
