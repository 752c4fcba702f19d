"""Pages as the doctor keeps them, and an API without HTTP that it can ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tap_wootric.doctor.evidence import SeenPage, SeenRow
from tap_wootric.doctor.probe import Answer, Probe
from tests.unit.fakes import Answer as Respond
from tests.unit.fakes import FakeClient, row, serving


def seen(number: int, created: int, updated: int | None = None, email: str = "") -> SeenRow:
    return SeenRow(number, created, created if updated is None else updated, email, "", is_counted=False)


def page(rows: Sequence[SeenRow], key: str = "created_at", order: str = "asc", **params: Any) -> SeenPage:
    return SeenPage({"per_page": 50, "sort_key": key, "sort_order": order, **params}, rows)


def rows(count: int, first: int = 1_700_000_000, apart: int = 61) -> list[dict[str, Any]]:
    """Return rows that were all created at different times, in the order of their ids."""
    return [row(number, first + apart * number) for number in range(1, count + 1)]


def probe_of(respond: Respond) -> Probe:
    client: Any = FakeClient(respond)
    return Probe(client, lambda _seconds: None, sleep=lambda _seconds: None)


def probe_of_rows(listed: list[dict[str, Any]]) -> Probe:
    return probe_of(serving(listed))


def limited(remaining: int | None, limit: int | None = 100, **more: Any) -> Answer:
    return Answer([], status=200, limit=limit, remaining=remaining, **more)


def by_id(checks: Sequence[Any]) -> Mapping[str, Any]:
    return {check.id: check for check in checks}
