"""An expression of a stream map that names what is not there is refused, and one that works is not."""

from __future__ import annotations

from typing import Any

import pytest

from tap_wootric import expressions
from tap_wootric.expressions import Environment, Record
from tap_wootric.sdk import expression_functions

TEXT = {"type": ["string", "null"]}
FREE = {"type": ["object", "null"], "additionalProperties": True}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties}


USERS = object_of(
    id={"type": "integer"},
    email=TEXT,
    tags={"type": ["array", "null"], "items": TEXT},
    properties=FREE,
    last=object_of(score=TEXT, text=TEXT, survey=object_of(channel=TEXT, metric=TEXT)),
)
ENVIRONMENT = Environment(functions=expression_functions(), config={"salt": "pepper"}, fake=None)


def error(expression: str, key: str | None = "new", *, selected: Any = USERS) -> str | None:
    """Return what is wrong with an expression for a property of users, or None."""
    problems = [*expressions.problems(expression, key, Record("users", USERS, selected), ENVIRONMENT)]
    assert len(problems) <= 1
    return problems[0] if problems else None


@pytest.mark.parametrize(
    "expression",
    [
        "md5(emial)",
        "md5(email) if emial else None",
        "record['emial']",
        "_['emial']",
        "record.emial",
        "record.get('emial')",
        "'emial' in record",
        "f'{emial}'",
        "[tag for tag in emial]",
        "[tag + emial for tag in tags]",
        "{k: v for k, v in record.items() if k != 'emial'}",
        "{**record, 'emial': None}",
        "str(id) + json.dumps({'x': [emial]})",
    ],
)
def test_an_expression_that_names_no_property_is_refused(expression: str) -> None:
    assert error(expression) == "names emial, which is not a property of users; did you mean email?"


@pytest.mark.parametrize(
    "expression",
    [
        "last['txet']",
        "last.txet",
        "last.get('txet')",
        "record['last']['txet']",
        "(last or {}).get('txet')",
        "'txet' not in last",
        "{**last, 'txet': None}",
        "{**last, 'txet': md5(last['text'])}",
        "dict(last, txet=None)",
        "{k: v for k, v in last.items() if k != 'txet'}",
        "{k: v for k, v in last.items() if 'txet' != k}",
        "{k: v for k, v in last.items() if k not in ('score', 'txet')}",
        "{k: last[k] for k in last if k not in ['txet']}",
        "{k: last[k] for k in last.keys() if k not in {'txet'}}",
    ],
)
def test_an_expression_that_names_no_field_of_an_object_is_refused(expression: str) -> None:
    assert error(expression) == "names last.txet, which is not a field of last; did you mean text?"


def test_fields_are_found_through_self_too() -> None:
    assert (
        error("{**self, 'txet': None}", "last") == "names last.txet, which is not a field of last; did you mean text?"
    )
    assert error("self['survey']['metric']", "last") is None


@pytest.mark.parametrize(
    "expression",
    [
        "None",
        "'redacted'",
        "email",
        "record",
        "md5(email) if email else None",
        "record['email'] or record.get('id')",
        "email.lower().removesuffix('x')",
        "int(id) + float(id) + randint(9)",
        "properties['Department']",
        "properties.get('anything') if properties else None",
        "properties.Department.name",
        "last['survey']['channel']",
        "{**last, 'text': None, 'brand_new': email} if last else None",
        "{k: v for k, v in last.items() if k != 'text' and v != 'x'}",
        "{k: v for k, v in last.items() if k.startswith('s')}",
        "{k: v for k, v in properties.items() if k != 'Department'}",
        "[tag for tag in tags if tag != 'vip']",
        "[x + y for x in tags for y in [x]]",
        "[email for email in tags]",
        "datetime.datetime.now().isoformat()",
        "json.loads(email)['anything']",
        "config.get('salt')",
        "__stream_name__ + __original_stream_name__",
        "record[email]",
        "record.items()",
        "'vip' in tags",
        "(lambda: 1)()",
    ],
)
def test_an_expression_is_accepted_if_it_names_what_is_there_or_what_only_records_can_tell(expression: str) -> None:
    assert error(expression) is None


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sha265(email)", "calls sha265, which is not a function; did you mean sha256?"),
        ("email(id)", "calls email, which is not a function"),
        ("self", "reads self, the value of the property, but new is a new property"),
        ("config['slat']", "reads config['slat'], which stream_map_config does not set; did you mean salt?"),
        ("redacted", "names redacted, which is not a property of users; for a text, write \"'redacted'\""),
        ("email +", "is not valid: invalid syntax"),
        ("'\0'", "is not valid: source code string cannot contain null bytes"),
        ("new = 'x'", "assigns a value with =; to compare, write =="),
        ("email; id", "must be a single expression"),
        ("del email", "must be a single expression"),
        ("", "must be a single expression"),
    ],
)
def test_any_other_mistake_that_can_be_seen_before_a_record_is_refused(expression: str, complaint: str) -> None:
    assert (error(expression) or "").startswith(complaint)


def test_what_the_catalog_deselects_cannot_be_read_unless_the_expression_expects_it_to_be_missing() -> None:
    selected = object_of(id=TEXT, last=object_of(score=TEXT))
    assert error("md5(email)", selected=selected) == "reads email, which the catalog deselects"
    assert error("md5(self)", "email", selected=selected) == "reads email, which the catalog deselects"
    assert error("last['text']", selected=selected) == "reads last.text, which the catalog deselects"
    assert error("record.get('email')", selected=selected) is None
    assert error("email if 'email' in record else None", selected=selected) is None
    assert error("{**last, 'text': None}", selected=selected) is None
