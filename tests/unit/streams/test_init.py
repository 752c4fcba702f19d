"""The streams: their names and keys, and what each does in its own way."""

from __future__ import annotations

import pytest

from tap_wootric.streams import STREAMS, SurveyTemplates
from tests.unit.api.fakes import response
from tests.unit.fakes import make_stream


def test_the_streams_have_the_keys_and_the_selection_that_targets_and_catalogs_rely_on() -> None:
    assert {
        name: (stream.path, [*stream.primary_keys], stream.replication_key, stream.selected_by_default)
        for name, stream in STREAMS.items()
    } == {
        "end_users": ("/v1/end_users", ["id"], "updated_at", True),
        "responses": ("/v1/responses", ["id"], "updated_at", True),
        "declines": ("/v1/declines", ["id"], "updated_at", True),
        "segments": ("/v1/segments", ["name"], None, False),
        "survey_templates": ("/v1/survey_templates", ["id"], None, False),
        "nps_summary": ("/v1/nps_summary", ["date"], "date", False),
        "email_stats": ("/v2/email_stats", ["date"], "date", False),
        "email_sources": ("/v2/email_stats/sources", ["kind", "id"], None, False),
    }


@pytest.mark.parametrize(
    ("default", "flags"), [("1", [True, False]), (2, [False, True]), (None, [None, None]), (7, [False, False])]
)
def test_the_default_survey_template_is_marked_whatever_the_type_of_its_id_and_samplings_are_objects(
    default: object, flags: list[bool | None]
) -> None:
    samplings = [{"percent": 5}, 7]
    templates = [{"id": 1}, {"id": 2, "custom_samplings": samplings}]
    content = {"default_survey_template_id": default, "survey_templates": templates}
    records = make_stream(SurveyTemplates, lambda *_: response(content=content)).records({})
    assert [record["is_default"] for record in records] == flags
    assert [record["custom_samplings"] for record in records] == [None, [{"percent": 5}, {"_raw": 7}]]
