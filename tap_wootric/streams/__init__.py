"""The streams, a class each; those about email are in `email.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from tap_wootric.pagination.query import TIME_KEYS
from tap_wootric.records.transform import Row
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.daily import DailyStream
from tap_wootric.streams.email import EmailSources, EmailStats
from tap_wootric.streams.lists import ListStream


class EndUsers(ListStream):
    """The people the account surveys."""

    name = "end_users"
    path = "/v1/end_users"
    sort_keys = (*TIME_KEYS, "email")  # Documented since 2019.


class Responses(ListStream):
    """The responses of end users to surveys."""

    name = "responses"
    path = "/v1/responses"


class Declines(ListStream):
    """The surveys that end users closed without responding."""

    name = "declines"
    path = "/v1/declines"


class Segments(WootricStream):
    """The properties by which the account can segment its end users."""

    name = "segments"
    path = "/v1/segments"
    primary_keys = ("name",)
    selected_by_default = False


class SurveyTemplates(WootricStream):
    """The templates of surveys."""

    name = "survey_templates"
    path = "/v1/survey_templates"
    selected_by_default = False

    @override
    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the templates in the JSON of a response, each with whether it is the default template."""
        default_id, templates = content.get("default_survey_template_id"), content["survey_templates"]
        if not isinstance(templates, list):
            raise TypeError
        return [
            {**row, "is_default": None if default_id is None else str(row.get("id")) == str(default_id)}
            for row in templates
        ]


class NpsSummary(DailyStream):
    """The NPS metrics of the account, day by day."""

    name = "nps_summary"
    path = "/v1/nps_summary"
    selected_by_default = False
    range_params = ("date[start]", "date[end]")
    needed_fields = ("responses",)

    @override
    def totals(self, content: Any) -> Row:
        """Return the metrics in the JSON of a response. Without `responses` it has another structure."""
        return {**content, "responses": content["responses"]}


STREAMS: dict[str, type[WootricStream]] = {
    stream.name: stream
    for stream in (EndUsers, Responses, Declines, Segments, SurveyTemplates, NpsSummary, EmailStats, EmailSources)
}
"""The streams by their names."""
