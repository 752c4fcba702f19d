"""The streams about email surveys, whose rows have numbers and texts such as `2 (29%)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from tap_wootric.records.transform import Row
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.daily import DailyStream

_PERCENTAGES = {
    "delivered_percentage": "delivered_percent",
    "bounce_rate_percentage": "bounce_rate_percent",
    "open_rate": "open_rate_percent",
    "response_rate": "response_rate_percent",
}
"""The fields that hold a percentage as text (documented), each with the field that holds it as a number."""

_PERCENTAGE = re.compile(r"(?:(\d{1,3}(?:,\d{3})+|\d+)\s*\()?(\d+(?:\.\d+)?)\s*%\)?", re.ASCII)
"""A percentage such as `60%`, or `2 (29%)` with a count before it."""


class EmailStats(DailyStream):
    """The statistics of the account's email surveys, day by day."""

    name = "email_stats"
    path = "/v2/email_stats"
    selected_by_default = False
    range_params = ("date_range[start_date]", "date_range[end_date]")
    needed_fields = ("send_requests", "emails_sent")

    @override
    def totals(self, content: Any) -> Row:
        """Return the statistics in the JSON of a response; without any (`"email_stats": null`), they have no values.

        Percentages come twice: as the API sent them, and as numbers. `sart_date`, the documentation's spelling, becomes
        `start_date`.
        """
        others = {name: value for name, value in content.items() if name != "email_stats"}
        stats = {} if content["email_stats"] is None else {**content["email_stats"]}
        raw = stats.get("raw_results")
        if isinstance(raw, dict) and "start_date" not in raw:
            stats["raw_results"] = {"start_date" if name == "sart_date" else name: value for name, value in raw.items()}
        numbers = {}
        for name, number_name in _PERCENTAGES.items():
            count, percent = _count_and_percent(stats.get(name))
            numbers[number_name] = count if percent is None else percent
        numbers["not_eligible_count"], numbers["not_eligible_percent"] = _count_and_percent(stats.get("not_eligible"))
        return {**others, **numbers, **stats}


class EmailSources(WootricStream):
    """Where the account's email surveys come from: integrations, and uploaded lists of recipients."""

    name = "email_sources"
    path = "/v2/email_stats/sources"
    primary_keys = ("kind", "id")
    selected_by_default = False

    @override
    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the sources in the JSON of a response, each with the list it comes from.

        Its `kind` is the name of that list: `ongoing`, `sends`, or any other that the API may add. Ids are only unique
        within a list: they are text for ongoing sources, and integers for sends (documented).
        """
        if not all(isinstance(content[kind], list | None) for kind in ("ongoing", "sends")):
            raise TypeError
        return [
            {**source, "kind": kind}
            for kind, listed in content.items()
            if isinstance(listed, list)
            for source in listed
        ]


def _count_and_percent(value: Any) -> tuple[Any, str | None]:
    """Return the count and the percentage in a value, which may be a number or text.

    Any other text with a digit in it is returned as the count, so that it ends up in `extra_fields`. Text without a
    digit, such as `N/A`, counts as missing.
    """
    if not isinstance(value, str):
        return value, None
    if match := _PERCENTAGE.fullmatch(value.strip()):
        count, percent = match.groups()
        return count and count.replace(",", ""), percent
    return (value if re.search(r"\d", value) else None), None
