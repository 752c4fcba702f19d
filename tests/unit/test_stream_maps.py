"""Stream maps are refused if they name unknown streams or properties, and accepted if they work."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tap_wootric import stream_maps
from tests.unit.fakes import make_tap
from tests.unit.test_expressions import FREE, TEXT, USERS, object_of

RESPONSES = object_of(id={"type": "integer"}, text=TEXT, user=object_of(id=TEXT, email=TEXT, properties=FREE))
DAYS = object_of(date=TEXT, user=object_of(name=TEXT), properties=object_of(count=TEXT))
STREAMS = {"users": USERS, "responses": RESPONSES, "days": DAYS}


def errors(maps: Any, **config: Any) -> list[str]:
    """Return what is wrong with stream maps."""
    lines = stream_maps.errors({"stream_maps": maps, **config}, STREAMS)
    assert all("\n" not in line for line in lines)
    return [line.removeprefix("stream_maps: ") for line in lines]


# What is removed


@pytest.mark.parametrize("removal", [None, "__NULL__"])
def test_only_a_property_of_the_stream_can_be_removed(removal: str | None) -> None:
    assert errors({"users": {"email": removal, "tags": removal}}) == []
    assert errors({"users": {"emial": removal}}) == [
        "users.emial cannot be removed: emial is not a property of users; did you mean email?"
    ]
    assert errors({"users": {"x": removal}}) == ["users.x cannot be removed: x is not a property of users"]


@pytest.mark.parametrize(
    ("key", "head", "recipe"),
    [
        ("last.text", "last", "{**last, 'text': None} if last else None"),
        ("last__text", "last", "{**last, 'text': None} if last else None"),
        ("properties.Team", "properties", "{**properties, 'Team': None} if properties else None"),
        (
            "last.survey.metric",
            "last",
            "{**last, 'survey': {**last['survey'], 'metric': None} if last['survey'] else None} if last else None",
        ),
    ],
)
@pytest.mark.parametrize("flattening", [{}, {"flattening_enabled": True, "flattening_max_depth": 5}])
def test_removing_a_nested_field_is_refused_with_the_expression_that_empties_it(
    key: str, head: str, recipe: str, flattening: dict[str, Any]
) -> None:
    (line,) = errors({"users": {key: None}}, **flattening)
    assert line.startswith(f"users.{key} is a field inside of {head}, ")
    assert line.endswith(f'"{recipe}"')
    assert errors({"users": {head: recipe}}) == []


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("{**user, 'email': None} if user else None", {"id": "7", "email": None}),
        ("{k: v for k, v in user.items() if k != 'email'} if user else None", {"id": "7"}),
        (
            "{**user, 'email': md5(user['email']) if user['email'] else None} if user else None",
            {"id": "7", "email": "3e3417d7ef77d5932a6734b916515ed5"},
        ),
    ],
)
def test_the_recipes_for_nested_fields_pass_the_checks_and_work_in_the_sdk(
    recipe: str, expected: dict[str, Any]
) -> None:
    assert errors({"responses": {"user": recipe}}) == []
    recipe = recipe.replace("user", "end_user")
    (stream_map,) = make_tap(stream_maps={"responses": {"end_user": recipe}}).mapper.stream_maps["responses"]
    for user, mapped in (({"id": "7", "email": "ada@example.com"}, expected), (None, None)):
        assert stream_map.transform({"id": 1, "end_user": user}) == {"id": 1, "end_user": mapped}


def test_an_expression_may_add_any_property_but_one_that_is_mistaken_for_a_field_that_stays() -> None:
    flattening = {"flattening_enabled": True, "flattening_max_depth": 1}
    text = "last['text'] if last else None"
    for key in ("hash", "last__text", "properties.Team", "email.domain", "last.other"):
        assert errors({"users": {key: text}}) == []
    assert errors({"users": {"last__survey__metric": text}}, **flattening) == []  # Deeper than the SDK flattens.
    assert errors({"users": {"last": None, "last__text": text}}, **flattening) == []
    assert errors({"users": {"__else__": None, "id": "id", "last.text": text}}) == []
    for key, options in (
        ("last.text", {}),
        ("last__text", flattening),
        ("last_text", {**flattening, "flattening_separator": "_"}),
    ):
        (line,) = errors({"users": {key: text}}, **options)
        assert line.startswith(f"users.{key} is a field inside of last, ")


def test_all_mistakes_are_reported() -> None:
    lines = errors({"users": {"emial": None, "new": "md5(emial) + nofunc(nope)"}, "user": {}})
    assert [line.split("; ")[0] for line in lines] == [
        "users.emial cannot be removed: emial is not a property of users",
        "the expression for users.new names emial, which is not a property of users",
        "the expression for users.new calls nofunc, which is not a function",
        "the expression for users.new names nope, which is not a property of users",
        "user is not a stream",
    ]


def test_a_filter_is_an_expression_without_a_property_of_its_own() -> None:
    assert errors({"users": {"__filter__": "email != 'x'"}}) == []
    assert errors({"users": {"__filter__": "emial != 'x'"}}) == [
        "the expression for users.__filter__ names emial, which is not a property of users; did you mean email?"
    ]
    assert errors({"users": {"__filter__": None}}) == []


# Streams and options


def test_a_map_for_an_unknown_stream_is_refused() -> None:
    assert errors({"user": {}}) == ["user is not a stream; did you mean users?"]
    assert errors({"x*": None}) == ["x* is not a stream"]
    assert errors({"users": {}, "responses": None, "days": "__NULL__", "__else__": None}) == []


def test_a_copy_of_a_stream_has_any_name_and_the_properties_of_its_source() -> None:
    assert errors({"copy": {"__source__": "users", "email": None}, "users": {"email": None}}) == []
    assert errors({"copy": {"__source__": "user"}}) == [
        "the __source__ of copy, user, is not a stream; did you mean users?"
    ]
    assert errors({"copy": {"__source__": "users", "text": None}}) == [
        "copy.text cannot be removed: text is not a property of users"
    ]


def test_a_map_for_several_streams_names_properties_of_any_of_them() -> None:
    assert errors({"*": {"email": None, "text": None, "n": "record.get('date')"}}) == []
    assert errors({"*s": {"user": "{**user, 'email': None, 'name': None}", "x": "properties['any']"}}) == []
    assert errors({"*": {"emial": None}}) == [
        "*.emial cannot be removed: emial is not a property of any stream; did you mean email?"
    ]
    assert errors({"[ud]*": {"text": None}}) == ["[ud]*.text cannot be removed: text is not a property of any stream"]


@pytest.mark.parametrize(
    ("maps", "both"),
    [
        ({"*": {"id": "id"}, "users": {"email": None}}, "both * and users map users, and only users would count"),
        ({"users": {"email": None}, "*": {"id": "id"}}, "both users and * map users, and only * would count"),
        ({"users": None, "*": {"id": "id"}}, "both users and * map users, and only * would count"),
    ],
)
def test_a_map_that_another_one_would_replace_is_refused(maps: Any, both: str) -> None:
    assert errors(maps) == [f"{both}; put it all into that one"]


@pytest.mark.parametrize(
    "maps",
    [
        {"*": {"email": None}, "users": {"email": None, "tags": None}},
        {"*": None, "users": {"email": None}},
        {"users": {"email": None}, "*": None},
        {"*": {"email": None}, "copy": {"__source__": "users"}},
    ],
)
def test_a_map_that_does_all_of_what_it_replaces_is_fine(maps: Any) -> None:
    assert errors(maps) == []


def test_an_unknown_option_is_refused() -> None:
    options = {"__alias__": "people", "__else__": None, "__key_properties__": ["id", "hash"], "hash": "md5(email)"}
    assert errors({"users": options}) == []
    assert errors({"users": {"__fliter__": "email"}}) == ["users.__fliter__ is not an option; did you mean __filter__?"]


# Faker


@pytest.mark.parametrize(
    ("locale", "lines"),
    [
        (None, []),
        ("de_DE", []),
        (["de_DE", "en_US"], []),
        ("xx_XX", ["faker_config: xx_XX is not a locale of Faker"]),
        (["de_DE", "de_DD"], ["faker_config: de_DD is not a locale of Faker; did you mean de_DE?"]),
    ],
)
def test_the_locale_is_checked_even_without_a_map(locale: Any, lines: list[str]) -> None:
    assert errors(None, faker_config={"locale": locale, "seed": 7}) == lines


def test_without_faker_the_extra_is_named_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker", None)
    install = "but Faker is not installed: install the tap with its extra, faker"
    assert errors({"users": {"email": "fake.name()"}}) == [f"the expression for users.email uses fake, {install}"]
    assert errors(None, faker_config={"seed": 7}) == [f"faker_config is set, {install}"]
    assert errors({"users": {"email": "md5(email)"}}, faker_config={}) == []


def test_without_maps_there_is_nothing_to_check() -> None:
    assert errors(None) == errors({}) == []
