"""target-postgres loads every row and value into the database, and the recipes find them there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tap_wootric.streams import STREAMS
from tests.postgres import Database
from tests.programs import run, target
from tests.tap import Run, full_table, selecting, tap
from tools.docs import block, recipe
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, Row
from tools.sandbox.server import Clock


def loaded(database: Database, table: str, schema: str = "tap_wootric") -> dict[int, dict[str, Any]]:
    """Return the rows of a table by id, after checking that no id is there twice."""
    rows = database.query(f"SELECT * FROM {schema}.{table}")  # noqa: S608 - The names are the test's own.
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def in_postgres(timestamp: int) -> datetime:
    """Return a timestamp of the account as target-postgres stores it: in UTC, without a time zone."""
    return datetime.fromtimestamp(timestamp // SECOND, UTC).replace(tzinfo=None)


def expected(row: Row) -> dict[str, Any]:
    """Return an account's row as it should be in the database: timestamps in another format, and NUL replaced."""
    body = {name: _in_utc(name, value) for name, value in row.body.items()}
    if body.get("text"):
        body["text"] = body["text"].replace("\0", "\ufffd")
    if body.get("last_surveyed"):
        body["last_surveyed"] = datetime.fromisoformat(body["last_surveyed"]).replace(tzinfo=None)
    return {"id": row.id, "created_at": in_postgres(row.created), "updated_at": in_postgres(row.updated), **body}


def _in_utc(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and name != "properties":
        return {field: _in_utc(field, content) for field, content in value.items()}
    if isinstance(value, str) and name in {"created_at", "last_surveyed"}:
        moment = datetime.strptime(value, "%Y-%m-%d %H:%M:%S %z").astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def assert_holds(database: Database, account: Account, schema: str = "tap_wootric") -> None:
    """Check each value of each row. Columns that the API did not send must be null."""
    for name, table in account.tables.items():
        found = loaded(database, name, schema)
        assert found.keys() == table.rows.keys()
        for row in table.rows.values():
            values = {column: value for column, value in found[row.id].items() if not column.startswith("_sdc_")}
            assert {**dict.fromkeys(values), **expected(row)} == values


def nps(rows: Iterable[Row]) -> tuple[Decimal, int]:
    """Return the NPS of responses, and how many of them count."""
    scores = [
        row.body["score"]
        for row in rows
        if row.body["score"] is not None and not row.body["excluded_from_calculations"]
    ]
    promoters, detractors = sum(score >= 9 for score in scores), sum(score <= 6 for score in scores)
    return rounded_ratio(100 * (promoters - detractors), max(1, len(scores))), len(scores)


def rounded_ratio(dividend: int, divisor: int) -> Decimal:
    """Return a quotient with one decimal place, rounded like PostgreSQL."""
    return (Decimal(dividend) / divisor).quantize(Decimal("0.1"), ROUND_HALF_UP)


def by(key: Callable[[Row], Any], rows: Iterable[Row]) -> dict[Any, list[Row]]:
    return {value: list(group) for value, group in groupby(sorted(rows, key=lambda row: repr(key(row))), key)}


def account_with_unusual_values() -> Account:
    account = Account(80, 120, declines=40)
    account.responses.rows[2].body["excluded_from_calculations"] = True
    account.responses.rows[6].body["score"] = None
    account.crowd(account.responses, 60, created_too=True)
    comment = account.responses.rows[1]
    comment.body |= {
        "text": "NUL \0, tab \t, søt 高い 🙂, 'quote' \"quote\" \\",
        "tags": ['a "b", {c}', "🙂"],
        "notes": ["x,y"],
    }
    comment.properties |= {"": {"nested": [1, 1.25, None, True, "高い"]}, "big": 2**53, "unknown": "Ünicode"}
    user = account.end_users.rows[1]
    user.body |= dict.fromkeys(user.body, None)
    return account


@pytest.fixture
def load(database: Database, tmp_path: Path) -> Callable[[Run], None]:
    """Return a function that loads the output of a run, with the target that the README sets up."""
    (tmp_path / "target.json").write_text(
        re.sub(r"postgresql[^\"]+", database.sqlalchemy_url, block('"sqlalchemy_url"'))
    )

    def load(output: Run) -> None:
        assert output.status == 0, output.log
        settings = str(tmp_path / "target.json")
        done = run(target("target-postgres"), "--config", settings, text=output.out, env={"PGTZ": "UTC"})
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == output.state

    return load


def test_every_value_is_loaded_then_the_changes_and_a_full_table_marks_deleted_rows(
    database: Database, load: Callable[[Run], None]
) -> None:
    account = account_with_unusual_values()
    with Sandbox(account, Clock(NOW, step=0)) as sandbox:
        first = tap(config=sandbox.config, now=sandbox.clock())
        load(first)
        assert_holds(database, account)

        sandbox.clock.advance(86_400)
        now = int(sandbox.clock()) * SECOND
        account.end_users.update(account.end_users.rows[3], now)
        account.responses.insert(now)
        account.responses.insert(int(NOW - 200) * SECOND)  # It was committed after the first sync.
        recent = max(account.responses.rows.values(), key=lambda row: row.created)
        account.responses.add_note(recent)
        second = tap(config=sandbox.config, state=first.state, now=sandbox.clock())
        load(second)
        assert_holds(database, account)

        deleted, forgotten = account.responses.rows[4], account.end_users.rows[7]
        account.responses.delete(deleted)
        account.end_users.delete(forgotten)
        load(tap(config=sandbox.config, state=second.state, catalog=full_table(*account.tables), now=sandbox.clock()))
        rows = loaded(database, "responses")
        assert {row_id for row_id, row in rows.items() if row["_sdc_deleted_at"]} == {deleted.id}
        found = database.query(recipe("deleted_rows"))
        assert {(row["stream"], row["id"]) for row in found} == {("responses", deleted.id), ("end_users", forgotten.id)}


def test_streams_not_selected_by_default_load(database: Database, load: Callable[[Run], None]) -> None:
    account = Account(30, 300, declines=100, emails=300)
    account.survey_templates[1]["custom_samplings"] = [{'a "b", {c}': ["NUL \0", 1.5]}, None]
    first_day, last_day = date(2025, 10, 1), date(2025, 12, 31)
    with Sandbox(account, Clock(NOW)) as sandbox:
        config = {**sandbox.config, "start_date": str(first_day)}
        first = tap(config=config, catalog=selecting(*STREAMS), now=sandbox.clock())
        load(first)

        def rows(query: str) -> list[dict[str, Any]]:
            return [
                {name: value for name, value in row.items() if not name.startswith("_sdc_")}
                for row in database.query(query)
            ]

        begin = datetime(2024, 1, 1)  # noqa: DTZ001 - As target-postgres stores it.
        assert rows("SELECT * FROM tap_wootric.segments ORDER BY name") == [
            {**segment, "created_at": begin, "extra_fields": None}
            for segment in sorted(account.segments, key=lambda segment: str(segment["name"]))
        ]
        account.survey_templates[1]["custom_samplings"] = [{'a "b", {c}': ["NUL \ufffd", 1.5]}]
        assert rows("SELECT * FROM tap_wootric.survey_templates ORDER BY id") == [
            {**template, "is_default": template["id"] == 1, "extra_fields": None}
            for template in account.survey_templates
        ]
        days = rows("SELECT * FROM tap_wootric.nps_summary ORDER BY date")
        assert [day["date"] for day in days] == [
            first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)
        ]
        for day in days:
            assert day == {"date": day["date"], **account.nps(day["date"]), "extra_fields": None}

        found = rows(
            "SELECT date, open_rate, open_rate_percent, not_eligible_count, (raw_results->>'open')::integer AS opened,"
            " initial_send FROM tap_wootric.email_stats ORDER BY date"
        )
        assert [row["date"] for row in found] == [day["date"] for day in days]
        for row in found:
            stats = account.email_stats(row["date"], row["date"])["email_stats"]
            opened = stats["raw_results"]["open"]
            assert (row["open_rate"], row["opened"], row["initial_send"]) == (stats["open_rate"], opened, None)
            assert row["open_rate_percent"] == int(stats["open_rate"].rstrip("%"))
            assert row["not_eligible_count"] == int(stats["not_eligible"].partition(" ")[0])
        assert rows("SELECT kind, id, date FROM tap_wootric.email_sources ORDER BY kind, id") == [
            {"kind": "ongoing", "id": "email_api", "date": None},
            {"kind": "ongoing", "id": "webhook_trigger", "date": None},
            {"kind": "sends", "id": "1", "date": "Jan 11, 2024  9:01AM"},
            {"kind": "sends", "id": "2", "date": "Apr 14, 2024  12:04AM"},
            {"kind": "sends", "id": "3", "date": "Jul 09, 2024  10:04PM"},
        ]

        months = by(
            lambda row: date.fromisoformat(row.rendered()["created_at"][:8] + "01"), account.responses.rows.values()
        )
        months = {month_: group for month_, group in months.items() if month_ >= first_day}
        found = database.query(recipe("nps_summary_by_month"))
        assert {row["month"]: (row["nps"], row["responses"]) for row in found if row["responses"]} == {
            month_: nps(group) for month_, group in months.items()
        }

        sandbox.clock.advance(86_400)
        del account.segments[0]
        account.responses.insert(int(NOW - 5 * 86_400) * SECOND)
        asked = len(sandbox.pages("nps_summary"))
        load(tap(config=config, catalog=selecting(*STREAMS), state=first.state, now=sandbox.clock()))
        assert len(sandbox.pages("nps_summary")) - asked == 9  # Today, and seven days before the last sync.
        dropped = rows("SELECT name FROM tap_wootric.segments WHERE _sdc_deleted_at IS NOT NULL")
        assert dropped == [{"name": "Department"}]
        (changed,) = rows("SELECT responses FROM tap_wootric.nps_summary WHERE date = '2025-12-25'")
        assert changed["responses"] == account.nps(date(2025, 12, 25))["responses"]


def test_flattened_rows_load(database: Database, load: Callable[[Run], None]) -> None:
    account = account_with_unusual_values()
    flattening = {"flattening_enabled": True, "flattening_max_depth": 3}
    with Sandbox(account, Clock(NOW)) as sandbox:
        load(tap(config={**sandbox.config, **flattening}, catalog=full_table("end_users", "responses")))
    users = loaded(database, "end_users")
    assert users.keys() == account.end_users.rows.keys()
    web_nps = account.end_users.rows[2].body["settings"]["web_nps"]
    assert users[2]["settings__web_nps"] == web_nps
    assert json.loads(users[2]["properties"]) == account.end_users.rows[2].properties
