"""The streams, one class each."""

from __future__ import annotations

from tap_wootric.client import WootricStream


class EndUsers(WootricStream):
    """The people whom the account surveys."""

    name = "end_users"
    path = "/v1/end_users"


class Responses(WootricStream):
    """The answers that end users gave to surveys."""

    name = "responses"
    path = "/v1/responses"
    filters_updates = False  # Documented later than for end users; an older deployment ignores it.


STREAMS: tuple[type[WootricStream], ...] = (EndUsers, Responses)
