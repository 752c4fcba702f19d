"""The responses of the API, and the ways in which it can be difficult. Independent of HTTP."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from tools.sandbox.account import OPERATORS, SECOND, Account, Body, Filter, Row, Selection

CLIENT_ID = "sandbox-client-id"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - It opens nothing.
USERNAME = "sandbox@example.com"
PASSWORD = "sandbox-password"  # noqa: S105 - The same.

PATHS = {"email_stats": "/v2/email_stats", "email_sources": "/v2/email_stats/sources"}
"""The paths that are not `/v1/` and the name."""

LAST_PAGE = 30
MAX_PAGE_SIZE = 50

_NUMBER = re.compile(r"-?[0-9]+")
_PARAMETERS = {
    "nps_summary": {"date[start]", "date[end]"},
    "email_stats": {"date_range[start_date]", "date_range[end_date]"},
}
"""The parameters of the reads that are not lists."""


@dataclass
class Answer:
    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Switches:
    """What the real API may do instead, and what makes it hard to read.

    By default the sandbox is strict: it answers 400 to every parameter and every value that the API does not declare.
    """

    lenient: bool = False
    """Whether undeclared parameters and sort keys are ignored, and `per_page` is cut to 50, instead of a 400."""
    page_size: int = MAX_PAGE_SIZE
    """The most rows on a page, whatever `per_page` is."""
    short_pages: float = 0
    """The share of requests whose page lacks some of its last rows, but not all. The same request again gets them."""
    updates: float = 0
    """Rows updated after each page of a list; 0.5 means a row after about every second page."""
    deletes: float = 0
    """Rows deleted after each page."""
    inserts: float = 0
    """Rows inserted after each page."""
    whole_seconds: bool = False
    """Whether timestamps are stored in seconds, as they are shown, instead of microseconds."""
    shuffle_ties: bool = False
    """Whether rows with equal timestamps are in a new random order at each request."""
    ignores_sort: bool = False
    """Whether rows are in random order, whatever `sort_key` is."""
    ignores_filters: bool = False
    """Whether rows are not filtered by `created` and `updated`."""
    ends_before: bool = False
    """Whether ranges of days exclude their last day."""
    limit: int = 0
    """The requests that each endpoint accepts in a window; 0 means no limit."""
    limited: Collection[str] = ()
    """The endpoints that have the limit, by their streams; all if there are none."""
    limit_seconds: int = 60
    """The length of a window; windows begin at whole multiples of it."""
    date_skew: float = 0
    """Seconds by which the `Date` header is ahead of the server's time."""
    date: str | None = None
    """What the `Date` header says instead of a time."""
    token_lifetime: float = 7200
    """Seconds."""


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
        self._issued = 0
        self._cut: set[str] = set()
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
            if name in self._reads:
                self._check_declared(query, _PARAMETERS.get(name, set()))
                answer = Answer(HTTPStatus.OK, self._reads[name](query))
            else:
                answer = self._list(name, query)
        except ValueError as error:
            answer = _error(HTTPStatus.BAD_REQUEST, "invalid_parameter", str(error))
        return replace(answer, headers=headers)

    def _check_declared(self, query: Mapping[str, str], declared: Collection[str]) -> None:
        if not self.switches.lenient and (undeclared := query.keys() - declared):
            raise ValueError(f"{min(undeclared)} is not a parameter")

    def _list(self, name: str, query: Mapping[str, str]) -> Answer:
        table = self.account.tables[name]
        selection, page = self._selection(name, query)
        if page > LAST_PAGE:
            return Answer(HTTPStatus.OK, [])
        rows = [row for row in table.page(selection) if row.id not in table.hidden]
        rendered = [row.rendered() for row in self._cut_short(rows, f"{name} {sorted(query.items())}")]
        self._change_rows(name)
        return Answer(HTTPStatus.OK, rendered)

    def _cut_short(self, rows: list[Row], request: str) -> list[Row]:
        """Return the rows of a page, without the last ones where it comes short."""
        if len(rows) < 2 or request in self._cut or self.account.rng.random() >= self.switches.short_pages:
            return rows
        self._cut.add(request)
        return rows[: self.account.rng.randrange(1, len(rows))]

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
        self._counts[name, window] += 1
        left = self.switches.limit - self._counts[name, window]
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
        ]
        if form not in grants:
            content = {"error": "invalid_client", "error_description": "The client is unknown"}
            return Answer(HTTPStatus.UNAUTHORIZED, content)
        self._issued += 1
        number = self._issued
        self.tokens[f"sandbox-token-{number}"] = self.clock() + self.switches.token_lifetime
        token = {
            "access_token": f"sandbox-token-{number}",
            "token_type": "bearer",
            "expires_in": self.switches.token_lifetime,
            "scope": "delete_account admin respond export read survey invalidate_response",
            "created_at": int(self.clock()),
        }
        if form["grant_type"] != "client_credentials":
            token["refresh_token"] = f"sandbox-refresh-token-{number}"
        return Answer(HTTPStatus.OK, token)

    def _selection(self, name: str, query: Mapping[str, str]) -> tuple[Selection, int]:
        """Return what a list is asked for, and the number of the page."""
        columns = ("created", "updated") if name == "end_users" else ("created",)
        sort_keys = ["email"] * (name == "end_users") + [f"{column}_at" for column in columns]
        operators = {f"{column}[{operator}]": (column, operator) for column in columns for operator in OPERATORS}
        self._check_declared(query, {"page", "per_page", "sort_key", "sort_order", *operators})
        filters = [
            Filter(*operators[parameter], _number(query, parameter) * SECOND)
            for parameter in query
            if parameter in operators
        ]
        key = query.get("sort_key", sort_keys[0])
        order = query.get("sort_order", "asc" if name == "end_users" else "desc")
        page, size = _number(query, "page", 1), _number(query, "per_page", 25)
        if self.switches.lenient:
            key, size = key if key in sort_keys else sort_keys[0], min(size, MAX_PAGE_SIZE)
        valid = {
            "page": page >= 1,
            "per_page": 1 <= size <= MAX_PAGE_SIZE,
            "sort_key": key in sort_keys,
            "sort_order": order in {"asc", "desc"},
        }
        if invalid := [parameter for parameter, is_valid in valid.items() if not is_valid]:
            raise _invalid(invalid[0])
        size = min(size, self.switches.page_size)
        selection = Selection(
            [] if self.switches.ignores_filters else filters,
            key,
            descending=order == "desc",
            offset=(page - 1) * size,
            limit=size,
            whole_seconds=self.switches.whole_seconds,
            shuffle_ties=self.switches.shuffle_ties,
            ignores_sort=self.switches.ignores_sort,
        )
        return selection, page

    def _change_rows(self, name: str) -> None:
        """Change rows, as people do while the account is read."""
        table, now = self.account.tables[name], int(self.clock() * SECOND)
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


def _number(query: Mapping[str, str], parameter: str, default: int = 0) -> int:
    text = query.get(parameter, str(default))
    if not _NUMBER.fullmatch(text):
        raise _invalid(parameter)
    return int(text)


def _invalid(parameter: str) -> ValueError:
    return ValueError(f"{parameter} does not have a valid value")


def _error(status: HTTPStatus, code: str, message: str) -> Answer:
    errors = [{"status": code, "message": message, "field": None}]
    return Answer(status, {"type": "error_list", "errors": errors})
