"""A tap without an API: a function responds to its requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import pytest
import requests

from tap_wootric.api.client import HASTY, Client
from tap_wootric.api.rate_limit import Clock, RateLimiter
from tap_wootric.records.timestamps import timestamp_of_second
from tap_wootric.streams.base import WootricStream
from tap_wootric.tap import TapWootric
from tests.unit.api.fakes import SETTINGS, response

CONFIG = {"client_id": "the-id", "client_secret": "the-secret"}

NOW = 1_736_928_000
"""The time: 2025-01-15T08:00:00Z."""


Answer = Callable[[str, Mapping[str, Any]], requests.Response]
"""Returns the response to a request for a path with parameters."""


class FakeClient(Client):
    """A client that sends nothing.

    Attributes:
        requests: The paths and parameters of the requests.
        date: The `Date` of the token's response.
        local_time: The time by this machine's clock.
    """

    def __init__(self, answer: Answer) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.date = formatdate(NOW, usegmt=True)
        self.local_time: float = NOW
        clock = Clock(monotonic=lambda: 0, local_time=lambda: self.local_time)
        super().__init__(SETTINGS, HASTY, rate_limiter=RateLimiter(clock, lambda _: None), sleep=lambda _: None)
        self._answer = answer

    def authenticate(self) -> dict[str, str]:
        self.rate_limiter.clock.update(self.date)
        return {}

    def request(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        self.requests.append((path, dict(params)))
        self.rate_limiter.requests_sent += 1
        return self._answer(path, params)


def no_request(path: str, _params: Mapping[str, Any]) -> requests.Response:
    pytest.fail(f"A request was sent: {path}")


def make_tap(
    answer: Answer = no_request, *, state: Any = None, catalog: Any = None, now: float = NOW, **settings: Any
) -> Any:
    """Return a tap whose client is a FakeClient; both clocks show the same time."""
    tap: Any = TapWootric(config={**CONFIG, **settings}, state=state, catalog=catalog)
    tap.client = FakeClient(answer)
    tap.client.date, tap.client.local_time = formatdate(now, usegmt=True), now
    return tap


def make_stream(stream: type[WootricStream], answer: Answer = no_request, **options: Any) -> Any:
    """Return a stream of its own, in a tap that does not know it."""
    return stream(make_tap(answer, **options))


def catalog_of(tap: Any, *selected: str, **metadata: str) -> dict[str, Any]:
    """Return a tap's catalog with some streams selected, and more metadata for each of them."""
    catalog: dict[str, Any] = tap.catalog_dict
    for entry in catalog["streams"]:
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        root |= {"selected": entry["tap_stream_id"] in selected, **metadata}
    return catalog


def full_table(*selected: str) -> dict[str, Any]:
    """Return a catalog in which only some streams are selected, as full tables."""
    return catalog_of(make_tap(), *selected, **{"replication-method": "FULL_TABLE"})


def row(number: int, second: int) -> dict[str, Any]:
    """Return a row that was created and updated in a Unix second."""
    return {"id": number, "created_at": stamp(second), "updated_at": stamp(second)}


def stamp(second: int) -> str:
    """Return a Unix second as a normalized timestamp."""
    return f"{timestamp_of_second(second)}Z"


def serving(rows: list[dict[str, Any]]) -> Answer:
    """Return an API that has these rows in each of its lists."""

    def answer(_path: str, params: Mapping[str, Any]) -> requests.Response:
        key, found = params["sort_key"], rows
        for name in ("created", "updated"):
            start, end = stamp(params.get(f"{name}[gte]", 0)), stamp(params.get(f"{name}[lt]", 2 * NOW))
            found = [row for row in found if start <= row[f"{name}_at"] < end]
        found.sort(key=lambda row: str(row.get(key)), reverse=params["sort_order"] == "desc")
        first = (params.get("page", 1) - 1) * params["per_page"]
        return response(content=found[first : first + params["per_page"]])

    return answer


def messages(out: bytes | str) -> list[dict[str, Any]]:
    """Return the Singer messages in an output."""
    return [json.loads(line) for line in out.splitlines()]
