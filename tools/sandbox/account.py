"""A made-up account: tables of rows that can change while they are read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

SECOND = 1_000_000
"""Timestamps are microseconds since 1970: a second has this many."""

BEGIN = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * SECOND
END = int(datetime(2025, 12, 31, tzinfo=UTC).timestamp()) * SECOND
"""The time range of made-up rows. It is fixed, so that a second sync finds nothing new."""

NOW = END / SECOND + 1_000
"""The server's time when a test begins, in Unix seconds. All rows of a new account are older than the lookback window,
and all changes from then on are within it."""

_ZONE = ZoneInfo("America/Los_Angeles")
_WORDS = ("fast", "slow", "kind", "dear", "søt", "高い", "prima", "🙂", "clear", "odd")

NOTE = "Called back"
"""The text of all notes."""

Body = dict[str, Any]
Make = Callable[[random.Random, int], tuple[Body, Body]]
"""Makes up a row from its id: its body, and the part of the body that holds the properties."""

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": int.__eq__,
    "lt": int.__lt__,
    "lte": int.__le__,
    "gt": int.__gt__,
    "gte": int.__ge__,
}
OPERATORS = frozenset(_COMPARE)


@lru_cache(100_000)
def shown(timestamp: int) -> str:
    """Return a timestamp as the API shows it: in seconds, with an offset that follows daylight saving time."""
    return datetime.fromtimestamp(timestamp // SECOND, _ZONE).strftime("%Y-%m-%d %H:%M:%S %z")


def in_utc(timestamp: int) -> str:
    """Return a timestamp as the tap writes it."""
    return datetime.fromtimestamp(timestamp // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Row:
    id: int
    created: int
    updated: int
    body: Body
    properties: Body
    """A part of the body; it holds the number of the row's changes as `revision`."""

    def rendered(self) -> Body:
        return {
            "id": self.id,
            "created_at": shown(self.created),
            "updated_at": shown(self.updated),
            **self.body,
        }


@dataclass(frozen=True, slots=True)
class Filter:
    column: str
    """`created` or `updated`."""
    operator: str
    """One of `OPERATORS`."""
    bound: int
    """A timestamp, in microseconds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A page of a list, in the terms of a SELECT: WHERE, ORDER BY, OFFSET and LIMIT."""

    filters: Sequence[Filter]
    key: str
    """`created_at`, `updated_at` or `email`."""
    descending: bool
    offset: int
    limit: int
    whole_seconds: bool = False
    """Whether fractions of a second are ignored."""
    shuffle_ties: bool = False
    """Whether rows with equal keys come in a random order."""
    ignores_sort: bool = False
    """Whether all rows come in a random order."""


class Table:
    """The rows of one list.

    Attributes:
        hidden: The ids of rows that the server drops behind its LIMIT: pages with them come short, and never show them.
    """

    def __init__(self, make: Make, rng: random.Random) -> None:
        self.hidden: set[int] = set()
        self._rows: dict[int, Row] = {}
        self._make = make
        self._rng = rng
        self._next_id = 1

    @property
    def rows(self) -> dict[int, Row]:
        """Each row with its id."""
        return self._rows

    def page(self, selection: Selection) -> list[Row]:
        """Return the rows of a page."""
        rows = list(self._rows.values())
        for filter_ in selection.filters:
            compare = _COMPARE[filter_.operator]
            timestamps: Iterable[int] = map(attrgetter(filter_.column), rows)
            if selection.whole_seconds:
                timestamps = (timestamp // SECOND * SECOND for timestamp in timestamps)
            rows = [row for row, at in zip(rows, timestamps, strict=True) if compare(at, filter_.bound)]
        if selection.shuffle_ties:
            self._rng.shuffle(rows)
        if selection.ignores_sort:
            self._rng.shuffle(rows)
        elif selection.key == "email":
            rows.sort(key=lambda row: row.body["email"] or "", reverse=selection.descending)
        else:
            timestamp = attrgetter(selection.key.removesuffix("_at"))
            precision = SECOND if selection.whole_seconds else 1
            rows.sort(key=lambda row: timestamp(row) // precision, reverse=selection.descending)
        return rows[selection.offset : selection.offset + selection.limit]

    def prepared(self, created: int, updated: int | None = None) -> Row:
        """Return a new row, which is not in the table yet."""
        body, properties = self._make(self._rng, self._next_id)
        properties["revision"] = 0
        row = Row(self._next_id, created, created if updated is None else updated, body, properties)
        self._next_id += 1
        return row

    def insert(self, created: int, updated: int | None = None) -> Row:
        row = self.prepared(created, updated)
        self._rows[row.id] = row
        return row

    def update(self, row: Row, at: int) -> None:
        row.updated = at
        row.properties["revision"] += 1

    def add_note(self, row: Row) -> None:
        """Add a note to a response. That changes no timestamp, so only rereading the row finds it."""
        row.body["notes"].append(NOTE)
        row.properties["revision"] += 1

    def delete(self, row: Row) -> None:
        del self._rows[row.id]

    def some(self, count: int) -> list[Row]:
        """Return this many random rows, or all if there are fewer."""
        rows = self._rows
        return [rows[row_id] for row_id in self._rng.sample(list(rows), min(count, len(rows)))]

    def versions(self) -> dict[int, tuple[str, int]]:
        """Return the current version of each row that is shown: the time of its update, and how often it changed."""
        return {
            row.id: (in_utc(row.updated), row.properties["revision"])
            for row in self.rows.values()
            if row.id not in self.hidden
        }


@dataclass(frozen=True, slots=True)
class Email:
    """A request to send a survey by email."""

    at: int
    """A timestamp, in microseconds."""
    outcome: str
    """One of `OUTCOMES`."""


OUTCOMES = ("opted out", "bounced", "delivered", "opened", "answered")


class Account:
    """End users, responses and declines, made up from a seed; the same seed makes the same account.

    Attributes:
        zone: The time zone in which the days of its metrics begin.
        emails: The requests to send a survey by email.
        email_sources: Where they come from, as the API shows it.
    """

    def __init__(
        self, end_users: int = 0, responses: int = 0, seed: int = 0, *, declines: int = 0, emails: int = 0
    ) -> None:
        self.rng = random.Random(seed)
        self.zone = _ZONE
        self.end_users = self._table("end_users", _end_user)
        self.responses = self._table("responses", _response)
        self.declines = self._table("declines", _decline)
        self.tables = {"end_users": self.end_users, "responses": self.responses, "declines": self.declines}
        self.segments: list[Body] = [
            {"name": name, "data_type": kind, "created_at": shown(BEGIN)}
            for name, kind in (("Department", "string"), ("revenue amount", "integer"), ("renewed", "date"))
        ]
        self.survey_templates: list[Body] = [
            {
                "id": number,
                "name": name,
                "default_language": "en",
                "languages": [{"code": "en", "name": "English"}, {"code": "no", "name": "Norsk"}][:number],
                "non_configured_language_count": 40 - number,
                "custom_samplings": [],
            }
            for number, name in ((1, "After the purchase"), (2, "Each quarter"))
        ]
        self.email_sources: Body = {
            "ongoing": [
                {"id": "email_api", "name": "Email API *"},
                {"id": "webhook_trigger", "name": "Webhook Trigger *"},
            ],
            "sends": [
                {"id": 1, "name": "Q1_file.csv", "date": "Jan 11, 2024  9:01AM"},
                {"id": 2, "name": "Q2_file.csv", "date": "Apr 14, 2024  12:04AM"},
                {"id": 3, "name": "Q3_file.csv", "date": "Jul 09, 2024  10:04PM"},
            ],
        }
        emails_rng = random.Random(seed)  # Another one, so that emails do not change the rows of the lists.
        self.emails = [Email(emails_rng.randrange(BEGIN, END), emails_rng.choice(OUTCOMES)) for _ in range(emails)]
        for table, count in zip(self.tables.values(), (end_users, responses, declines), strict=True):
            for _ in range(count):
                row = table.insert(*self.timestamps())
                if row.body.get("notes"):
                    row.updated = row.created  # A note does not move it.

    def _table(self, _name: str, make: Make) -> Table:
        return Table(make, self.rng)

    def nps(self, first: date, before: date | None = None) -> Body:
        """Return the metrics of a day, or of the days until before another one, in the account's time zone."""
        before = before or first + timedelta(days=1)

        def in_range(table: Table) -> list[Row]:
            moments = ((row, datetime.fromtimestamp(row.created // SECOND, self.zone)) for row in table.rows.values())
            return [row for row, moment in moments if first <= moment.date() < before]

        counted = (row.body for row in in_range(self.responses) if not row.body["excluded_from_calculations"])
        scores = [body["score"] for body in counted if body["score"] is not None]
        asked = len(scores) + len(in_range(self.declines))
        promoters, detractors = sum(score >= 9 for score in scores), sum(score <= 6 for score in scores)
        return {
            "nps": round(100 * (promoters - detractors) / max(1, len(scores))),
            "responses": len(scores),
            "detractors": detractors,
            "passives": len(scores) - promoters - detractors,
            "promoters": promoters,
            "response_rate": round(100 * len(scores) / max(1, asked)),
            "email_response_rate": 0,
        }

    def email_stats(self, first: date, last: date, *, ends_before: bool = False) -> Body:
        """Return the statistics of the emails of some days, in the account's time zone.

        Args:
            first: The first day.
            last: The last day.
            ends_before: Whether to exclude the last day.
        """
        end = last if ends_before else last + timedelta(days=1)
        days = ((email, datetime.fromtimestamp(email.at // SECOND, self.zone).date()) for email in self.emails)
        found = [email.outcome for email, day in days if first <= day < end]
        requests, opted_out, bounced = len(found), found.count("opted out"), found.count("bounced")
        answered = found.count("answered")
        opened = found.count("opened") + answered
        sent = requests - opted_out
        delivered = sent - bounced
        return {
            "email_stats": {
                "send_date": f"{first:%b %e, %Y}-{last:%b %e, %Y}",
                "send_requests": requests,
                "emails_sent": sent,
                "delivered": delivered,
                "delivered_percentage": f"{100 * delivered / max(1, sent):.1f}%",
                "bounce_rate": bounced,
                "bounce_rate_percentage": f"{100 * bounced / max(1, sent):.1f}%",
                "open_rate": f"{round(100 * opened / max(1, delivered))}%",
                "response_rate": f"{round(100 * answered / max(1, delivered))}%",
                "not_eligible": f"{opted_out} ({round(100 * opted_out / max(1, requests))}%)",
                "raw_results": {
                    "processed": sent,
                    "bounce": bounced,
                    "dropped": 0,
                    "delivered": delivered,
                    "opted_out": opted_out,
                    "not_delivered": bounced,
                    "open": opened,
                    "spamreport": 0,
                    "not_eligible": 0,
                    "total_surveys": sent,
                    "total_responses": answered,
                    "sart_date": datetime.combine(first, time.min, self.zone).isoformat(),
                    "end_date": datetime.combine(last, time(23, 59, 59), self.zone).isoformat(),
                },
            },
            "initial_send": None,
            "reminder_send": None,
        }

    def timestamps(self) -> tuple[int, int]:
        """Return a random time of creation, and one of an update after it."""
        created = self.rng.randrange(BEGIN, END)
        return created, self.rng.randrange(created, END)

    def crowd(self, table: Table, count: int, *, created_too: bool = False) -> int:
        """Insert rows that were all updated (or created and updated) in one second, and return that Unix second."""
        second = self.rng.randrange(END - 90 * 86_400 * SECOND, END) // SECOND * SECOND
        for _ in range(count):
            created = second if created_too else self.rng.randrange(BEGIN, second - SECOND)
            fraction = sorted(self.rng.randrange(SECOND) for _ in range(2))
            if created_too:
                table.insert(second + fraction[0], second + fraction[1])
            else:
                table.insert(created, second + fraction[1])
        return second // SECOND


def _end_user(rng: random.Random, number: int) -> tuple[Body, Body]:
    properties: Body = {
        "Department": rng.choice(["Marketing", "Sales", None]),
        "revenue amount": str(rng.randrange(10_000)),
        "plan.name": rng.choice(_WORDS),
        "": rng.random(),
    }
    has_email = rng.random() < 0.95
    body: Body = {
        "email": f"user-{number}@example.com" if has_email else None,
        "last_surveyed": shown(rng.randrange(BEGIN, END)) if rng.random() < 0.5 else None,
        "external_created_at": rng.randrange(BEGIN, END) // SECOND,
        "last_seen_at": None,
        "properties": properties,
        "phone_number": None if has_email else f"+1415555{number % 10_000:04}",
        "external_id": f"external-{number}",
        "last_response": {
            "id": number,
            "score": rng.randrange(11),
            "text": rng.choice(_WORDS),
            "survey": {"channel": "web"},
        },
        "settings": {
            "email_nps": True,
            "mobile_nps": True,
            "web_nps": rng.random() < 0.5,
            "force_mobile_survey": None,
            "force_web_survey": None,
            "surveys_disabled_by_end_user": None,
        },
    }
    if number % 7 == 0:
        body |= {"user_id": 1, "page_views_count": rng.randrange(100)}  # As in older payloads.
    return body, properties


def _of_end_user(rng: random.Random, user: int) -> tuple[Body, Body]:
    """Return the end user that is embedded in a response or a decline."""
    properties: Body = {"persona": "Individual", "revenue_amount": rng.randrange(10_000)}
    body = {
        "id": user,
        "email": f"user-{user}@example.com",
        "external_id": None,
        "external_created_at": rng.randrange(BEGIN, END) // SECOND,
        "created_at": shown(rng.randrange(BEGIN, END)),
        "properties": properties,
    }
    return body, properties


def _decline(rng: random.Random, number: int) -> tuple[Body, Body]:
    user, properties = _of_end_user(rng, 1 + number % 100)
    body = {"end_user_id": user["id"], "survey_id": 1 + number % 3, "end_user": user}
    if number % 2:
        body |= {"ip_address": "127.0.0.1", "origin_url": "https://example.com"}  # Only some have them.
    return body, properties


def _response(rng: random.Random, number: int) -> tuple[Body, Body]:
    user, properties = _of_end_user(rng, 1 + number % 100)
    body: Body = {
        "end_user_id": user["id"],
        "survey_id": 1 + number % 3,
        "score": rng.randrange(11),
        "text": " ".join(rng.choices(_WORDS, k=6)) if rng.random() < 0.8 else None,
        "completed": rng.random() < 0.5,
        "excluded_from_calculations": False,
        "ip_address": "127.0.0.1",
        "origin_url": "https://example.com",
        "tags": rng.sample(["PERFORMANCE", "PRICE", "SUPPORT"], rng.randrange(3)),
        "notes": [NOTE] if number % 20 == 0 else [],
        "end_user": user,
    }
    return body, properties
