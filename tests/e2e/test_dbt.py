"""The dbt package computes the account's metrics from the tables that targets load."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from tests.preloaded import preloaded
from tests.programs import installed, path_with, run, target
from tests.tap import Run, tap
from tools.docs import DBT, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, Row
from tools.sandbox.server import Clock

DUCKDB = "duckdb<1.3"  # With a newer one, target-duckdb 0.8.0 loses rows.
# A newer dbt-core downloads a part of itself from GitHub while it is installed.
PACKAGES = ("dbt-core~=1.11.0", "dbt-postgres~=1.11.0", "dbt-duckdb~=1.11.0", DUCKDB)
MARTS = ("nps_by_month", "nps_by_property", "response_rate_by_month", "responses_to_follow_up")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which `dbt` is found, and finds the package's profile."""
    dbt = preloaded(installed(*PACKAGES) / "dbt")
    folders = {"DBT_LOG_PATH": str(tmp_path), "DBT_TARGET_PATH": str(tmp_path), "DBT_PROFILES_DIR": str(DBT)}
    return {"PATH": path_with(tmp_path / "bin", dbt=dbt), **folders}


def execute(commands: str, folder: Path, env: Mapping[str, str]) -> str:
    done = run("bash", "-ec", commands, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_python(code: str, folder: Path) -> str:
    """Run code that can import duckdb."""
    done = run(installed(*PACKAGES) / "python", "-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(output: Run, program: Path, config: Mapping[str, Any], folder: Path) -> None:
    (folder / "target.json").write_text(json.dumps({**config, "default_target_schema": "tap_wootric"}))
    done = run(program, "--config", "target.json", cwd=folder, text=output.out, env={"PGTZ": "UTC"})
    assert done.returncode == 0, done.stderr


def assert_marts_are_right(
    marts: Mapping[str, Sequence[Sequence[Any]]],
    account: Account,
    property_of: Callable[[Row], Any],
    *,
    zone: tzinfo = UTC,
    is_nps: Callable[[Row], bool] = lambda _row: True,
) -> None:
    """Compare each mart with the account, where `is_nps` says whether a survey may be one for the NPS."""

    def month(row: Row) -> str:
        return f"{datetime.fromtimestamp(row.created // SECOND, zone):%Y-%m}-01"

    responses = account.responses.rows.values()
    rows = [row for row in responses if is_nps(row) and nps([row])[1]]
    by_month = {key: nps(group) for key, group in by(month, rows).items()}
    assert {str(row[0]): (Decimal(row[-1]), row[-2]) for row in marts["nps_by_month"]} == by_month
    by_property = {key: nps(group) for key, group in by(lambda row: (month(row), property_of(row)), rows).items()}
    assert {(str(row[0]), row[1]): (Decimal(row[-1]), row[-2]) for row in marts["nps_by_property"]} == by_property

    answered, declined = Counter(map(month, responses)), Counter(map(month, account.declines.rows.values()))
    assert {str(key): (*counts, Decimal(rate)) for key, *counts, rate in marts["response_rate_by_month"]} == {
        key: (answered[key], declined[key], rounded_ratio(100 * answered[key], answered[key] + declined[key]))
        for key in answered | declined
    }
    detractors = [row for row in rows if nps([row])[0] == Decimal(-100)]
    expected = {row.id for row in detractors if not row.body["completed"]}
    assert {row[0] for row in marts["responses_to_follow_up"]} == expected


def test_a_project_with_the_package_finds_the_metrics_in_postgresql(
    database: Database, tmp_path: Path, published: dict[str, str], env: dict[str, str]
) -> None:
    account = account_with_unusual_values()
    account.responses.rows[10].body |= {"end_user_id": None, "end_user": None}
    config = {"sqlalchemy_url": database.sqlalchemy_url, "sanitize_null_text_characters": True}
    with Sandbox(account, Clock(NOW)) as sandbox:
        load(tap(config=sandbox.config), target("target-postgres"), config, tmp_path)
    for name, id_ in (("responses", 4), ("end_users", 7)):  # As a full-table sync marks them.
        account.tables[name].delete(account.tables[name].rows[id_])
        database.query(f"UPDATE tap_wootric.{name} SET _sdc_deleted_at = now() WHERE id = {id_} RETURNING id")  # noqa: S608
    project = tmp_path / "project"
    project.mkdir()
    variables = yaml.safe_load(block("wootric_property: Department"))["vars"] | {"wootric_time_zone": "UTC"}
    (project / "dbt_project.yml").write_text(json.dumps({"name": "acme", "profile": "wootric", "vars": variables}))
    (project / "packages.yml").write_text(block("subdirectory: dbt"))
    url = urlsplit(database.url)
    env |= {"PGHOST": str(url.hostname), "PGPORT": str(url.port or 5432), "PGDATABASE": url.path[1:]}
    env |= {"PGUSER": str(url.username), "PGPASSWORD": url.password or "", **published}
    printed = execute(block("--select package:wootric"), project, env)
    assert "WARN=0 ERROR=0 SKIP=0" in printed
    assert {name for name in STREAMS if f"source_not_null_wootric_{name}_" in printed} == account.tables.keys()

    def rows(model: str) -> list[dict[str, Any]]:
        return database.query(f"SELECT * FROM wootric.{model}")  # noqa: S608 - The names are the test's own.

    def user_of(row: Row) -> Mapping[str, Any]:
        user = account.end_users.rows.get(row.body["end_user_id"])
        return user.body if user else {}

    marts = {name: [[*row.values()] for row in rows(f"wootric__{name}")] for name in MARTS}
    assert_marts_are_right(marts, account, lambda row: (user_of(row).get("properties") or {}).get("Department"))
    responses = {row["response_id"]: row for row in rows("stg_wootric__responses")}
    assert responses.keys() == account.responses.rows.keys()
    for row in account.responses.rows.values():
        for name in ("email", "external_id"):
            assert responses[row.id][name] == (user_of(row).get(name) or (row.body["end_user"] or {}).get(name))


COPIES = """
import duckdb
connection = duckdb.connect('warehouse.duckdb')
for stream in ('declines', 'end_users', 'responses'):
    older = '_sdc_extracted_at - INTERVAL 1 DAY AS _sdc_extracted_at, updated_at + INTERVAL 1 DAY AS updated_at'
    older += ', 11 - score AS score' * (stream == 'responses')
    connection.sql(f'CREATE OR REPLACE TABLE tap_wootric.{stream} AS FROM tap_wootric.{stream}'
                   f' UNION ALL SELECT * REPLACE ({older}) FROM tap_wootric.{stream}')
connection.sql("UPDATE tap_wootric.responses SET _sdc_deleted_at = '2025-12-01' WHERE id = 4")
connection.sql('ALTER TABLE tap_wootric.end_users DROP phone_number')
"""
"""Makes tables like those of a target that appends: with an older copy of each row; and a row that is deleted."""

READ = f"""
import duckdb, json
connection = duckdb.connect('warehouse.duckdb')
marts = {{name: connection.sql(f'FROM wootric.wootric__{{name}}').fetchall() for name in {MARTS}}}
print(json.dumps(marts, default=str))
"""


def test_the_package_finds_the_newest_rows_in_duckdb_and_counts_months_in_the_accounts_zone(
    tmp_path: Path, env: dict[str, str]
) -> None:
    account = account_with_unusual_values()
    for row in account.responses.rows.values():
        row.properties["it's a plan"] = row.id % 2
    with Sandbox(account, Clock(NOW)) as sandbox:
        output = tap(config=sandbox.config)
    config = {"filepath": "warehouse.duckdb", "add_metadata_columns": True}
    load(output, installed("target-duckdb==0.8.0", DUCKDB) / "target-duckdb", config, tmp_path)
    run_python(COPIES, tmp_path)
    variables = {"wootric_property": "it's a plan", "wootric_time_zone": str(account.zone)}
    appends = {"wootric_target_appends": True, "wootric_nps_survey_ids": [1, 2]}
    env |= {"DUCKDB_PATH": str(tmp_path / "warehouse.duckdb"), "DBT_PROJECT_DIR": str(DBT)}
    _install, build, _show = block("uv tool install 'dbt-core").splitlines()
    execute(f"{build} --target duckdb --vars {shlex.quote(json.dumps(variables | appends))}", tmp_path, env)

    marts = json.loads(run_python(READ, tmp_path))
    account.responses.delete(account.responses.rows[4])
    assert_marts_are_right(
        marts,
        account,
        lambda row: str(row.id % 2),
        zone=account.zone,
        is_nps=lambda row: row.body["survey_id"] in {1, 2},
    )
