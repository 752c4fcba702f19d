"""The responses of the API, and the ways in which it can be difficult. Independent of HTTP."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from tools.sandbox.account import OPERATORS, SECOND, Account, Body, Filter, Row, Selection, Table

CLIENT_ID = "sandbox-client-id"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - It opens nothing.
USERNAME = "sandbox@example.com"
PASSWORD = "sandbox-password"  # noqa: S105 - The same.

PATHS = {"email_stats": "/v2/email_stats", "email_sources": "/v2/email_stats/sources"}
"""The paths that are not `/v1/` and the name."""

LAST_PAGE = 30
MAX_PAGE_SIZE = 50

_FILTER = re.compile(r"(created|updated)\[(\w+)\]")
_SORT_KEYS = {
    "end_users": ("email", "created_at", "updated_at"),
    "responses": ("created_at", "updated_at"),
    "declines": ("created_at", "updated_at"),
}


@dataclass
class Answer:
    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Switches:
    """Behaviour of the real API that is uncertain, or that makes it hard to read."""

    updates: float = 0
    """Rows updated after each page of a list; 0.5 means a row after about every second page."""
    deletes: float = 0
    inserts: float = 0
    whole_seconds: bool = False
    """Whether timestamps are stored in seconds, as they are shown, instead of microseconds."""
    shuffle_ties: bool = False
    """Whether rows with equal timestamps are in a new random order at each request."""
    ignores_updated: bool = False
    """Whether responses and declines are not filtered by `updated` and not sorted by `updated_at`, as on an older
    deployment."""
    ends_before: bool = False
    """Whether ranges of days exclude their last day."""
    ignores_sort: bool = False
    """Whether rows are in random order, whatever `sort_key` is."""
    ignores_filters: bool = False
    """Whether rows are not filtered by `created` and `updated`."""
    page_size: int = MAX_PAGE_SIZE
    """The most rows on a page, whatever `per_page` is."""
    past_last_page: str = "400"
    """What page 31 is: a status, `error list` (with status 200), `empty`, or `rows`."""
    limit: int = 0
    """The requests that each endpoint accepts in a window; 0 means no limit."""
    shared_limit: bool = False
    """Whether the limited endpoints share one limit."""
    limited: Collection[str] = ()
    """The endpoints that have the limit, by their streams; all if there are none."""
    limit_seconds: int = 60
    """The length of a window; windows begin at whole multiples of it."""
    token_lifetime: float = 7200
    """Seconds."""
    unknown_tokens: int = 0
    """How many of the first tokens are rejected, as by a server that has not heard of them."""
    token: dict[str, Any] = field(default_factory=dict)
    """Fields of the token response to change; None removes a field."""


@dataclass
class Api:
    account: Account
    switches: Switches
    clock: Callable[[], float]
    """The server's time, in Unix seconds."""
    tokens: dict[str, float] = field(default_factory=dict)
    """When each token expires, in Unix seconds."""

    def __post_init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()
        self._refresh_token = ""
        self._issued = 0
        self._reads: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "segments": lambda _query: self.account.segments,
            "survey_templates": self._survey_templates,
            "nps_summary": self._nps_summary,
            "email_stats": self._email_stats,
            "email_sources": lambda _query: self.account.email_sources,
        }
        self._names = {path_of(name): name for name in (*self.account.tables, *self._reads)}

    def answer(
        self, method: str, path: str, query: Mapping[str, str], form: Mapping[str, str], authorization: str
    ) -> Answer:
        if (method, path) == ("POST", "/oauth/token"):
            return self._token(form)
        name = self._names.get(path)
        if method != "GET" or name is None:
            return _error(HTTPStatus.NOT_FOUND, "record_not_found", "There is nothing here")
        if self.tokens.get(authorization.removeprefix("Bearer "), 0) <= self.clock():
            return _error(HTTPStatus.UNAUTHORIZED, "unauthorized", "The access token is invalid")
        headers, is_exceeded = self._count(name)
        if is_exceeded:
            return Answer(HTTPStatus.TOO_MANY_REQUESTS, {"error": "Too many requests"}, headers)
        try:
            if int(query.get("page", 1)) > LAST_PAGE and self.switches.past_last_page != "rows":
                answer = self._past_last_page()
            else:
                content = self._reads[name](query) if name in self._reads else self._list(name, query)
                answer = Answer(HTTPStatus.OK, content)
        except ValueError as error:
            answer = _error(HTTPStatus.BAD_REQUEST, "invalid_parameter", str(error))
        return replace(answer, headers=headers)

    def _past_last_page(self) -> Answer:
        """Return what there is instead of page 31."""
        kind = self.switches.past_last_page
        if kind == "empty":
            return Answer(HTTPStatus.OK, [])
        status = HTTPStatus(int(kind)) if kind.isdigit() else HTTPStatus.OK
        return _error(status, "invalid_parameter", f"page must be between 1 and {LAST_PAGE}")

    def _list(self, name: str, query: Mapping[str, str]) -> list[Body]:
        table = self.account.tables[name]
        rendered = [row.rendered() for row in self._page(name, table, query)]
        self._change_rows(table)
        return rendered

    def _survey_templates(self, _query: Mapping[str, str]) -> Body:
        return {"default_survey_template_id": 1, "survey_templates": self.account.survey_templates}

    def _nps_summary(self, query: Mapping[str, str]) -> Body:
        today = datetime.fromtimestamp(self.clock(), UTC).date()
        start = date.fromisoformat(query.get("date[start]", str(today - timedelta(days=30))))
        end = date.fromisoformat(query.get("date[end]", str(today)))
        return self.account.nps(start, end if self.switches.ends_before else end + timedelta(days=1))

    def _email_stats(self, query: Mapping[str, str]) -> Body:
        today = datetime.fromtimestamp(self.clock(), UTC).date()
        start = date.fromisoformat(query.get("date_range[start_date]", str(today - timedelta(days=396))))
        end = date.fromisoformat(query.get("date_range[end_date]", str(today)))
        return self.account.email_stats(start, end, ends_before=self.switches.ends_before)

    def _count(self, name: str) -> tuple[dict[str, str], bool]:
        """Count a request; return the rate limit headers, and whether the request exceeds the limit."""
        if not self.switches.limit or (self.switches.limited and name not in self.switches.limited):
            return {}, False
        window = int(self.clock() // self.switches.limit_seconds)
        counted = "all" if self.switches.shared_limit else name
        self._counts[counted, window] += 1
        left = self.switches.limit - self._counts[counted, window]
        headers = {
            "X-Rate-Limit-Limit": str(self.switches.limit),
            "X-Rate-Limit-Remaining": str(max(left, 0)),
            "X-Rate-Limit-Reset": str((window + 1) * self.switches.limit_seconds),
        }
        return headers, left < 0

    def _token(self, form: Mapping[str, str]) -> Answer:
        grants: list[dict[str, str]] = [
            {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
            {"grant_type": "password", "username": USERNAME, "password": PASSWORD},
            {"grant_type": "refresh_token", "refresh_token": self._refresh_token},
        ]
        if form not in grants:
            content = {"error": "invalid_client", "error_description": "The client is unknown"}
            return Answer(HTTPStatus.UNAUTHORIZED, content)
        self._issued += 1
        number = self._issued
        if number > self.switches.unknown_tokens:
            self.tokens[f"sandbox-token-{number}"] = self.clock() + self.switches.token_lifetime
        token = {
            "access_token": f"sandbox-token-{number}",
            "token_type": "bearer",
            "expires_in": self.switches.token_lifetime,
            "scope": "delete_account admin respond export read survey invalidate_response",
            "created_at": int(self.clock()),
        }
        if form["grant_type"] != "client_credentials":
            self._refresh_token = token["refresh_token"] = f"sandbox-refresh-token-{number}"
        changed = {**token, **self.switches.token}
        return Answer(HTTPStatus.OK, {name: value for name, value in changed.items() if value is not None})

    def _page(self, name: str, table: Table, query: Mapping[str, str]) -> list[Row]:
        number, size = int(query.get("page", 1)), min(int(query.get("per_page", 25)), self.switches.page_size)
        if number < 1 or size < 1:
            raise ValueError("page and per_page begin at 1")
        key = query.get("sort_key", _SORT_KEYS[name][0])
        if key not in _SORT_KEYS[name]:
            raise ValueError("sort_key is unknown")
        if self.switches.ignores_updated and name != "end_users":
            key = "created_at"
            query = {parameter: value for parameter, value in query.items() if not parameter.startswith("updated[")}
        order = query.get("sort_order", "asc" if name == "end_users" else "desc")
        return table.page(
            Selection(
                [] if self.switches.ignores_filters else _filters(query),
                key,
                descending=order == "desc",
                offset=(number - 1) * size,
                limit=size,
                whole_seconds=self.switches.whole_seconds,
                shuffle_ties=self.switches.shuffle_ties,
                ignores_sort=self.switches.ignores_sort,
                is_excluded=_is_excluded(query) if name == "responses" else None,
            )
        )

    def _change_rows(self, table: Table) -> None:
        """Change rows, as people do while the account is read."""
        now = int(self.clock() * SECOND)
        for row in table.some(self._random_round(self.switches.updates)):
            table.update(row, now)
        for row in table.some(self._random_round(self.switches.deletes)):
            table.delete(row)
        for _ in range(self._random_round(self.switches.inserts)):
            table.insert(now)

    def _random_round(self, number: float) -> int:
        """Round so that the average is the number."""
        return int(number) + (self.account.rng.random() < number % 1)


def path_of(name: str) -> str:
    """Return the path of a list, or of other data."""
    return PATHS.get(name, f"/v1/{name}")


def _filters(query: Mapping[str, str]) -> list[Filter]:
    filters = []
    for parameter, value in query.items():
        if not (match := _FILTER.fullmatch(parameter)):
            continue
        column, operator = match.groups()
        if operator not in OPERATORS:
            raise ValueError(f"{parameter} is unknown")
        filters.append(Filter(column, operator, int(value) * SECOND))
    return filters


def _is_excluded(query: Mapping[str, str]) -> bool | None:
    return {None: None, "true": True, "false": False}[query.get("excluded_from_calculations")]


def _error(status: HTTPStatus, code: str, message: str) -> Answer:
    errors = [{"status": code, "message": message, "field": None}]
    return Answer(status, {"type": "error_list", "errors": errors})
