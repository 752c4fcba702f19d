"""The dbt package computes the account's metrics from the tables that targets load."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tap_wootric.streams import STREAMS
from tests.e2e.test_postgres import account_with_unusual_values, by, nps, rounded_ratio
from tests.postgres import Database
from tests.programs import run, target, uvx
from tests.tap import Run, full_table, tap
from tools.docs import DBT, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, Row
from tools.sandbox.server import Clock

DUCKDB = "duckdb<1.3"  # With a newer one, target-duckdb 0.8.0 loses rows.
PROGRAMS = uvx("dbt-core~=1.11.0", "--with=dbt-postgres~=1.11.0", "--with=dbt-duckdb~=1.11.0", f"--with={DUCKDB}")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which `dbt` is found, and finds the package's profile."""
    command = tmp_path / "bin" / "dbt"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join([*PROGRAMS, "dbt"])} "$@"\n')
    command.chmod(0o755)
    quiet = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_TARGET_PATH": str(tmp_path), "DBT_LOG_PATH": str(tmp_path)}
    return {"PATH": f"{command.parent}:/usr/bin:/bin", "DBT_PROFILES_DIR": str(DBT), **quiet}


def execute(commands: str, folder: Path, env: Mapping[str, str]) -> str:
    done = run("bash", "-ec", commands, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load(output: Run, command: list[str], config: Mapping[str, Any], folder: Path) -> None:
    (folder / "target.json").write_text(json.dumps(config))
    done = run(*command, "--config", "target.json", cwd=folder, text=output.out, env={"PGTZ": "UTC"})
    assert done.returncode == 0, done.stderr


def by_month(rows: Mapping[int, Row], zone: tzinfo = UTC) -> dict[str, list[Row]]:
    return by(lambda row: f"{datetime.fromtimestamp(row.created // SECOND, zone):%Y-%m}-01", rows.values())


def scores(groups: Mapping[Any, list[Row]]) -> dict[Any, tuple[Decimal, int]]:
    """Return the NPS, and the number of responses that count, of each group that has one."""
    return {key: found for key, rows in groups.items() if (found := nps(rows))[1]}


def response_rates(account: Account, zone: tzinfo = UTC) -> dict[str, tuple[Decimal, int, int]]:
    answered, declined = by_month(account.responses.rows, zone), by_month(account.declines.rows, zone)
    counts = {month: (len(answered.get(month, [])), len(declined.get(month, []))) for month in {*answered, *declined}}
    return {month: (rounded_ratio(100 * yes, yes + no), yes, no) for month, (yes, no) in counts.items()}


def to_follow_up(account: Account) -> set[int]:
    rows = account.responses.rows.values()
    detractors = [row for row in rows if scores({row.id: [row]}).get(row.id) == (-100, 1)]
    return {row.id for row in detractors if not row.body["completed"]}


def test_a_project_with_the_package_finds_the_metrics_in_postgresql(
    database: Database, tmp_path: Path, published: dict[str, str], env: dict[str, str]
) -> None:
    account = account_with_unusual_values()
    account.responses.rows[10].body |= {"end_user_id": None, "end_user": None}
    config = {"sqlalchemy_url": database.sqlalchemy_url, "default_target_schema": "tap_wootric"}
    config |= {"sanitize_null_text_characters": True}
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = tap(config=sandbox.config)
        load(first, target("target-postgres"), config, tmp_path)
        deleted, forgotten = account.responses.rows[4], account.end_users.rows[7]
        account.responses.delete(deleted)
        account.end_users.delete(forgotten)
        load(
            tap(config=sandbox.config, state=first.state, catalog=full_table(*account.tables)),
            target("target-postgres"),
            config,
            tmp_path,
        )
    project = tmp_path / "project"
    project.mkdir()
    variables = yaml.safe_load(block("wootric_property: Department"))["vars"]
    variables["wootric_time_zone"] = "UTC"
    (project / "dbt_project.yml").write_text(json.dumps({"name": "acme", "profile": "wootric", "vars": variables}))
    (project / "packages.yml").write_text(block("subdirectory: dbt"))
    url = urlsplit(database.url)
    connection = {
        "PGHOST": url.hostname,
        "PGPORT": url.port or 5432,
        "PGUSER": url.username,
        "PGDATABASE": url.path[1:],
    }
    env |= {name: str(value) for name, value in connection.items()} | {"PGPASSWORD": url.password or ""} | published
    printed = execute(block("--select package:wootric"), project, env)
    assert "WARN=0 ERROR=0 SKIP=0" in printed
    assert {name for name in STREAMS if f"source_not_null_wootric_{name}_" in printed} == account.tables.keys()

    def rows(model: str) -> list[dict[str, Any]]:
        return database.query(f"SELECT * FROM wootric.{model}")  # noqa: S608 - The names are the test's own.

    found = {str(row["month"]): (row["nps"], row["responses"]) for row in rows("wootric__nps_by_month")}
    assert found == scores(by_month(account.responses.rows))
    users = account.end_users.rows

    def department(row: Row) -> Any:
        user = users.get(row.body["end_user_id"])
        return user and (user.body["properties"] or {}).get("Department")

    expected = {
        (month, value): counted
        for month, group in by_month(account.responses.rows).items()
        for value, counted in scores(by(department, group)).items()
    }
    assert {
        (str(row["month"]), row["property_value"]): (row["nps"], row["responses"])
        for row in rows("wootric__nps_by_property")
    } == expected
    assert {
        str(row["month"]): (row["response_rate"], row["responses"], row["declines"])
        for row in rows("wootric__response_rate_by_month")
    } == response_rates(account)
    assert {row["response_id"] for row in rows("wootric__responses_to_follow_up")} == to_follow_up(account)
    responses = {row["response_id"]: row for row in rows("stg_wootric__responses")}
    assert responses.keys() == account.responses.rows.keys()
    for row_id, row in responses.items():
        body = account.responses.rows[row_id].body
        user = users.get(body["end_user_id"])
        for name in ("email", "external_id"):
            assert row[name] == ((user and user.body[name]) or (body["end_user"] or {}).get(name))


COPIES = """
import duckdb
connection = duckdb.connect('warehouse.duckdb')
for stream in ('declines', 'end_users', 'responses'):
    older = '_sdc_extracted_at - INTERVAL 1 DAY AS _sdc_extracted_at, updated_at + INTERVAL 1 DAY AS updated_at'
    older += ', 11 - score AS score' * (stream == 'responses')
    connection.sql(f'ALTER TABLE tap_wootric.{stream} RENAME TO loaded')
    connection.sql(f'CREATE TABLE tap_wootric.{stream} AS FROM tap_wootric.loaded'
                   f' UNION ALL SELECT * REPLACE ({older}) FROM tap_wootric.loaded')
    connection.sql('DROP TABLE tap_wootric.loaded')
connection.sql("UPDATE tap_wootric.responses SET _sdc_deleted_at = '2025-12-01' WHERE id = 4")
connection.sql('ALTER TABLE tap_wootric.end_users DROP phone_number')
"""
"""Makes tables like those of a target that appends: with an older copy of each row; and a row that is deleted."""

READ = """
import duckdb, json
connection = duckdb.connect('warehouse.duckdb')
names = ('nps_by_month', 'nps_by_property', 'response_rate_by_month', 'responses_to_follow_up')
print(json.dumps({name: connection.sql(f'FROM wootric.wootric__{name}').fetchall() for name in names}, default=str))
"""


def test_the_package_finds_the_newest_rows_in_duckdb_and_counts_months_in_the_account_s_zone(
    tmp_path: Path, env: dict[str, str]
) -> None:
    account = account_with_unusual_values()
    for row in account.responses.rows.values():
        row.properties["it's a plan"] = row.id % 2
    with Sandbox(account, Clock(NOW)) as sandbox:
        output = tap(config=sandbox.config)
    config = {"filepath": "warehouse.duckdb", "default_target_schema": "tap_wootric", "add_metadata_columns": True}
    load(output, uvx("target-duckdb==0.8.0", f"--with={DUCKDB}", "target-duckdb"), config, tmp_path)
    execute(shlex.join([*PROGRAMS, "python", "-c", COPIES]), tmp_path, env)
    variables = {"wootric_property": "it's a plan", "wootric_time_zone": str(account.zone)}
    variables |= {"wootric_target_appends": True, "wootric_nps_survey_ids": [1, 2]}
    env |= {"DUCKDB_PATH": str(tmp_path / "warehouse.duckdb"), "DBT_PROJECT_DIR": str(DBT)}
    _install, build, _show = block("uv tool install 'dbt-core").splitlines()
    execute(f"{build} --target duckdb --vars {shlex.quote(json.dumps(variables))}", tmp_path, env)

    account.responses.delete(account.responses.rows[4])
    surveyed = {
        row.id: row for row in account.responses.rows.values() if row.body["survey_id"] in {1, 2} or row.id % 7 == 0
    }
    months = by_month(surveyed, account.zone)
    found = json.loads(execute(shlex.join([*PROGRAMS, "python", "-c", READ]), tmp_path, env))
    assert {row[0]: (Decimal(row[-1]), row[-2]) for row in found["nps_by_month"]} == scores(months)
    assert {(row[0], row[1]): (Decimal(row[-1]), row[-2]) for row in found["nps_by_property"]} == {
        (month, value): counted
        for month, group in months.items()
        for value, counted in scores(by(lambda row: str(row.id % 2), group)).items()
    }
    assert {row[0]: (Decimal(row[3]), row[1], row[2]) for row in found["response_rate_by_month"]} == response_rates(
        account, account.zone
    )
    assert {row[0] for row in found["responses_to_follow_up"]} == to_follow_up(account) & surveyed.keys()
