"""The streams, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tap_wootric.pagination.query import TIME_KEYS
from tap_wootric.records.transform import Row
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.daily import DailyStream
from tap_wootric.streams.lists import ListStream


class EndUsers(ListStream):
    """The people whom the account surveys."""

    name = "end_users"
    path = "/v1/end_users"
    sort_keys = (*TIME_KEYS, "email")
    filters_updates = True  # Documented since 2018; for the other lists later, and an older deployment ignores it.


class Responses(ListStream):
    """The answers that end users gave to surveys."""

    name = "responses"
    path = "/v1/responses"


class Declines(ListStream):
    """The surveys that end users closed without an answer."""

    name = "declines"
    path = "/v1/declines"


class Segments(WootricStream):
    """The properties of end users that the account can be divided by."""

    name = "segments"
    path = "/v1/segments"
    primary_keys = ("name",)
    selected_by_default = False


class SurveyTemplates(WootricStream):
    """The surveys that can be sent."""

    name = "survey_templates"
    path = "/v1/survey_templates"
    selected_by_default = False

    def rows(self, answer: Any, params: Mapping[str, Any]) -> list[Row]:  # noqa: ARG002 - It is asked with none.
        """Return the templates of an answer, each with whether it is the default one."""
        default, templates = answer.get("default_survey_template_id"), answer["survey_templates"]
        if not isinstance(templates, list):
            raise TypeError
        return [
            {**row, "is_default": None if default is None else str(row.get("id")) == str(default)} for row in templates
        ]


class NpsSummary(DailyStream):
    """The account's NPS metrics of each day."""

    name = "nps_summary"
    path = "/v1/nps_summary"
    selected_by_default = False


STREAMS: dict[str, type[WootricStream]] = {
    stream.name: stream for stream in (EndUsers, Responses, Declines, Segments, SurveyTemplates, NpsSummary)
}
"""The streams by their names."""
