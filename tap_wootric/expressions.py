"""What the expressions of stream maps read, and what of it is not there.

Expressions are Python, which simpleeval evaluates for each record (https://sdk.meltano.com/en/latest/stream_maps.html).
Whatever depends on a record's values is accepted here; if it is wrong, it fails on the record.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from faker import Faker

FAKER_IS_MISSING = "but Faker is not installed: install the tap with its extra, faker"

_VARIABLES = frozenset({"_", "record", "config", "__stream_name__", "__original_stream_name__"})
"""What expressions can read besides the properties of a record; `fake` and `self` only under conditions."""
_DICT_METHODS = frozenset(dir(dict))

Path = tuple[str, ...]
"""The names that lead to a field of a record: `("end_user", "email")`."""


@dataclass(frozen=True, slots=True)
class Record:
    """The records that a map transforms.

    Attributes:
        owner: The stream, as errors name it.
        schema: The JSON schema of the stream.
        record_schema: The same without what the catalog deselects.
    """

    owner: str
    schema: Mapping[str, Any]
    record_schema: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of the stream's properties by their names."""
        properties: Mapping[str, Any] = self.schema["properties"]
        return properties

    def lacks(self, name: str) -> str:
        """Return what errors say of a property that the stream does not have."""
        return f"not a property of {self.owner}{did_you_mean(name, self.properties)}"


@dataclass(frozen=True, slots=True)
class Environment:
    """What expressions can use besides the record.

    Attributes:
        functions: The names of the functions that they can call.
        config: What they know as `config`.
        fake: What they know as `fake`; None if Faker is not installed.
    """

    functions: Collection[str]
    config: Mapping[str, Any]
    fake: Faker | None


def problems(text: str, key: str | None, record: Record, environment: Environment) -> Iterator[str]:
    """Yield what is wrong with an expression, such as: names emial, which is not a property of end_users.

    Args:
        text: The expression.
        key: The property that it computes, or None for a filter.
        record: The records.
        environment: What else it can use.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        yield f"is not valid: {error.msg if isinstance(error, SyntaxError) else error}"
        return
    match statements:
        case [ast.Expr(value=value)]:
            expression = _Expression(key, record, environment)
            expression.visit(value)
            hint = f"; for a text, write \"'{text}'\"" if isinstance(value, ast.Name) and text != "self" else ""
            yield from (f"{problem}{hint}" for problem in expression.problems())
        case [ast.Assign()]:
            yield "assigns a value with =; to compare, write =="
        case _:
            yield "must be a single expression"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the end of an error about a name: the most similar one, if there is any."""
    similar = difflib.get_close_matches(name, [*names], n=1, cutoff=0.7)
    return f"; did you mean {similar[0]}?" if similar else ""


class _Expression(ast.NodeVisitor):
    """Collects what an expression reads."""

    def __init__(self, key: str | None, record: Record, environment: Environment) -> None:
        self._key = key
        self._record = record
        self._environment = environment
        self._other_problems: dict[str, None] = {}
        self._reads: dict[Path, None] = {}
        """Fields without which the expression fails."""
        self._mentions: dict[Path, None] = {}
        """Fields that may be missing."""
        self._local: dict[str, Path | None] = {}
        """The variables of comprehensions; those that run through the keys of an object, with its path."""

    def problems(self) -> list[str]:
        """Return what is wrong, such as: names emial, which is not a property of end_users."""
        lines = dict(self._other_problems)
        for path in {**self._reads, **self._mentions}:
            if missing := _missing(self._record.schema, path):
                lines[f"names {'.'.join(missing)}, which is {self._no_field(missing)}"] = None
            elif (
                path in self._reads
                and (deselected := _missing(self._record.record_schema, path))
                and deselected not in self._mentions
            ):
                lines[f"reads {'.'.join(deselected)}, which the catalog deselects"] = None
        return [*lines]

    def _no_field(self, path: Path) -> str:
        if len(path) > 1:
            return f"not a field of {'.'.join(path[:-1])}{did_you_mean(path[-1], self._fields(path[:-1]))}"
        return self._record.lacks(path[0])

    def _fields(self, path: Path) -> Collection[str]:
        """Return the names of the fields in an object; none if it may have any."""
        schema = self._record.schema
        for name in path:
            schema = schema.get("properties", {}).get(name, {})
        return [*schema.get("properties", ())]

    def _path(self, node: ast.AST) -> Path | None:
        """Return the path of the field that an expression is, or None if it is something else."""
        match node:
            case ast.Name(id="_" | "record" as name) if name not in self._local:
                return ()
            case ast.Name(id="self") if self._key in self._record.properties:
                return (str(self._key),)
            case ast.Name(id=name) if name in self._record.properties and name not in self._local:
                return (name,)
            case ast.Subscript(value=value, slice=ast.Constant(value=str(name))):
                pass
            case ast.Attribute(value=value, attr=name) if name not in _DICT_METHODS:
                pass
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(name)), *_]):
                pass
            case ast.BoolOp(op=ast.Or(), values=[value, *_]):
                return self._path(value)
            case _:
                return None
        path = self._path(value)
        return None if path is None else (*path, name)

    @override
    def visit_Name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._local or name in _VARIABLES:
            return
        if name == "fake":
            if self._environment.fake is None:
                self._other_problems[f"uses fake, {FAKER_IS_MISSING}"] = None
        elif name == "self" and self._key not in self._record.properties:
            subject = f"{self._key} is a new property" if self._key else "a filter is no property"
            self._other_problems[f"reads self, the value of the property, but {subject}"] = None
        elif name not in self._environment.functions:
            self._reads[self._path(node) or (name,)] = None

    @override
    def visit_Subscript(self, node: ast.Subscript) -> None:
        match node:
            case ast.Subscript(value=ast.Name(id="config"), slice=ast.Constant(value=str(name))):
                if name not in self._environment.config:
                    similar = did_you_mean(name, self._environment.config)
                    self._other_problems[f"reads config[{name!r}], which stream_map_config does not set{similar}"] = (
                        None
                    )
            case _ if path := self._path(node):
                self._reads[path] = None
        self.generic_visit(node)

    @override
    def visit_Attribute(self, node: ast.Attribute) -> None:
        match node:
            case ast.Attribute(value=ast.Name(id="fake"), attr=name) if fake := self._environment.fake:
                if name not in dir(fake):
                    self._other_problems[f"uses fake.{name}, which Faker lacks{did_you_mean(name, dir(fake))}"] = None
            case _ if path := self._path(node):
                self._reads[path] = None
        self.generic_visit(node)

    @override
    def visit_Call(self, node: ast.Call) -> None:
        if path := self._path(node):
            self._mentions[path] = None
        functions = self._environment.functions
        match node:
            case ast.Call(func=ast.Name(id=name)) if name not in functions:
                self._other_problems[f"calls {name}, which is not a function{did_you_mean(name, functions)}"] = None
                for child in (*node.args, *node.keywords):
                    self.visit(child)
                return
            case ast.Call(func=ast.Name(id="dict"), args=[value]):
                self._replaces(value, {word.arg: word.value for word in node.keywords if word.arg})
        self.generic_visit(node)

    @override
    def visit_Dict(self, node: ast.Dict) -> None:
        items = [*zip(node.keys, node.values, strict=True)]
        fields = {
            key.value: value for key, value in items if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        for key, value in items:
            if key is None:  # {**value}
                self._replaces(value, fields)
        self.generic_visit(node)

    def _replaces(self, value: ast.expr, fields: Mapping[str, ast.expr]) -> None:
        """Note the fields that replace those of an object. New ones are fine, unless they look like a mistake."""
        path = self._path(value)
        known = self._fields(path or ())
        emptied = [name for name, field in fields.items() if isinstance(field, ast.Constant) and field.value is None]
        self._mention(path, [*emptied, *(name for name in fields if did_you_mean(name, known))])

    @override
    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip((node.left, *node.comparators), node.ops, node.comparators, strict=False):
            match left, operator, right:
                case ast.Constant(value=str(name)), ast.In() | ast.NotIn(), _:
                    self._mention(self._path(right), [name])
                case (ast.Name(id=key), _, names) | (names, ast.Eq() | ast.NotEq(), ast.Name(id=key)):
                    self._mention(self._local.get(key), _texts(names))
        self.generic_visit(node)

    def _mention(self, path: Path | None, names: Iterable[str]) -> None:
        """Note fields of an object, unless the path of the object is unknown."""
        if path is not None:
            self._mentions.update({(*path, name): None for name in names})

    @override
    def generic_visit(self, node: ast.AST) -> None:
        outer = self._local
        if isinstance(node, ast.DictComp | ast.GeneratorExp | ast.ListComp):
            for generator in node.generators:
                variables = [one.id for one in ast.walk(generator.target) if isinstance(one, ast.Name)]
                self._local = {**self._local, **dict.fromkeys(variables), **self._keys(generator)}
        super().generic_visit(node)
        self._local = outer

    def _keys(self, generator: ast.comprehension) -> dict[str, Path | None]:
        """Return the variable of a comprehension that runs through the keys of an object, if there is one."""
        match generator:
            case ast.comprehension(
                target=ast.Tuple(elts=[ast.Name(id=name), _]),
                iter=ast.Call(func=ast.Attribute(value=value, attr="items")),
            ):
                pass
            case ast.comprehension(
                target=ast.Name(id=name), iter=ast.Call(func=ast.Attribute(value=value, attr="keys")) | value
            ):
                pass
            case _:
                return {}
        return {name: self._path(value)}


def _texts(node: ast.AST) -> Iterable[str]:
    """Return the text that a node is, or the texts in a list."""
    nodes = node.elts if isinstance(node, ast.List | ast.Set | ast.Tuple) else [node]
    return [one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _missing(schema: Mapping[str, Any], path: Path) -> Path | None:
    """Return the beginning of a path up to the first name that a schema lacks, if it is known to lack it."""
    for depth, name in enumerate(path, 1):
        if "properties" not in schema:
            return None
        if name not in schema["properties"]:
            return path[:depth]
        schema = schema["properties"][name]
    return None
