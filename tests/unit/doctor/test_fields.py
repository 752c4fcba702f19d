from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tap_wootric.doctor.fields import differences
from tap_wootric.streams import Responses

NOTHING: dict[str, Any] = {"unknown": {}, "misfit": {}, "converted": {}}


def found_in(*rows: dict[str, Any]) -> dict[str, Any]:
    return differences(Responses.schema, rows)


def test_rows_that_fit_the_schema_differ_in_nothing() -> None:
    created_at = {"created_at": "2016-12-16 09:05:13 -0800", "updated_at": 1_481_907_913}
    end_user = {"id": 1, "properties": {"secret": "value", "@": [1]}}
    assert found_in({"id": 1, "score": None, "tags": ["A"], "end_user": end_user, **created_at}) == NOTHING


def test_new_fields_are_named_with_the_types_of_their_values() -> None:
    found = found_in({"id": 1, "color": "red", "end_user": {"rank": 1}}, {"id": 2, "color": None})
    assert found == {**NOTHING, "unknown": {"color": ["null", "string"], "end_user.rank": ["integer"]}}


def test_values_that_do_not_fit_are_named_with_their_types() -> None:
    misfit = found_in({"id": 1, "score": "high", "end_user": "Ada", "created_at": "soon"})["misfit"]
    assert misfit == {"created_at": ["string"], "end_user": ["string"], "score": ["string"]}


def test_values_that_the_tap_converts_are_named_apart() -> None:
    found = found_in({"id": "1", "text": Decimal("1.5"), "completed": "true", "tags": [1], "notes": "Called"})
    converted = {"completed": ["string"], "id": ["string"], "notes": ["string"], "tags": ["array"], "text": ["number"]}
    assert found == {**NOTHING, "converted": converted}


@pytest.mark.parametrize("name", ["ada@example.com", "Net Revenue", "", "1st", "x" * 65, "é"])
def test_names_that_may_be_data_are_hidden(name: str) -> None:
    assert found_in({"id": 1, name: 1}) == {**NOTHING, "unknown": {"(hidden)": ["integer"]}}
