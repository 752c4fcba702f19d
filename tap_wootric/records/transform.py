"""Turns a row of the API into a record: timestamps in UTC, values of the schema's types, and nothing thrown away.

A record has the structure of its stream's JSON schema. Fields that the schema does not name, and values that cannot be
converted to its types, go into `extra_fields` as the API sent them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from tap_wootric.records.sanitize import sanitize_nested
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds

Row = Mapping[str, Any]
"""A row as the API sent it; numbers with a fraction are `Decimal`."""

Record = dict[str, Any]
"""A row in the structure of its stream's schema."""

EXTRA_FIELDS = "extra_fields"

_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,19}(\.\d+)?", re.ASCII)
_UNIX_SECONDS_FIELDS = frozenset({"external_created_at"})
"""Integer fields that hold a time in Unix seconds."""
_MAX_INTEGER = 2**63 - 1
"""The largest value of a 64-bit column, the widest in common warehouses."""
_JSON_ENCODER = msgspec.json.Encoder(decimal_format="number")

_Convert = Callable[[Any], Any]
"""Returns a value converted to a field's type, or raises ValueError."""


class RecordTransformer:
    """Turns the rows of one stream into records. A record has all selected fields, null where the API sent none.

    Args:
        schema: The stream's JSON schema. It may use objects with and without named properties, strings, integers,
            numbers, booleans, date-times, and arrays of strings or of objects without named properties; all of them
            nullable or not.
        effective_schema: The same schema without the fields that are not selected.
        on_unexpected_field: Called once for each field that goes into `extra_fields`, with its path, such as
            `survey.color`, and whether the schema names the field.
        flattened_levels: How many levels of objects the SDK flattens. There, an object that is null becomes one whose
            fields are null: flattening would leave its name in the record, but drop it from the schema.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        effective_schema: Mapping[str, Any],
        on_unexpected_field: Callable[[str, bool], None],
        flattened_levels: int = 0,
    ) -> None:
        self._row = _ObjectTransformer(schema, effective_schema, "", on_unexpected_field, flattened_levels)
        self._has_extra_fields = EXTRA_FIELDS in effective_schema["properties"]

    def __call__(self, row: Row) -> Record:
        """Return the record of a row, `extra_fields` included; the row is not changed."""
        record, extra_fields = self._row.transform(row)
        if self._has_extra_fields:
            record[EXTRA_FIELDS] = extra_fields or None
        return record


class _ObjectTransformer:
    """Transforms an object whose fields the schema names: a row, or an object in it.

    Args:
        path: The path of the object in its row, such as `survey.`; empty for the row itself.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        effective_schema: Mapping[str, Any],
        path: str,
        on_unexpected_field: Callable[[str, bool], None],
        flattened_levels: int,
    ) -> None:
        self._path = path
        self._on_unexpected_field = on_unexpected_field
        self._reported: set[str] = set()
        self._objects: dict[str, _ObjectTransformer] = {}
        self._converters: dict[str, tuple[type | None, _Convert]] = {}
        self._deselected = schema["properties"].keys() - effective_schema["properties"].keys() - {EXTRA_FIELDS}
        self.has_deselected = bool(self._deselected)
        self._is_flattened = flattened_levels > 0
        for name, field in schema["properties"].items():
            if name in self._deselected or name == EXTRA_FIELDS:
                continue
            if "properties" in field:
                effective_field = effective_schema["properties"][name]
                self._objects[name] = _ObjectTransformer(
                    field, effective_field, f"{path}{name}.", on_unexpected_field, flattened_levels - 1
                )
                self.has_deselected |= self._objects[name].has_deselected
            else:
                self._converters[name] = _converter(name, field)
        self._nulls: Record = dict.fromkeys((*self._converters, *self._objects))

    def nulls(self) -> Record:
        """Return the object without values. It is not shared: a stream map may change it."""
        if not self._is_flattened:
            return self._nulls.copy()
        return {**self._nulls, **{name: inner.nulls() for name, inner in self._objects.items()}}

    def transform(self, row: Row) -> tuple[Record, dict[str, Any]]:
        """Return the object in the structure of its schema, and the fields and values that do not fit there."""
        record = self.nulls()
        extra_fields: dict[str, Any] = {}
        converters = self._converters
        for name, value in row.items():
            if converter := converters.get(name):
                unchanged_type, convert = converter
                if value is None or type(value) is unchanged_type:
                    record[name] = value
                    continue
                try:
                    record[name] = convert(value)
                except ValueError:
                    record[name] = None
                    self._set_aside(extra_fields, name, value, is_known=True)
            elif name in self._objects:
                if isinstance(value, dict):
                    record[name], nested_extra_fields = self._objects[name].transform(value)
                    if nested_extra_fields:
                        extra_fields[name] = nested_extra_fields
                elif value is not None and not self._objects[name].has_deselected:  # It may hold what is deselected.
                    self._set_aside(extra_fields, name, value, is_known=True)
            elif name not in self._deselected:
                self._set_aside(extra_fields, name, value, is_known=False)
        return record, extra_fields

    def _set_aside(self, extra_fields: dict[str, Any], name: str, value: Any, *, is_known: bool) -> None:
        extra_fields[name] = sanitize_nested(value)
        if name not in self._reported:
            self._reported.add(name)
            self._on_unexpected_field(f"{self._path}{name}", is_known)


def _converter(name: str, field: Mapping[str, Any]) -> tuple[type | None, _Convert]:
    """Return the type of the values that need no conversion, if there is one, and the function that converts others."""
    if field.get("format") == "date-time":
        return None, normalize_timestamp
    if name in _UNIX_SECONDS_FIELDS:
        return None, _to_unix_seconds
    if "items" in field:
        _, convert_item = _converter("", field["items"])
        return None, partial(_to_list, convert_item)
    converters: dict[str, tuple[type | None, _Convert]] = {
        "integer": (None, _to_integer),
        "number": (None, partial(_to_number, pattern=_NUMBER)),
        "boolean": (bool, _to_boolean),
        "string": (str, _to_text),
        "object": (dict, _to_object),
    }
    return next(converter for json_type, converter in converters.items() if json_type in field["type"])


def _to_integer(value: Any) -> int:
    if type(value) is int and -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return value
    number = _to_number(value, _INTEGER)
    if number != int(number):
        raise ValueError("not an integer")
    return int(number)


def _to_number(value: Any, pattern: re.Pattern[str]) -> int | Decimal:
    if isinstance(value, str) and pattern.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a number")  # noqa: TRY004 - Callers treat a wrong type like any other wrong value.
    number = Decimal(value)
    if not number.is_finite() or not -_MAX_INTEGER <= number <= _MAX_INTEGER:
        raise ValueError("not a number that databases can hold")
    return value


def _to_unix_seconds(value: Any) -> int:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        return unix_seconds(normalize_timestamp(value))
    return _to_integer(value)


def _to_boolean(value: Any) -> bool:
    match str(value).lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise ValueError("not a boolean")


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else _JSON_ENCODER.encode(value).decode()


def _to_list(convert_item: _Convert, value: Any) -> list[Any]:
    items = value if isinstance(value, list) else [value]
    return [convert_item(item) for item in items if item is not None]  # BigQuery's arrays hold no nulls.


def _to_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"_raw": value}
