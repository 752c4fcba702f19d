"""Stream maps are refused if they name something that does not exist, and accepted if they work."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from singer_sdk.exceptions import StreamMapConfigError

from tap_wootric import stream_maps
from tests.unit.fakes import make_tap

TEXT = {"type": ["string", "null"]}
FREE = {"type": ["object", "null"], "additionalProperties": True}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties}


LAST = object_of(score=TEXT, text=TEXT, survey=object_of(channel=TEXT, metric=TEXT))
TAGS = {"type": ["array", "null"], "items": TEXT}
STREAMS = {
    "users": object_of(id={"type": "integer"}, email=TEXT, tags=TAGS, properties=FREE, last=LAST),
    "responses": object_of(id={"type": "integer"}, text=TEXT, user=object_of(id=TEXT, email=TEXT, properties=FREE)),
    "days": object_of(date=TEXT, count=TEXT),
}


def errors(maps: Any, **config: Any) -> list[str]:
    """Return what is wrong with stream maps."""
    lines = stream_maps.errors({"stream_maps": maps, **config}, STREAMS)
    assert all("\n" not in line for line in lines)
    return [line.removeprefix("stream_maps: ") for line in lines]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("md5(emial)", "names emial, which is not a property of users; did you mean email?"),
        ("md5(email) if emial else None", "names emial"),
        ("None if email else md5(emial)", "names emial"),
        ("f'{emial}'", "names emial"),
        ("[tag + emial for tag in tags if tag == 'vip']", "names emial"),
        ("sha265(email)", "names sha265, which is not a property of users; did you mean sha256?"),
        ("email +", "is not valid: invalid syntax"),
        ("'\0'", "is not valid: source code string cannot contain null bytes"),
        ("new = 'x'", "is not valid: invalid syntax"),
        ("", "is not valid: invalid syntax"),
        ("_.txet", "names txet, which is not a property of users"),
        ("record.get('txet')", "names txet, which is not a property of users"),
        ("'txet' in record", "names txet, which is not a property of users"),
        ("last.txet", "names txet, which is not a field of last"),
        ("(last or {}).get('txet')", "names txet, which is not a field of last"),
        ("record['last']['survey']['metrc']", "names metrc, which is not a field of survey; did you mean metric?"),
        ("'txet' not in last", "names txet, which is not a field of last"),
        ("{**last, 'txet': None} if last else None", "names txet, which is not a field of last; did you mean text?"),
        ("{**last, 'txet': email.split('@')[1]}", "names txet"),
        ("{**last, 'survey': {**last['survey'], 'metrc': None}}", "names metrc"),
        ("{**last, 'phone': None}", "names phone, which is not a field of last"),
        ("dict(last, txet=None)", "names txet"),
        ("{k: v for k, v in last.items() if k != 'txet'}", "names txet"),
        ("{k: v for k, v in last.items() if 'txet' != k}", "names txet"),
        ("{k: v for k, v in last.items() if k not in ('score', 'txet')}", "names txet"),
        ("{k: last[k] for k in last.keys() if k not in {'txet'}}", "names txet"),
        ("{k: None if k == 'txet' else last[k] for k in last}", "names txet"),
        ("{**self, 'txet': None}", "names txet"),
    ],
)
def test_an_expression_with_an_unknown_name_is_refused(expression: str, problem: str) -> None:
    key = "last" if "self" in expression else "new"
    (line,) = errors({"users": {key: expression}})
    assert line.startswith(f"the expression for users.{key} {problem}")


@pytest.mark.parametrize(
    "expression",
    [
        "md5(email) if email else None",
        "int(id) + float(id) + randint(9)",
        "properties['Department']",
        "properties.Department.name",
        "{**last, 'text': None, 'brand_new': email} if last else None",
        "{**last, 'vip': True if 'vip' in tags else None, 'city': properties.get('city')}",
        "{'mail': email, 'phone': None}",
        "{k: v for k, v in last.items() if k != 'text' and v != 'x'}",
        "{k: v for k, v in last.items() if k.startswith('s') and v is not None}",
        "{k: v for k, v in properties.items() if k != 'Department'}",
        "[tag for tag in tags if tag != 'vip']",
        "[x + y for x in tags for y in [x]]",
        "datetime.datetime.now().isoformat() + fake.name() + str(rand())",
        "json.loads(email)['anything']",
        "config.get('salt') + config['salt']",
        "__stream_name__ + __original_stream_name__",
        "record[email] or last[email.lower() + '_x']",
        "{'a': 1}[email]",
        "self",
    ],
)
def test_an_expression_is_accepted_if_its_names_exist_or_only_a_record_can_tell(expression: str) -> None:
    assert errors({"users": {"new": expression, "__filter__": expression}}) == []


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("{**end_user, 'email': None} if end_user else None", {"id": "7", "email": None}),
        ("{k: v for k, v in end_user.items() if k != 'email'} if end_user else None", {"id": "7"}),
    ],
)
def test_the_recipes_for_nested_fields_pass_the_checks_and_work_in_the_sdk(recipe: str, expected: Any) -> None:
    (stream_map,) = make_tap(stream_maps={"responses": {"end_user": recipe}}).mapper.stream_maps["responses"]
    for user, mapped in (({"id": "7", "email": "ada@example.com"}, expected), (None, None)):
        assert stream_map.transform({"id": 1, "end_user": user}) == {"id": 1, "end_user": mapped}


@pytest.mark.parametrize("removal", [None, "__NULL__"])
def test_only_a_property_of_the_stream_can_be_removed(removal: str | None) -> None:
    assert errors({"users": {"email": removal, "tags": removal, "__filter__": removal}}) == []
    assert errors({"users": {"emial": removal, "x": removal}}) == [
        "users.emial cannot be removed: emial is not a property of users; did you mean email?",
        "users.x cannot be removed: x is not a property of users",
    ]


@pytest.mark.parametrize(("key", "field"), [("last.text", "text"), ("last__text", "text"), ("last.survey.x", "survey")])
@pytest.mark.parametrize("value", [None, "'x'"])
def test_a_map_of_a_nested_field_is_refused_with_the_expression_that_empties_it(
    key: str, field: str, value: Any
) -> None:
    (line,) = errors({"users": {key: value}}, flattening_enabled=True, flattening_max_depth=5)
    assert line.startswith(f"users.{key} is a field inside last, and maps only reach whole properties; ")
    recipe = f"{{**last, {field!r}: None}} if last else None"
    assert line.endswith(f'to empty {field}, set last to "{recipe}"')
    assert errors({"users": {"last": recipe}}) == []


def test_a_new_property_is_not_mistaken_for_a_nested_field() -> None:
    for key in ("hash", "last__text", "email.domain", "last.other"):
        assert errors({"users": {key: "email"}}) == []
    flattening = {"flattening_enabled": True, "flattening_separator": "_"}
    assert len(errors({"users": {"last_text": "email"}}, **flattening)) == 1
    assert errors({"users": {"last_text": "email", "last": None}}, **flattening) == []
    assert errors({"users": {"last_text": "email", "__else__": None}}, **flattening) == []


def test_all_mistakes_are_reported() -> None:
    lines = errors({"users": {"emial": None, "new": "md5(emial) + nofunc(nope)"}, "user": {}})
    for line, name in zip(lines, ("emial", "emial", "nofunc", "nope", "user"), strict=True):
        assert f"{name} " in line or f"{name}, " in line


def test_a_map_for_an_unknown_stream_or_an_unknown_option_is_refused() -> None:
    options = {"__alias__": "people", "__else__": None, "__key_properties__": ["id", "hash"], "hash": "md5(email)"}
    assert stream_maps.type_errors({"users": options, "responses": None, "days": "__NULL__", "__else__": None}) == []
    assert errors({"users": options, "responses": None, "days": "__NULL__", "__else__": None}) == []
    assert errors({"user": {}}) == ["user is not a stream; did you mean users?"]
    assert errors({"users": {"__fliter__": "email"}}) == ["users.__fliter__ is not an option; did you mean __filter__?"]


def test_a_copy_of_a_stream_has_any_name_and_the_properties_of_its_source() -> None:
    assert errors({"copy": {"__source__": "users", "email": None}, "users": {"email": None}}) == []
    (line,) = errors({"copy": {"__source__": "user"}})
    assert line == "the __source__ of copy, user, is not a stream; did you mean users?"
    assert len(errors({"copy": {"__source__": "users", "text": None}})) == 1


def test_a_map_for_several_streams_names_properties_of_any_of_them() -> None:
    assert errors({"*": {"email": None, "text": None, "n": "record.get('date')"}}) == []
    assert errors({"[ud]*": {"text": None}}) == ["[ud]*.text cannot be removed: text is not a property of any stream"]


@pytest.mark.parametrize(
    ("maps", "both"),
    [
        ({"*": {"id": "id"}, "users": {"email": None}}, "* and users"),
        ({"users": {"email": None}, "*": {"id": "id"}}, "users and *"),
        ({"users": None, "*": {"id": "id"}}, "users and *"),
        ({"*": {"email": None}, "users": {"email": None, "tags": None}}, None),
        ({"*": None, "users": {"email": None}}, None),
        ({"users": {"email": None}, "*": None}, None),
        ({"*": {"email": None}, "copy": {"__source__": "users"}}, None),
    ],
)
def test_a_map_is_refused_if_another_one_would_replace_it_without_doing_the_same(maps: Any, both: str | None) -> None:
    lines = [line for line in errors(maps) if line.startswith("both ")]
    last = both and both.split()[-1]
    assert lines == ([f"both {both} map users, and only {last} would count; put it all into that one"] if both else [])


@pytest.mark.parametrize(
    ("maps", "error"),
    [
        ({"__else__": "drop"}, "__else__: Expected `null`, got `str`"),
        ({"users": ["email"]}, "users: Expected `object | null`, got `array`"),
        ({"users": {"__else__": "drop"}}, "users.__else__: Expected `null`, got `str`"),
        ({"users": {"__alias__": None}}, "users.__alias__: Expected `str`, got `null`"),
        ({"users": {"__key_properties__": [1]}}, "users.__key_properties__: Expected `str`, got `int` - at `$[0]`"),
        ({"users": {"__filter__": 1}}, "users.__filter__: Expected `str | null`, got `int`"),
        ({"users": {"email": {"x": None}}}, "users.email: Expected `str | null`, got `object`"),
    ],
)
def test_an_option_of_another_type_is_refused(maps: Any, error: str) -> None:
    (line,) = stream_maps.type_errors(maps)
    assert line.startswith(f"stream_maps: {error}")


@pytest.mark.parametrize("alias", ["7", "()", "'\ud800'", "__stream_name__ + 1", "str("])
def test_an_alias_is_a_name(alias: str) -> None:
    (line,) = errors({"users": {"__alias__": alias}})
    assert line.startswith("users.__alias__ must be a name, or an expression that gives one: ")
    assert errors({"users": {"__alias__": "'new_' + __stream_name__"}}) == []


def test_faker_needs_its_extra_and_a_locale_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors({"users": {"email": "fake.name()"}}, faker_config={"locale": ["de_DE", "en_US"], "seed": 7}) == []
    with pytest.raises(StreamMapConfigError, match=r"^faker_config: Invalid configuration for faker locale `de_DD`$"):
        errors(None, faker_config={"locale": ["de_DE", "de_DD"]})
    monkeypatch.setitem(sys.modules, "faker", None)
    assert errors({"users": {"email": "fake.name()"}}) == [
        "the expression for users.email uses fake, but Faker is not installed: install the tap with its extra, faker"
    ]
    assert errors({"users": {"email": "md5(email)"}}) == errors(None, faker_config={"seed": 7}) == []
