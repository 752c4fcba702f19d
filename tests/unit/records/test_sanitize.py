"""Values that databases reject are replaced, and no others are touched."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.records.sanitize import parse_number, sanitize, sanitize_nested


def json_with(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )


FEW_EXAMPLES = settings(max_examples=30, deadline=None)
ACCEPTED = 'aé高🙂\\"\x1f\u2028\ufffd'
"""Characters that databases accept. Hypothesis would take three seconds to list all that there are."""
NAME = "end_users"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([{"text": "a\ud83d!"}], [{"text": "a\ufffd!"}]),
        ([{"\ud800": ["\udfff", "🙂"]}], [{"\ufffd": ["\ufffd", "🙂"]}]),
        ([{"text": "a\0b"}], [{"text": "a\0b"}]),
        ([{"tags": ["a\0b"]}], [{"tags": ["a\ufffdb"]}]),
        ([{"end_user": {"a\0b": "c\0d"}}], [{"end_user": {"a\ufffdb": "c\ufffdd"}}]),
        ([{"a\0b": 1}], [{"a\ufffdb": 1}]),
        ([{"\0": 1, "\ud800": 2}], [{"\ufffd": 1, "\ufffd1": 2}]),
        ([{"a\0": 1, "a\ufffd": 2}], [{"a\ufffd0": 1, "a\ufffd": 2}]),
    ],
)
def test_lone_surrogates_and_nested_nuls_become_the_replacement_character(sent: Any, expected: Any) -> None:
    assert sanitize(sent, NAME) == expected


@pytest.mark.parametrize(
    ("sent", "expected"), [("a\0b", "a\ufffdb"), (["a\0b"], ["a\ufffdb"]), ({"\0": 1}, {"\ufffd": 1})]
)
def test_inside_an_object_even_a_rows_own_text_loses_its_nuls(sent: Any, expected: Any) -> None:
    assert sanitize_nested(sent) == expected


@FEW_EXAMPLES
@given(value=json_with(st.text(st.sampled_from(ACCEPTED))))
def test_values_that_databases_accept_are_unchanged(value: Any) -> None:
    assert sanitize(value, NAME) == value
    assert sanitize_nested(value) == value


@FEW_EXAMPLES
@given(value=json_with(st.text(st.sampled_from(f"{ACCEPTED}\0\ud83d\ude42"))))
def test_sanitized_values_can_be_encoded_and_hold_no_nul(value: Any) -> None:
    text = json.dumps(sanitize_nested(value), ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text


def test_a_replacement_is_logged_once_per_document_and_without_the_value(caplog: pytest.LogCaptureFixture) -> None:
    sanitize([{"text": "a\0b"}], NAME)  # Nothing is replaced.
    sanitize([{"text": "secret\ud800"}, {"text": "secret\ud800"}], NAME)
    assert caplog.messages == [
        "end_users: text that databases reject (lone surrogates, NULs inside objects or lists) was replaced with U+FFFD"
    ]


@pytest.mark.parametrize("text", ["0.1", "1.10", "-1e400", "1e4299", "1E-4299", "0e5"])
def test_a_number_keeps_its_digits(text: str) -> None:
    number = parse_number(text)
    assert isinstance(number, Decimal)
    assert str(number) == str(Decimal(text))


@pytest.mark.parametrize("text", ["1e4300", "-1e-4300", "9" * 4_301, "1e99999999999999999999"])
def test_a_number_that_databases_or_targets_cannot_hold_stays_text(text: str) -> None:
    assert parse_number(text) == text
