"""Checks of stream maps, before the first request.

The SDK accepts a map that names what is not there, and such a map does nothing: where the removal of an e-mail address
is misspelt, the address stays. Whatever depends on a record's values is accepted here, and fails on the record.

Maps see a record as its schema describes it: the SDK flattens afterwards. Expressions are Python, which simpleeval
evaluates (https://sdk.meltano.com/en/latest/stream_maps.html).
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_wootric.sdk import expression_functions

if TYPE_CHECKING:
    from faker import Faker

_STREAM_OPTIONS = ("__alias__", "__else__", "__filter__", "__key_properties__", "__source__")
_REMOVALS = (None, "__NULL__")
_VARIABLES = frozenset({"_", "record", "config", "__stream_name__", "__original_stream_name__"})
"""What expressions can read besides the properties of a record; `fake` and `self` only under conditions."""
_DICT_METHODS = frozenset(dir(dict))
_FAKER_IS_MISSING = "but Faker is not installed: pip install 'tap-wootric[faker]'"

_Path = tuple[str, ...]
"""The names that lead to a field of a record: `("end_user", "email")`."""


@dataclass(frozen=True, slots=True)
class MappedStream:
    """A stream that maps may name.

    Attributes:
        schema: The JSON schema of the stream.
        record_schema: The same without what the catalog deselects.
    """

    schema: Mapping[str, Any]
    record_schema: Mapping[str, Any]


def structure_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each property in `stream_maps` that is neither an expression nor removed.

    The SDK's JSON schema refuses those as well, but shows the whole map without a word on what is wrong.
    """
    maps = config.get("stream_maps")
    for name, options in maps.items() if isinstance(maps, Mapping) else ():
        for key, value in options.items() if isinstance(options, Mapping) else ():
            if not key.startswith("__") and value is not None and not isinstance(value, str):
                example = f'; to empty a field of it, set it to "{_emptying(key, ["FIELD"])}"'
                yield (
                    f"stream_maps: {name}.{key} must be an expression in quotes, or __NULL__ to remove it"
                    f"{example if isinstance(value, Mapping) else ''}"
                )


def errors(config: Mapping[str, Any], streams: Mapping[str, MappedStream]) -> list[str]:
    """Return one line for each mistake in the settings `stream_maps` and `faker_config`.

    Args:
        config: The settings. Those of the SDK have the structure that its JSON schema asks for.
        streams: All streams of the tap by their names.
    """
    maps, faker_config = config.get("stream_maps") or {}, config.get("faker_config") or {}
    if not maps and not faker_config:
        return []
    if lines := [*_faker_errors(faker_config)]:
        return lines
    environment = _Environment(
        functions=expression_functions(),
        config=config.get("stream_map_config") or {},
        fake=_faker(*_locales(faker_config)) if find_spec("faker") else None,
        flattening_depth=config.get("flattening_max_depth", 0) if config.get("flattening_enabled") else 0,
        separator=config.get("flattening_separator") or "__",
    )
    lines = []
    for name, stream_map in maps.items():
        if name == "__else__":
            continue
        options: Mapping[str, Any] = stream_map if isinstance(stream_map, Mapping) else {}
        source = options.get("__source__", name)
        mapped = [stream for stream_name, stream in streams.items() if fnmatch(stream_name, source)]
        if not mapped:
            lines.append(f"stream_maps: {_unknown_stream(name, source, streams)}")
            continue
        record = _Record(
            owner=source if source in streams else "any stream",
            schema=_union([stream.schema for stream in mapped]),
            record_schema=_union([stream.record_schema for stream in mapped]),
        )
        lines += [f"stream_maps: {line}" for line in _map_errors(name, options, record, environment)]
    return lines + [f"stream_maps: {line}" for line in _replacement_errors(maps, streams)]


@dataclass(frozen=True, slots=True)
class _Record:
    """The records that a map transforms.

    Attributes:
        owner: The stream, as errors name it.
        schema: Their schema. A property of any of the map's streams is one of it.
        record_schema: The same without what the catalog deselects.
    """

    owner: str
    schema: Mapping[str, Any]
    record_schema: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        properties: Mapping[str, Any] = self.schema["properties"]
        return properties


@dataclass(frozen=True, slots=True)
class _Environment:
    """What maps depend on besides the record.

    Attributes:
        functions: The names of the functions that expressions can call.
        config: What expressions know as `config`.
        fake: What they know as `fake`; None if Faker is not installed.
        flattening_depth: How deep the SDK flattens mapped records; 0 if it does not.
        separator: What the SDK puts between the names in a flattened one.
    """

    functions: Collection[str]
    config: Mapping[str, Any]
    fake: Faker | None
    flattening_depth: int
    separator: str


def _union(schemas: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a schema with the properties of all, at any depth. An object without named ones may have any."""
    for schema in schemas:
        if "properties" not in schema:
            return schema
    names = dict.fromkeys(name for schema in schemas for name in schema["properties"])
    return {
        **schemas[0],
        "properties": {
            name: _union([schema["properties"][name] for schema in schemas if name in schema["properties"]])
            for name in names
        },
    }


def _unknown_stream(name: str, source: str, streams: Collection[str]) -> str:
    subject = f"the __source__ of {name}, {source}," if source != name else name
    return f"{subject} is not a stream{_did_you_mean(source, streams)}"


def _map_errors(name: str, options: Mapping[str, Any], record: _Record, environment: _Environment) -> Iterator[str]:
    for key, value in options.items():
        place = f"{name}.{key}"
        if not (key.startswith("__") and key.endswith("__")):
            yield from _property_errors(name, key, options, record, environment)
        elif key == "__filter__":
            yield from _expression_errors(place, value, None, record, environment)
        elif key == "__key_properties__":
            for missing in [one for one in value if one not in record.properties and one not in options]:
                yield f"{place} names {missing}, which is {_no_property(missing, record)}"
        elif key not in _STREAM_OPTIONS:
            yield f"{place} is not an option{_did_you_mean(key, _STREAM_OPTIONS)}"
        elif key == "__alias__" and "__source__" in options:
            yield f"{place} has no effect with __source__: the alias is the map's name, {name}"


def _property_errors(
    name: str, key: str, options: Mapping[str, Any], record: _Record, environment: _Environment
) -> Iterator[str]:
    place, value = f"{name}.{key}", options[key]
    if path := _nested_field(key, options, record, environment):
        yield (
            f"{place} is a field inside of {path[0]}, and maps only reach whole properties; to empty it, set "
            f'{path[0]} to "{_emptying(path[0], path[1:])}"'
        )
    elif value not in _REMOVALS:
        yield from _expression_errors(place, value, key, record, environment)
    elif key not in record.properties:
        yield f"{place} cannot be removed: {key} is {_no_property(key, record)}"


def _nested_field(key: str, options: Mapping[str, Any], record: _Record, environment: _Environment) -> _Path | None:
    """Return the path of the nested field that a property of a map is meant for, or None if it is a property's name.

    An expression may add a property with any name, unless a field that goes by the same name stays.
    """
    removed = {name for name, value in options.items() if value in _REMOVALS}
    for separator, depth in ((".", len(key)), (environment.separator, environment.flattening_depth)):
        path = tuple(key.split(separator))
        if len(path) == 1 or "object" not in record.properties.get(path[0], {}).get("type", ()):
            continue
        stays = removed.isdisjoint({path[0], "__else__"}) and len(path) <= depth + 1
        if key in removed or (stays and _is_declared(record.schema, path)):
            return path
    return None


def _emptying(value: str, path: Sequence[str]) -> str:
    """Return the expression that empties a field of an object: `{**user, 'email': None} if user else None`."""
    if not path:
        return "None"
    name, *rest = path
    return f"{{**{value}, {name!r}: {_emptying(f'{value}[{name!r}]', rest)}}} if {value} else None"


def _replacement_errors(maps: Mapping[str, Any], streams: Collection[str]) -> Iterator[str]:
    """Report the maps that a later one would replace, as the SDK applies only the last one that matches a stream."""
    own_maps = {
        name: stream_map
        for name, stream_map in maps.items()
        if name != "__else__" and not (isinstance(stream_map, Mapping) and "__source__" in stream_map)
    }
    for stream in streams:
        matching = [name for name in own_maps if fnmatch(stream, name)]
        for earlier, later in pairwise(matching):
            if _loses(own_maps[earlier], own_maps[later], is_specific=later == stream):
                yield f"both {earlier} and {later} map {stream}, and only {later} would count; put it all into that one"


def _loses(earlier: Any, later: Any, *, is_specific: bool) -> bool:
    """Return whether a map that replaces another one leaves out something that the other one does."""
    if not isinstance(later, Mapping):
        return False
    return bool(earlier.keys() - later.keys()) if isinstance(earlier, Mapping) else not is_specific


def _expression_errors(
    place: str, text: str, key: str | None, record: _Record, environment: _Environment
) -> Iterator[str]:
    """Report what is wrong with an expression.

    Args:
        place: Its name in errors.
        text: The expression.
        key: The property that it computes, or None for a filter.
        record: The records.
        environment: What else it depends on.
    """
    subject = f"the expression for {place}"
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        yield f"{subject} is not valid: {error.msg if isinstance(error, SyntaxError) else error}"
        return
    match statements:
        case [ast.Expr(value=value)]:
            expression = _Expression(key, record, environment)
            expression.visit(value)
            hint = f"; for a text, write \"'{text}'\"" if isinstance(value, ast.Name) and text != "self" else ""
            for problem in expression.problems():
                yield f"{subject} {problem}{hint}"
        case [ast.Assign()]:
            yield f"{subject} assigns a value with =; to compare, write =="
        case _:
            yield f"{subject} must be a single expression"


class _Expression(ast.NodeVisitor):
    """Collects what an expression reads."""

    def __init__(self, key: str | None, record: _Record, environment: _Environment) -> None:
        self._key = key
        self._record = record
        self._environment = environment
        self._other_problems: dict[str, None] = {}
        self._reads: dict[_Path, None] = {}
        """Fields without which the expression fails."""
        self._mentions: dict[_Path, None] = {}
        """Fields that may be missing."""
        self._local: dict[str, _Path | None] = {}
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

    def _no_field(self, path: _Path) -> str:
        if len(path) > 1:
            return f"not a field of {'.'.join(path[:-1])}{_did_you_mean(path[-1], self._fields(path[:-1]))}"
        return _no_property(path[0], self._record)

    def _fields(self, path: _Path) -> Collection[str]:
        """Return the names of the fields in an object; none if it may have any."""
        schema = self._record.schema
        for name in path:
            schema = schema.get("properties", {}).get(name, {})
        return [*schema.get("properties", ())]

    def _path(self, node: ast.AST) -> _Path | None:
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
                self._other_problems[f"uses fake, {_FAKER_IS_MISSING}"] = None
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
                    similar = _did_you_mean(name, self._environment.config)
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
                    self._other_problems[f"uses fake.{name}, which Faker lacks{_did_you_mean(name, dir(fake))}"] = None
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
                self._other_problems[f"calls {name}, which is not a function{_did_you_mean(name, functions)}"] = None
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
        self._mention(path, [*emptied, *(name for name in fields if _did_you_mean(name, known))])

    @override
    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip((node.left, *node.comparators), node.ops, node.comparators, strict=False):
            match left, operator, right:
                case ast.Constant(value=str(name)), ast.In() | ast.NotIn(), _:
                    self._mention(self._path(right), [name])
                case (ast.Name(id=key), _, names) | (names, ast.Eq() | ast.NotEq(), ast.Name(id=key)):
                    self._mention(self._local.get(key), _texts(names))
        self.generic_visit(node)

    def _mention(self, path: _Path | None, names: Iterable[str]) -> None:
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

    def _keys(self, generator: ast.comprehension) -> dict[str, _Path | None]:
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


def _missing(schema: Mapping[str, Any], path: _Path) -> _Path | None:
    """Return the beginning of a path up to the first name that a schema lacks, if it is known to lack it."""
    for depth, name in enumerate(path, 1):
        if "properties" not in schema:
            return None
        if name not in schema["properties"]:
            return path[:depth]
        schema = schema["properties"][name]
    return None


def _is_declared(schema: Mapping[str, Any], path: _Path) -> bool:
    """Return whether a schema names a field."""
    for name in path:
        if name not in schema.get("properties", {}):
            return False
        schema = schema["properties"][name]
    return True


def _no_property(name: str, record: _Record) -> str:
    return f"not a property of {record.owner}{_did_you_mean(name, record.properties)}"


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, [*names], n=1, cutoff=0.7)
    return f"; did you mean {similar[0]}?" if similar else ""


def _faker_errors(faker_config: Mapping[str, Any]) -> Iterator[str]:
    if not faker_config:
        return
    if not find_spec("faker"):
        yield f"faker_config is set, {_FAKER_IS_MISSING}"
        return
    from faker.config import AVAILABLE_LOCALES  # noqa: PLC0415 - An extra.

    for locale in _locales(faker_config):
        try:
            _faker(locale)
        except AttributeError:
            yield f"faker_config: {locale} is not a locale of Faker{_did_you_mean(locale, sorted(AVAILABLE_LOCALES))}"


def _locales(faker_config: Mapping[str, Any]) -> list[str]:
    locale = faker_config.get("locale") or []
    return [locale] if isinstance(locale, str) else locale


@cache
def _faker(*locales: str) -> Faker:
    """Return what expressions know as `fake`.

    Raises:
        AttributeError: A locale is unknown.
    """
    from faker import Faker  # noqa: PLC0415 - An extra.

    return Faker([*locales] or None)
