"""Expressions in stream maps are refused if they name unknown properties, and accepted if they work."""

from __future__ import annotations

from typing import Any

import pytest

from tap_wootric import expressions
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


def error(expression: str, key: str = "new") -> str | None:
    """Return what is wrong with an expression for a property of users, or None."""
    problems = [*expressions.problems(expression, key, "users", USERS, expression_functions())]
    assert len(problems) <= 1
    return problems[0] if problems else None


@pytest.mark.parametrize(
    "expression",
    [
        "md5(emial)",
        "md5(email) if emial else None",
        "f'{emial}'",
        "[tag for tag in emial]",
        "[tag + emial for tag in tags]",
        "str(id) + json.dumps({'x': [emial]})",
    ],
)
def test_an_expression_that_names_no_property_is_refused(expression: str) -> None:
    assert error(expression) == "names emial, which is not a property of users; did you mean email?"


@pytest.mark.parametrize(
    ("expression", "owner"),
    [
        ("record['txet']", "record"),
        ("_['txet']", "_"),
        ("record.txet", "record"),
        ("record.get('txet')", "record"),
        ("'txet' in record", "record"),
        ("last['txet']", "last"),
        ("last.txet", "last"),
        ("last.get('txet')", "last"),
        ("record['last']['txet']", "record['last']"),
        ("(last or {}).get('txet')", "last or {}"),
        ("'txet' not in last", "last"),
        ("{**last, 'txet': None}", "last"),
        ("{**last, 'txet': md5(last['text'])}", "last"),
        ("dict(last, txet=None)", "last"),
        ("{k: v for k, v in last.items() if k != 'txet'}", "last"),
        ("{k: v for k, v in last.items() if 'txet' != k}", "last"),
        ("{k: v for k, v in last.items() if k not in ('score', 'txet')}", "last"),
        ("{k: last[k] for k in last if k not in ['txet']}", "last"),
        ("{k: last[k] for k in last.keys() if k not in {'txet'}}", "last"),
    ],
)
def test_an_expression_that_names_no_field_of_an_object_is_refused(expression: str, owner: str) -> None:
    hint = "" if owner in {"record", "_"} else "; did you mean text?"
    assert error(expression) == f"names txet, which is not a field of {owner}{hint}"


def test_a_field_that_is_emptied_must_be_there_and_one_that_is_added_may_be_new() -> None:
    assert error("{**last, 'phone': None}") == "names phone, which is not a field of last"
    assert error("{**last, 'phone': email}") is None


def test_fields_are_found_through_self_too() -> None:
    assert error("{**self, 'txet': None}", "last") == "names txet, which is not a field of self; did you mean text?"
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
    ("expression", "problem"),
    [
        ("sha265(email)", "calls sha265, which is not a function; did you mean sha256?"),
        ("email(id)", "calls email, which is not a function"),
        ("redacted", "names redacted, which is not a property of users"),
        ("email +", "is not valid: invalid syntax"),
        ("'\0'", "is not valid: source code string cannot contain null bytes"),
        ("new = 'x'", "is not valid: invalid syntax"),
        ("email; id", "is not valid: invalid syntax"),
        ("", "is not valid: invalid syntax"),
    ],
)
def test_any_other_mistake_that_can_be_seen_before_a_record_is_refused(expression: str, problem: str) -> None:
    assert (error(expression) or "").startswith(problem)
