"""How a row of the API becomes a record: times in UTC, integer ids, and nothing thrown away.

A record has the form that its stream's JSON schema gives. What has no place in that form goes, as it came,
into `extra_fields`: fields that the schema does not name, and values that cannot be brought to its types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import cached_property, partial
from typing import Annotated, Any

import msgspec
from singer_sdk.singerlib.json import serialize_json

from tap_wootric.records.sanitize import may_contain_nul, parse_number, sanitize_nested
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds

Row = Mapping[str, Any]
"""A row as the API sent it; a number with a fraction is a `Decimal`."""

Record = dict[str, Any]
"""A row in the form of its stream's schema."""

EXTRA_FIELDS = "extra_fields"

_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,19}(\.\d+)?", re.ASCII)
_UNIX_TIMES = frozenset({"external_created_at"})
"""The fields that are times in Unix seconds."""
_BIGGEST_INTEGER = 2**63 - 1  # The widest integer column of the usual warehouses.


class RecordTransformer:
    """Shapes the rows of one stream.

    Args:
        schema: The stream's schema: objects, free-form objects, text, integers, numbers, booleans, date-times, and
            arrays of text or of free-form objects, each with null or without.
        wanted: The same schema, but for fields that records are to lack.
        on_unexpected_field: Called once for each field that goes into `extra_fields`, with its path
            (`survey.color`), and with whether the schema names it.
    """

    def __init__(
        self, schema: Mapping[str, Any], wanted: Mapping[str, Any], on_unexpected_field: Callable[[str, bool], None]
    ) -> None:
        self._object = _Object(schema, wanted, "", on_unexpected_field)
        self._wanted = wanted
        self._wants_extra_fields = EXTRA_FIELDS in wanted["properties"]
        self._times = [*_times(wanted)]
        self._inner_times = [(name, time) for name, field in wanted["properties"].items() for time in _times(field)]

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        form = _form("Row", self._wanted)
        return msgspec.json.Decoder(list[form], float_hook=parse_number)  # type: ignore[valid-type]

    def page(self, content: bytes) -> list[Record] | None:
        """Return the records of a page of JSON, where all values have the types of the schema; else None.

        Nearly all pages of the long lists are such, and msgspec reads them several times faster than rows can be gone
        through. It knows no numbers with a fraction, and no arrays but of text: the long lists have none.
        """
        if may_contain_nul(content):
            return None
        with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
            records: list[Record] = msgspec.to_builtins(self._decoder.decode(content), builtin_types=(Decimal,))
            for record in records:
                for name in self._times:
                    if (time := record.get(name)) is not None:
                        record[name] = normalize_timestamp(time)
                for outer, name in self._inner_times:
                    if (inner := record.get(outer)) and (time := inner.get(name)) is not None:
                        inner[name] = normalize_timestamp(time)
                if self._wants_extra_fields:
                    record[EXTRA_FIELDS] = None
            return records
        return None

    def __call__(self, row: Row) -> Record:
        """Return the row as a record, `extra_fields` included; the row is left as it is."""
        record, extra = self._object.shape(row)
        if self._wants_extra_fields:
            record[EXTRA_FIELDS] = extra or None
        return record


def _times(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of an object's times."""
    return (name for name, field in schema.get("properties", {}).items() if field.get("format") == "date-time")


def _form(name: str, schema: Mapping[str, Any]) -> type:
    """Return the type of rows whose values fit a schema as they are, and that have no other fields."""
    integer = Annotated[int, msgspec.Meta(ge=-_BIGGEST_INTEGER, le=_BIGGEST_INTEGER)]
    types = {"integer": integer, "boolean": bool, "string": str, "array": list[str | None], "object": dict[str, Any]}
    fields: list[tuple[str, Any, Any]] = []
    for one, field in schema["properties"].items():
        if one != EXTRA_FIELDS:
            kind = _form(one, field) if "properties" in field else types[_kind(field)]
            fields.append((one, kind | None | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True)


def _kind(field: Mapping[str, Any]) -> str:
    """Return the type of a field, but for null."""
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return str(next(name for name in types if name != "null"))


class _Object:
    """The shape of an object whose fields the schema names."""

    def __init__(
        self,
        schema: Mapping[str, Any],
        wanted: Mapping[str, Any],
        path: str,
        on_unexpected_field: Callable[[str, bool], None],
    ) -> None:
        self._path = path
        self._on_odd = on_unexpected_field
        self._reported: set[str] = set()
        self._objects: dict[str, _Object] = {}
        self._values: dict[str, tuple[type | None, Callable[[Any], Any]]] = {}
        """For each field the type of values that need not be changed, and what changes others."""
        self._unwanted = schema["properties"].keys() - wanted["properties"].keys() - {EXTRA_FIELDS}
        for name, field in schema["properties"].items():
            if name in self._unwanted or name == EXTRA_FIELDS:
                continue
            if "properties" in field:
                self._objects[name] = _Object(field, wanted["properties"][name], f"{path}{name}.", on_unexpected_field)
            else:
                self._values[name] = (None, _unix_time) if name in _UNIX_TIMES else _converter(field)

    def shape(self, row: Row) -> tuple[Record, dict[str, Any]]:
        """Return the object in its schema's form, and what has no place in that form."""
        record: Record = {}
        extra: dict[str, Any] = {}
        values = self._values
        for name, value in row.items():
            if field := values.get(name):
                as_it_is, convert = field
                if value is None or type(value) is as_it_is:
                    record[name] = value
                    continue
                try:
                    record[name] = convert(value)
                except ValueError:
                    record[name] = None
                    self._set_aside(extra, name, value, named=True)
            elif name in self._objects:
                record[name] = None
                if isinstance(value, dict):
                    record[name], rest = self._objects[name].shape(value)
                    extra.update({name: rest} if rest else {})
                elif value is not None:
                    self._set_aside(extra, name, value, named=True)
            elif name not in self._unwanted:
                self._set_aside(extra, name, value, named=False)
        return record, extra

    def _set_aside(self, extra: dict[str, Any], name: str, value: Any, *, named: bool) -> None:
        extra[name] = sanitize_nested(value)
        if name not in self._reported:
            self._reported.add(name)
            self._on_odd(f"{self._path}{name}", named)


def _converter(field: Mapping[str, Any]) -> tuple[type | None, Callable[[Any], Any]]:
    """Return the type of values that fit a field as they are, and the function for others.

    The function raises ValueError where a value cannot be brought to the field's type.
    """
    if field.get("format") == "date-time":
        return None, normalize_timestamp
    if (kind := _kind(field)) == "array":
        return None, partial(_list, _converter(field["items"])[1])
    converters: dict[str, tuple[type | None, Callable[[Any], Any]]] = {
        "integer": (None, _integer),
        "number": (None, partial(_number, text=_NUMBER)),
        "boolean": (bool, _boolean),
        "string": (str, _text),
        "object": (dict, _free),
    }
    return converters[kind]


def _integer(value: Any) -> int:
    if type(value) is int and -_BIGGEST_INTEGER <= value <= _BIGGEST_INTEGER:
        return value
    number = _number(value, _INTEGER)
    if number != int(number):
        raise ValueError("not an integer")
    return int(number)


def _number(value: Any, text: re.Pattern[str]) -> int | Decimal:
    """Return a number that a database column holds, which may have come as a text of some form."""
    if isinstance(value, str) and text.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a number")  # noqa: TRY004 - To the caller, a wrong type is a wrong value.
    number = Decimal(value)
    if not number.is_finite() or not -_BIGGEST_INTEGER <= number <= _BIGGEST_INTEGER:
        raise ValueError("not a number")
    return value


def _unix_time(value: Any) -> int:
    """A time in another form becomes its Unix seconds."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        return unix_seconds(normalize_timestamp(value))
    return _integer(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    truth = {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())
    if truth is None:
        raise ValueError("not a boolean")
    return truth


def _text(value: Any) -> str:
    return value if isinstance(value, str) else serialize_json(value, ensure_ascii=False)


def _list(convert: Callable[[Any], Any], value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return [None if item is None else convert(item) for item in values]


def _free(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"_raw": value}
