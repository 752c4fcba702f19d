"""Other Singer programs accept the output of the tap, and stream maps can change it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.postgres import Database
from tests.preloaded import preloaded
from tests.programs import installed, run
from tests.tap import Run, full_table, tap
from tools.docs import DOCS, PLUGINS, block
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
        catalog = full_table("end_users", "responses", "survey_templates")
        return [first, second, tap(config=sandbox.config, catalog=catalog, now=sandbox.clock())]


def test_singer_check_tap_accepts_the_output(runs: list[Run]) -> None:
    output = "".join(output.out for output in runs)
    checked = run(installed("singer-tools~=0.4") / "singer-check-tap", text=output)
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
    """A target of the documentation's table: its command, its settings, and what reads the responses that it wrote.

    Without the latter, the command loads all files that it is given, and prints the responses; see `emulators`.
    """

    command: list[str | Path]
    settings: dict[str, Any]
    read: Callable[[Path], list[Mapping[str, Any]]] | None = None

    def load(self, folder: Path, *outputs: str) -> list[list[Mapping[str, Any]]]:
        """Load the outputs one by one, and return the responses after each."""
        (folder / "config.json").write_text(json.dumps(self.settings))
        states = [json.loads(output.splitlines()[-1])["value"] for output in outputs]
        if self.read is None:
            files = [f"{number}.jsonl" for number, _ in enumerate(outputs)]
            for file, output in zip(files, outputs, strict=True):
                (folder / file).write_text(output)
            printed = self._run(folder, "config.json", *files)
            assert printed[::2] == states
            return printed[1::2]
        loads = []
        for output, state in zip(outputs, states, strict=True):
            assert self._run(folder, "--config", "config.json", text=output)[-1] == state
            loads.append(self.read(folder))
        return loads

    def _run(self, folder: Path, *arguments: str, text: str | None = None) -> list[Any]:
        done = run(*self.command, *arguments, cwd=folder, text=text)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def _read_files(folder: Path) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for file in folder.glob("responses*"):
        with file.open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines) if file.suffix == ".csv" else map(json.loads, lines)
    return rows


def _read_duckdb(folder: Path) -> list[Mapping[str, Any]]:
    code = (
        "import duckdb; connection = duckdb.connect('x.duckdb');"
        "print([row[0] for row in connection.sql('SELECT id FROM wootric.responses').fetchall()])"
    )
    done = run(installed("duckdb<1.3") / "python", "-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [{"id": number} for number in json.loads(done.stdout)]


def tried(name: str, database: Database) -> Tried:
    """Return a target, by its name in the documentation's table."""
    url = urlsplit(database.url)
    package = "==".join(re.split(r"[ ,]", name)[:2])
    target = package.partition("==")[0]

    def command(program: str, *others: str) -> list[str | Path]:
        return [preloaded(installed(package, *others) / program)]

    def emulated(emulator: str, *others: str) -> list[str | Path]:
        return [installed(package, *others) / "python", Path(__file__).with_name("emulators.py"), emulator]

    def read_table(_folder: Path) -> list[Mapping[str, Any]]:
        return [*database.query("SELECT * FROM wootric.responses")]

    schema = {"default_target_schema": "wootric"}
    match target:
        case "meltanolabs-target-postgres":
            return Tried(command("target-postgres"), {"sqlalchemy_url": database.sqlalchemy_url, **schema}, read_table)
        case "pipelinewise-target-postgres":
            server = {"host": url.hostname, "port": url.port or 5432, "dbname": url.path[1:]}
            settings = {**server, "user": url.username, "password": url.password or "-", **schema}
            return Tried(command("target-postgres"), settings, read_table)
        case "meltanolabs-target-snowflake":
            snowflake = {"account": "x", "user": "x", "password": "x", "database": "WAREHOUSE", **schema}
            return Tried(emulated("snowflake", "fakesnow==0.12.1"), snowflake)
        case "target-duckdb":
            return Tried(command(target, "duckdb<1.3"), {"filepath": "x.duckdb", **schema}, _read_duckdb)
        case "plinxore-target-s3":
            keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "aws_region": "us-east-1"}
            cloud = {"cloud_provider_type": "aws", "aws": {**keys, "aws_bucket": "wootric"}}
            s3 = {"format": {"format_type": "jsonl"}, "cloud_provider": cloud}
            return Tried(emulated("s3", "moto[s3]~=5.1"), s3)
        case _:
            return Tried(command(target.removeprefix("meltanolabs-")), {}, _read_files)


TARGETS = re.findall(
    r"^\|.*?\| (\S*target-.+?) \| in the tests.*? \| (.+?) \| (.+?) \|$",
    (DOCS / "targets.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize("line", TARGETS, ids=[name.split()[0] for name, *_ in TARGETS])
def test_targets_treat_rows_as_the_documentation_says(
    line: tuple[str, str, str], runs: list[Run], database: Database, tmp_path: Path
) -> None:
    name, again, deleted = line
    first, second, full = runs
    loads = tried(name, database).load(tmp_path, first.out, second.out + full.out)
    came, again_came = (
        Counter(record["id"] for output in outputs for record in output.records("responses"))
        for outputs in ([first], [second, full])
    )
    assert again_came[61] == 2
    replaced = Counter(range(1, 62))
    assert [Counter(int(row["id"]) for row in rows) for rows in loads] == [
        came,
        {
            "replaces the old one": replaced,
            "is appended": came + again_came,
            "**overwrites the whole file**": again_came,
        }[re.split(r"[:,]", again)[0]],
    ]
    assert came == replaced
    rows = [row for row in loads[-1] if int(row["id"]) == 5]
    assert bool(rows) == (deleted != "disappears with the file")
    assert {int(row["id"]) for row in loads[-1] if row.get("_sdc_deleted_at")} == (
        {5} if "_sdc_deleted_at" in deleted else set()
    )


@pytest.mark.parametrize("file", sorted(PLUGINS.glob("target-*.yml")), ids=lambda file: file.stem)
def test_plugin_files_install_the_versions_that_were_tried_with_the_settings_that_work(file: Path) -> None:
    definition = yaml.safe_load(file.read_text())
    package, version = definition["pip_url"].split()[0].split("==")
    assert f" {package} {version}" in (DOCS / "targets.md").read_text()
    if package == "z3-target-bigquery":
        settings = {setting["name"]: setting.get("value") for setting in definition["settings"]}
        assert json.loads(block("dedupe_before_upsert")).items() <= settings.items()


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
    rows = [line for line in output.out.splitlines() if '"RECORD"' in line]  # A state names the API's host.
    assert [name for name in dropped if name in "".join(rows)] == []
