"""Checks stream maps before the first request.

The SDK accepts a map of a field or stream that does not exist, and such a map does nothing: if the removal of an e-mail
address is misspelled, the address stays. Mistakes that would fail on the first record are left to the SDK, except for
names.
"""

from __future__ import annotations

import ast
import difflib
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import msgspec

from tap_wootric.sdk import expression_evaluator, is_alias

_TYPES: dict[str, Any] = {"__alias__": str, "__else__": None, "__key_properties__": list[str] | None, "__source__": str}
_OPTIONS = (*_TYPES, "__filter__")
_REMOVALS = (None, "__NULL__")
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # Stands for every value that only a record has.
_Json = Mapping[str, Any]


def errors(config: _Json, schemas: Mapping[str, _Json]) -> list[str]:
    """Return a line for each mistake in `stream_maps` and `faker_config`, given the whole schemas of all streams."""
    if config.get("faker_config"):
        expression_evaluator(config["faker_config"])  # It raises an error for an unknown locale.
    maps = {name: options for name, options in (config.get("stream_maps") or {}).items() if name != "__else__"}
    lines = [*_replacements(maps, schemas)]
    for name, options in maps.items():
        source = name if options in _REMOVALS else options.get("__source__", name)
        mapped = [schema["properties"] for stream, schema in schemas.items() if fnmatch(stream, source)]
        owner = source if source in schemas else "any stream"
        if not mapped:
            place = name if source == name else f"the __source__ of {name}, {source},"
            lines.append(f"{place} is not a stream{_did_you_mean(source, schemas)}")
        elif options not in _REMOVALS:
            lines += _map_errors(name, options, owner, dict(ChainMap(*mapped)), config)
    return [f"stream_maps: {line}" for line in lines]


def type_errors(maps: _Json) -> list[str]:
    """Return a line for each option of the wrong type: the SDK fails on some, and its errors quote whole maps."""
    options = {name: (value, _TYPES.get(name, dict | None)) for name, value in maps.items()}
    for name, value in maps.items():
        if isinstance(value, Mapping):
            options |= {f"{name}.{key}": (option, _TYPES.get(key, str | None)) for key, option in value.items()}
    lines = []
    for name, (value, kind) in options.items():
        try:
            msgspec.convert(None if value in _REMOVALS else value, kind)
        except msgspec.ValidationError as error:
            lines.append(f"stream_maps: {name}: {error}")
    return lines


def _replacements(maps: _Json, streams: Iterable[str]) -> Iterator[str]:
    """Yield the maps whose work would be lost, as the SDK applies only the last one of a stream without __source__."""
    for stream in streams:
        matching = [name for name in maps if fnmatch(stream, name) and "__source__" not in (maps[name] or ())]
        for earlier, later in pairwise(matching):
            if maps[later] in _REMOVALS:
                continue  # It removes the stream.
            if later != stream if maps[earlier] in _REMOVALS else maps[earlier].keys() - maps[later].keys():
                yield f"both {earlier} and {later} map {stream}, and only {later} would count; put it all into that one"


def _map_errors(name: str, options: _Json, stream: str, properties: _Json, config: _Json) -> Iterator[str]:
    """Yield the mistakes in the map of one stream, or of all that match a pattern."""
    for key, value in options.items():
        if key.startswith("__") and key.endswith("__") and key != "__filter__":
            if key not in _OPTIONS:
                yield f"{name}.{key} is not an option{_did_you_mean(key, _OPTIONS)}"
            elif key == "__alias__" and not is_alias(value):
                yield f"{name}.__alias__ must be a name, or an expression that gives one: 'new_' + __stream_name__"
        elif path := _nested_field(key, options, properties, config):
            yield (
                f"{name}.{key} is a field inside {path[0]}, and maps only reach whole properties; to empty "
                f'{path[1]}, set {path[0]} to "{{**{path[0]}, {path[1]!r}: None}} if {path[0]} else None"'
            )
        elif value not in _REMOVALS:
            for problem in _problems(value, key, stream, properties, config.get("stream_map_config")):
                yield f"the expression for {name}.{key} {problem}"
        elif key not in {*properties, "__filter__"}:
            reason = f"{key} is not a property of {stream}{_did_you_mean(key, properties)}"
            yield f"{name}.{key} cannot be removed: {reason}"


def _nested_field(key: str, options: _Json, properties: _Json, config: _Json) -> list[str]:
    """Return the path of the nested field that a key is meant for, if that field would stay in the record."""
    flattening_separator = (config.get("flattening_separator") or "__") if config.get("flattening_enabled") else "."
    for path in (key.split("."), key.split(flattening_separator)):
        schema = properties.get(path[0], {"type": []})
        is_field = "object" in schema["type"] and path[1:] and path[1] in schema.get("properties", path)
        if is_field and (options[key] in _REMOVALS or not options.keys() & {path[0], "__else__"}):
            return path
    return []


def _problems(text: str, key: str, stream: str, properties: _Json, map_config: _Json | None) -> list[str]:
    """Return what is wrong with an expression. Each part is evaluated by itself, as a condition may hide it."""
    try:
        nodes = [*ast.walk(ast.parse(text, mode="eval"))]
    except (SyntaxError, ValueError) as error:
        return [f"is not valid: {error.msg if isinstance(error, SyntaxError) else error}"]
    variables = {node.id: _UNKNOWN for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    problems: list[str] = []
    evaluator = expression_evaluator()
    record, names = (_Object(properties, f"a property of {stream}", problems) for _ in range(2))
    names |= {"_": record, "record": record, "self": dict(record).get(key), "config": map_config, "fake": _UNKNOWN}
    names |= {"__stream_name__": _UNKNOWN, "__original_stream_name__": _UNKNOWN, **evaluator.functions, **variables}
    evaluator.names = evaluator.functions = names
    evaluator.operators |= {kind: _compare for kind in evaluator.operators if issubclass(kind, ast.cmpop)}
    evaluator.nodes = {kind: partial(_evaluate, handler) for kind, handler in evaluator.nodes.items()}
    for node in nodes:
        _evaluate(partial(evaluator.eval, text), node)
    if not find_spec("faker") and any(isinstance(node, ast.Name) and node.id == "fake" for node in nodes):
        problems.append("uses fake, but Faker is not installed: install the tap with its extra, faker")
    return [*dict.fromkeys(problems)]


def _evaluate(evaluate: Callable[[Any], Any], node: ast.AST) -> Any:
    """Return the value of a part of an expression. It is _UNKNOWN where made-up values cause an error."""
    value = None
    with suppress(Exception):
        value = evaluate(node)
        if type(value) is dict and (fields := [name for name in value if isinstance(name, _Field)]):  # A changed copy.
            fields[0].owner.look_up(name for name in value if value[name] is None or _did_you_mean(name, fields))
    return _UNKNOWN if value is None and not isinstance(node, ast.Constant) else value


def _compare(left: Any, right: Any) -> bool:
    """Look up the names that are compared with those of an object, and return True, so that all parts are evaluated."""
    names = right if isinstance(right, list | set | tuple) else [right]
    if isinstance(left, _Field):
        left.owner.look_up(names)
    elif isinstance(owner := getattr(right, "owner", right), _Object):
        owner.look_up([left])
    return True


class _Object(dict[str, Any]):
    """A made-up object with the fields of a schema. It notes as a problem any other name that is read."""

    def __init__(self, properties: _Json, kind: str, problems: list[str]) -> None:
        self.kind, self.problems = kind, problems
        for name, schema in properties.items():
            field = _Field(name)
            field.owner = self
            self[field] = {} if "object" in schema["type"] else _UNKNOWN
            if "properties" in schema:
                self[field] = _Object(schema["properties"], f"a field of {name}", problems)

    def __missing__(self, name: str) -> str:
        if name and _UNKNOWN not in name:
            self.problems.append(f"names {name}, which is not {self.kind}{_did_you_mean(name, self)}")
        return _UNKNOWN

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return self[name]

    def look_up(self, names: Iterable[str]) -> None:
        """Read some names, so that any that is not a field is noted."""
        for name in names:
            self.get(name)


class _Field(str):
    """The name of a field of an object."""

    __slots__ = ("owner",)
    owner: _Object


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, [*names], n=1, cutoff=0.7)
    return f"; did you mean {similar[0]}?" if similar else ""
