"""Other Singer programs accept the output of the tap, and stream maps can change it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.postgres import Database
from tests.programs import run, uvx
from tests.tap import Run, full_table, tap
from tools.docs import DOCS, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND
from tools.sandbox.server import Clock


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """A first sync, a sync that reads the last 30 days again, and a full-table sync after a deletion."""
    account = Account(60, 60)
    again = account.responses.insert(int(NOW - 5 * 86_400) * SECOND)
    assert again.id == 61
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = tap(config=sandbox.config, now=sandbox.clock())
        sandbox.clock.advance(86_400)
        second = tap(config=sandbox.config, state=first.state, now=sandbox.clock())
        account.responses.delete(account.responses.rows[5])
        catalog = full_table("end_users", "responses")
        return [first, second, tap(config=sandbox.config, catalog=catalog, now=sandbox.clock())]


def test_singer_check_tap_accepts_the_output(runs: list[Run]) -> None:
    output = "".join(output.out for output in runs)
    checked = run(*uvx("singer-tools~=0.4", "singer-check-tap"), text=output)
    assert checked.returncode == 0, checked.stderr
    rows = output.count('"RECORD"')
    assert rows > 120 + 119
    assert f"{rows} record messages" in checked.stdout


def test_a_field_of_an_object_can_be_emptied_as_the_documentation_says() -> None:
    with Sandbox(Account(0, 60)) as sandbox:
        config = yaml.safe_load(block("{**end_user"))["config"]
        output = tap(config={**sandbox.config, **config})
    users = [record["end_user"] for record in output.records("responses") if record["end_user"]]
    assert len(users) > 30
    assert {user["email"] for user in users} == {None}
    assert all(user["id"] for user in users)


@dataclass(frozen=True)
class Tried:
    """A target of the documentation's table: its command, its settings, and what reads the responses that it wrote."""

    command: list[str]
    settings: dict[str, Any]
    read: Callable[[Path], list[Mapping[str, Any]]]


def _read_files(folder: Path) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for file in folder.glob("responses*"):
        with file.open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines) if file.suffix == ".csv" else map(json.loads, lines)
    return rows


def _read_duckdb(folder: Path) -> list[Mapping[str, Any]]:
    code = (
        "import duckdb; connection = duckdb.connect('x.duckdb');"
        "print([row[0] for row in connection.sql('SELECT id FROM responses').fetchall()])"
    )
    done = run(*uvx("duckdb<1.3", "python", "-c", code), cwd=folder)
    assert done.returncode == 0, done.stderr
    return [{"id": number} for number in json.loads(done.stdout)]


def tried(name: str, database: Database) -> Tried:
    """Return a target, by its name in the documentation's table."""
    url = urlsplit(database.url)
    package = "==".join(re.split(r"[ ,]", name)[:2])

    def read_table(_folder: Path) -> list[Mapping[str, Any]]:
        return [*database.query("SELECT * FROM wootric.responses")]

    schema = {"default_target_schema": "wootric"}
    connection = {"host": url.hostname, "port": url.port or 5432, "user": url.username, "dbname": url.path[1:]}
    duckdb = {"filepath": "x.duckdb", "default_target_schema": "main"}
    return {
        "meltanolabs-target-postgres": Tried(
            uvx(package, "target-postgres"), {"sqlalchemy_url": database.sqlalchemy_url, **schema}, read_table
        ),
        "pipelinewise-target-postgres": Tried(
            uvx(package, "target-postgres"), {**connection, "password": url.password or "-", **schema}, read_table
        ),
        "target-duckdb": Tried(uvx(package, "--with=duckdb<1.3", "target-duckdb"), duckdb, _read_duckdb),
        "target-jsonl": Tried(uvx(package, "target-jsonl"), {}, _read_files),
        "meltanolabs-target-csv": Tried(uvx(package, "target-csv"), {}, _read_files),
    }[name.split(maxsplit=1)[0]]


TARGETS = re.findall(r"^\| (\S*target-.+?) \| (.+?) \| (.+?) \|$", (DOCS / "operations.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", TARGETS, ids=[name.split()[0] for name, *_ in TARGETS])
def test_targets_do_with_rows_what_the_documentation_says(
    line: tuple[str, str, str], runs: list[Run], database: Database, tmp_path: Path
) -> None:
    name, again, deleted = line
    first, second, full = runs
    target = tried(name, database)
    (tmp_path / "config.json").write_text(json.dumps(target.settings))

    def load(*outputs: Run) -> Counter[int]:
        text = "".join(output.out for output in outputs)
        done = run(*target.command, "--config", "config.json", cwd=tmp_path, text=text)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == outputs[-1].state
        return Counter(int(row["id"]) for row in target.read(tmp_path))

    def came(output: Run) -> Counter[int]:
        return Counter(record["id"] for record in output.records("responses"))

    assert load(first) == came(first) == Counter(range(1, 62))
    assert came(second)[61] == 1
    assert (
        load(second, full)
        == {
            "replaces the old one": Counter(range(1, 62)),
            "is appended": came(first) + came(second) + came(full),
            "**overwrites the whole file**": came(second) + came(full),
        }[again.partition(":")[0]]
    )
    rows = [row for row in target.read(tmp_path) if int(row["id"]) == 5]
    assert bool(rows) == (deleted != "disappears with the file")
    assert ("_sdc_deleted_at" in deleted) == any(row.get("_sdc_deleted_at") for row in rows)


def test_files_with_a_timestamp_in_their_names_keep_what_earlier_runs_of_target_csv_wrote(
    runs: list[Run], tmp_path: Path
) -> None:
    first, last, _ = runs
    (name,) = [name for name, *_ in TARGETS if "target-csv" in name]
    command = uvx(name.replace(" ", "=="), "target-csv")
    (tmp_path / "config.json").write_text(block("file_naming_scheme"))
    for output in (first, last):
        done = run(*command, "--config", "config.json", cwd=tmp_path, text=output.out)
        assert done.returncode == 0, done.stderr
        time.sleep(1)  # The names have seconds.
    files = [*tmp_path.glob("responses-*.csv")]
    assert len(files) == 2
    assert len(_read_files(tmp_path)) == len(first.records("responses")) + len(last.records("responses"))


def test_the_stream_maps_of_the_documentation_remove_personal_data() -> None:
    account = Account(60, 60)
    account.end_users.rows[5].body["email"] = None
    account.responses.rows[5].body["notes"] = ["a note on a person"]
    config = yaml.safe_load(block("stream_map_config:\n"))["config"]
    salt = config["stream_map_config"]["salt"]
    with Sandbox(account, Clock(NOW)) as sandbox:
        output = tap(config={**sandbox.config, **config})
    assert output.status == 0, output.log
    users = {record["id"]: record for record in output.records("end_users")}
    assert users.keys() == account.end_users.rows.keys()
    for row in account.end_users.rows.values():
        mail = row.body["email"]
        assert users[row.id]["email"] == (hashlib.sha256(f"{salt}{mail}".encode()).hexdigest() if mail else None)
        assert users[row.id]["properties"] == row.properties
    responses = {record["id"]: record for record in output.records("responses")}
    assert {row_id: record["score"] for row_id, record in responses.items()} == {
        row.id: row.body["score"] for row in account.responses.rows.values()
    }
    dropped = ("@example.com", '"text"', "127.0.0.1", "+1415555", "phone_number", '"end_user"', "a note on")
    assert [name for name in dropped if name in output.out] == []
