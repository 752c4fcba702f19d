"""`meltano run tap-wootric target-postgres`, and what is in the database after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.postgres import Database
from tests.programs import Project, run, settings, target
from tests.readme import block
from tests.sandbox import Account, Sandbox
from tests.sandbox.account import NOW, SECOND, Row
from tests.sandbox.server import Clock
from tests.tap import full_table, tap


def loaded(database: Database, table: str, schema: str = "tap_wootric") -> dict[int, dict[str, Any]]:
    """The rows of a table by their id; a row that is there twice is a failure."""
    rows = database.query(f"SELECT * FROM {schema}.{table}")  # noqa: S608 - The names are the test's own.
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def stood(stamp: int) -> datetime:
    """A stamp of the account as target-postgres stores it: without a zone."""
    return datetime.fromtimestamp(stamp // SECOND, UTC).replace(tzinfo=None)


def expected(row: Row) -> dict[str, Any]:
    """What the database is to hold of an account's row: what the API sends, but for the form of times, and NUL."""
    body = {name: _in_utc(name, value) for name, value in row.body.items()}
    if body.get("text"):
        body["text"] = body["text"].replace("\0", "\ufffd")
    if body.get("last_surveyed"):
        body["last_surveyed"] = datetime.fromisoformat(body["last_surveyed"]).replace(tzinfo=None)
    return {"id": row.id, "created_at": stood(row.created), "updated_at": stood(row.updated), **body}


def _in_utc(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and name != "properties":
        return {inner: _in_utc(inner, one) for inner, one in value.items()}
    if isinstance(value, str) and name in {"created_at", "last_surveyed"}:
        moment = datetime.strptime(value, "%Y-%m-%d %H:%M:%S %z").astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def assert_holds(database: Database, account: Account, schema: str = "tap_wootric") -> None:
    """Check each value of each row; a column that the API did not send is null."""
    for name, table in account.tables.items():
        found = loaded(database, name, schema)
        assert found.keys() == table.rows.keys()
        for row in table.rows.values():
            values = {column: one for column, one in found[row.id].items() if not column.startswith("_sdc_")}
            assert {**dict.fromkeys(values), **expected(row)} == values


def nasty_account() -> Account:
    account = Account(80, 120, declines=40)
    account.crowd(account.responses, 60, both_clocks=True)
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


def test_meltano_brings_every_value_then_what_changed_and_drops_what_was_deleted(
    database: Database, tmp_path: Path
) -> None:
    account, project = nasty_account(), Project(tmp_path)
    with Sandbox(account, Clock(NOW, step=0)) as sandbox:
        env = {**settings(sandbox), "TARGET_POSTGRES_SQLALCHEMY_URL": database.sqlalchemy_url}

        def meltano(extractor: str, **more: str) -> None:
            done = project.meltano("run", extractor, "target-postgres", env={**env, **more})
            assert done.returncode == 0, done.stderr

        meltano("tap-wootric")
        assert_holds(database, account)
        first = loaded(database, "responses")

        sandbox.clock.advance(600)
        now = int(NOW + 600) * SECOND
        changed, gone, gone_later = (account.responses.rows[number] for number in (3, 4, 5))
        account.responses.update(changed, now)
        late = account.responses.insert(int(NOW - 200) * SECOND)  # Its commit came behind the first sync's end.
        new = account.responses.insert(now)
        asked = len(sandbox.requests)
        meltano("tap-wootric")
        assert_holds(database, account)
        assert len(sandbox.requests) - asked <= 6  # A token, one for end users, and two each for the other lists.
        again = {one["id"] for one in loaded(database, "responses").values() if one != first.get(one["id"])}
        assert again >= {changed.id, late.id, new.id}
        assert len(again) <= 4  # Besides, the row that the bookmark stands at.

        account.responses.delete(gone)
        meltano("tap-wootric-full")
        rows = loaded(database, "responses")
        assert {one for one, row in rows.items() if row["_sdc_deleted_at"]} == {gone.id}

        sandbox.clock.advance(60)
        account.responses.delete(gone_later)
        meltano("tap-wootric-full", TARGET_POSTGRES_HARD_DELETE="true")
        assert_holds(database, account)


def test_many_accounts_go_into_schemas_of_their_own_each_with_its_own_state(database: Database, tmp_path: Path) -> None:
    project = Project(tmp_path)
    content = yaml.safe_load((project.folder / "meltano.yml").read_text())
    accounts = yaml.safe_load(block("tap-wootric-acme\n"))["plugins"]["extractors"]
    content["plugins"]["extractors"] += accounts
    (project.folder / "meltano.yml").write_text(yaml.safe_dump(content))
    acme, globex = Account(30, 20, seed=1), Account(50, 10, seed=2)
    commands = [line.split()[1:] for line in block("meltano run tap-wootric-acme").splitlines()]
    with Sandbox(acme, Clock(NOW)) as first, Sandbox(globex, Clock(NOW)) as second:
        env = {**settings(first, "TAP_WOOTRIC_ACME"), **settings(second, "TAP_WOOTRIC_GLOBEX")}
        env["TARGET_POSTGRES_SQLALCHEMY_URL"] = database.sqlalchemy_url

        def extract() -> None:
            for command in commands:
                done = project.meltano(*command, env=env)
                assert done.returncode == 0, done.stderr
            assert_holds(database, acme, "wootric_acme")
            assert_holds(database, globex, "wootric_globex")

        extract()
        for sandbox, account in ((first, acme), (second, globex)):
            account.end_users.update(account.end_users.rows[1], int(sandbox.clock()) * SECOND)
        asked = len(first.requests), len(second.requests)
        extract()
        assert (len(first.requests) - asked[0], len(second.requests) - asked[1]) == (6, 6)


def test_what_a_tap_read_before_it_failed_is_loaded_and_gone_on_from(database: Database, tmp_path: Path) -> None:
    account, project = Account(400, 200), Project(tmp_path)
    with Sandbox(account, Clock(NOW)) as sandbox:
        env = {**settings(sandbox), "TARGET_POSTGRES_SQLALCHEMY_URL": database.sqlalchemy_url}
        sandbox.fault = lambda path, number: "403" if path == "/v1/end_users" and number == 6 else ""
        failed = project.meltano("run", "tap-wootric", "target-postgres", env=env)
        assert failed.returncode == 1
        assert "Traceback" not in failed.stderr
        assert 200 <= len(loaded(database, "end_users")) <= 250
        asked = len(sandbox.pages("end_users"))
        sandbox.fault = lambda _path, _number: ""
        assert project.meltano("run", "tap-wootric", "target-postgres", env=env).returncode == 0
    assert_holds(database, account)
    assert len(sandbox.pages("end_users")) - asked <= 5


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_flattened_rows_load_as_well(depth: int, database: Database, tmp_path: Path) -> None:
    config = {"flattening_enabled": True, "flattening_max_depth": depth} if depth else {}
    account = nasty_account()
    with Sandbox(account, Clock(NOW)) as sandbox:
        full = tap(config={**sandbox.config, **config}, catalog=full_table("end_users", "responses"))
        incremental = tap(config={**sandbox.config, **config}, state=tap(config={**sandbox.config, **config}).state)
    (tmp_path / "target.json").write_text(
        json.dumps({"sqlalchemy_url": database.sqlalchemy_url, "sanitize_null_text_characters": True})
    )
    for output in (full.out, incremental.out):
        done = run(*target("target-postgres"), "--config", str(tmp_path / "target.json"), text=output)
        assert done.returncode == 0, done.stderr
    users = loaded(database, "end_users", "melty")
    assert users.keys() == account.end_users.rows.keys()
    web_nps = account.end_users.rows[2].body["settings"]["web_nps"]
    assert (users[2]["settings__web_nps"] if depth else users[2]["settings"]["web_nps"]) == web_nps
    properties = users[2]["properties"]
    assert (json.loads(properties) if depth else properties) == account.end_users.rows[2].properties
