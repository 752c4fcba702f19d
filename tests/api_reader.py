"""Fetches pages of a list from the sandbox's API, without HTTP."""

from __future__ import annotations

from typing import Any

from tap_wootric.pagination.query import TIME_KEYS, Query
from tap_wootric.records.timestamps import normalize_timestamp
from tap_wootric.records.transform import Record
from tap_wootric.streams.lists import parameters
from tools.sandbox import Account, Api, Switches
from tools.sandbox.account import NOW

_SECONDS_PER_REQUEST = 0.2


class ApiReader:
    """Fetches pages, and advances a made-up clock with each request.

    Args:
        account: The account that the API serves.
        stream: The name of the list.
        switches: How the API behaves.

    Attributes:
        requests: How many requests were made.
        switches: How the API behaves.
    """

    def __init__(self, account: Account, stream: str, **switches: Any) -> None:
        self.requests = 0
        self.switches = Switches(**switches)
        self._stream = stream
        self._now = NOW
        self._api = Api(account, self.switches, lambda: self._now)
        self._api.tokens["token"] = NOW * 2

    def fetch(self, query: Query) -> list[Record]:
        self.requests += 1
        self._now += _SECONDS_PER_REQUEST
        params = {name: str(value) for name, value in parameters(query).items()}
        response = self._api.answer("GET", f"/v1/{self._stream}", params, {}, "Bearer token")
        assert response.status == 200, response.content
        return [{**row, **{key: normalize_timestamp(row[key]) for key in TIME_KEYS}} for row in response.content]
