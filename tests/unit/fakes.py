"""A tap without an API: a function responds to its requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from tap_wootric.api.client import HASTY
from tap_wootric.records.timestamps import timestamp_of_second, unix_seconds
from tap_wootric.streams.base import StreamContext, WootricStream
from tap_wootric.tap import TapWootric
from tests.unit.api.fakes import response

CONFIG = {"client_id": "the-id", "client_secret": "the-secret", "concurrency": 1}

NOW = 1_736_928_000
"""The server's time: 2025-01-15T08:00:00Z."""

Answer = Callable[[str, Mapping[str, Any]], requests.Response]
"""Returns the response to a request for a path with parameters."""


class FakeClient:
    """Stands in for `tap_wootric.api.client.Client`."""

    def __init__(self, answer: Answer, *, is_limited: bool = False) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.slept_until: list[int] = []
        self.throttled_seconds = 0.0
        self.retry_policy = HASTY
        self.now = NOW
        self._answer = answer
        self._is_limited = is_limited

    def get(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        self.requests.append((path, dict(params)))
        return self._answer(path, params)

    @property
    def requests_sent(self) -> int:
        return len(self.requests)

    def max_requests_per_second(self, _path: str) -> float | None:
        return None

    def server_time(self) -> int:
        return self.now

    def is_rate_limited(self, _path: str) -> bool:
        return self._is_limited

    def sleep_until(self, unix_second: int) -> None:
        self.slept_until.append(unix_second)


def no_request(path: str, _params: Mapping[str, Any]) -> requests.Response:
    pytest.fail(f"A request was sent: {path}")


def make_tap(answer: Answer = no_request, *, state: Any = None, catalog: Any = None, **settings: Any) -> Any:
    """Return a tap whose client is a FakeClient."""
    tap: Any = TapWootric(config={**CONFIG, **settings}, state=state, catalog=catalog)
    tap.client = FakeClient(answer)
    return tap


def make_stream(
    stream: type[WootricStream], answer: Answer = no_request, *, state: Any = None, catalog: Any = None, **settings: Any
) -> Any:
    """Return a stream of its own, in a tap that does not know it."""
    tap = make_tap(answer, state=state, catalog=catalog, **settings)
    return stream(tap, StreamContext(settings=lambda: tap.settings, client=lambda: tap.client))


def catalog_of(tap: Any, *selected: str, **metadata: str) -> dict[str, Any]:
    """Return a tap's catalog with some streams selected, and more metadata for each of them."""
    catalog: dict[str, Any] = tap.catalog_dict
    for entry in catalog["streams"]:
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        root |= {"selected": entry["tap_stream_id"] in selected, **metadata}
    return catalog


def row(number: int, second: int) -> dict[str, Any]:
    """Return a row that was created and updated in a Unix second."""
    timestamp = f"{timestamp_of_second(second)}Z"
    return {"id": number, "created_at": timestamp, "updated_at": timestamp}


def serving(rows: list[dict[str, Any]]) -> Answer:
    """Return an API that has these rows in each of its lists."""

    def answer(_path: str, params: Mapping[str, Any]) -> requests.Response:
        key = params["sort_key"]
        found = [row for row in rows if _is_in_ranges(row, params)]
        found.sort(key=lambda row: str(row[key]), reverse=params["sort_order"] == "desc")
        first = (params.get("page", 1) - 1) * params["per_page"]
        return response(content=found[first : first + params["per_page"]])

    return answer


def _is_in_ranges(row: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    return all(
        params.get(f"{name}[gte]", float("-inf")) <= unix_seconds(row[f"{name}_at"]) < params.get(f"{name}[lt]", 1e12)
        for name in ("created", "updated")
    )


def messages(out: bytes | str) -> list[dict[str, Any]]:
    """Return the Singer messages in an output."""
    return [json.loads(line) for line in out.splitlines()]
