"""Scheduled extraction, with GitHub's workflow and with the script for cron, survives failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.postgres import Database
from tests.preloaded import preloaded
from tests.programs import Project, meltano, path, path_with, run, settings, target
from tools import ROOT, environment
from tools.docs import block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, in_utc
from tools.sandbox.server import Clock


def workflow() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "extract.yml").read_text())
    return content


def step() -> dict[str, Any]:
    """Return the step of the workflow that extracts."""
    extract: dict[str, Any] = workflow()["jobs"]["extract"]["steps"][-1]
    return extract


SECRETS = [name for name, value in step()["env"].items() if "secrets." in value]


def test_the_workflow_keeps_its_state_in_a_database_despite_a_failure(
    database: Database, tmp_path: Path, plugins: Path
) -> None:
    account = Account(400, 60)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA meltano")
    page = (ROOT / "docs" / "scheduling.md").read_text()
    (options,) = {line for line in page.split("`") if line.startswith("?options=")}
    with Sandbox(account, Clock(NOW)) as sandbox:
        given = settings(sandbox)
        given |= {"TARGET_POSTGRES_SQLALCHEMY_URL": database.sqlalchemy_url, "MELTANO_ENVIRONMENT": "prod"}
        given |= {"MELTANO_DATABASE_URI": f"{database.sqlalchemy_url}{options}", "TAP_WOOTRIC_REGION": "us"}
        given |= {"TAP_WOOTRIC_START_DATE": ""}
        programs = path_with(tmp_path / "bin", meltano=meltano())
        assert given.keys() - {"TAP_WOOTRIC_API_URL"} == step()["env"].keys() - {"EXTRACTOR"}

        def extract(name: str) -> tuple[int, int]:
            """Run the step on a fresh machine, and return its status and the number of pages it asked for."""
            asked = len(sandbox.pages("end_users"))
            project = Project(tmp_path / name, plugins)
            env = {**given, "PATH": programs, "EXTRACTOR": "tap-wootric"}
            done = run("bash", "-c", step()["run"], cwd=project.folder, env=env)
            assert "Traceback" not in done.stderr
            return done.returncode, len(sandbox.pages("end_users")) - asked

        sandbox.fault = lambda path, number: "403" if path == "/v1/end_users" and number == 6 else ""
        assert extract("failing") == (1, 6)
        assert 200 <= len(database.query("SELECT id FROM tap_wootric.end_users")) <= 250
        sandbox.fault = lambda _path, _number: ""
        status, pages = extract("continuing")
        assert (status, pages <= 5) == (0, True)
        assert len(database.query("SELECT id FROM tap_wootric.end_users")) == 400


@pytest.mark.parametrize("missing", SECRETS)
def test_the_workflow_says_which_secret_is_missing(missing: str) -> None:
    given = {name: "" if name == missing else "given" for name in SECRETS}
    done = run("bash", "-c", step()["run"], env=given)
    assert done.returncode == 1
    assert done.stdout == f"::error::The secret {missing} is not set.\n"


def test_the_workflow_runs_alone_and_only_where_it_is_switched_on() -> None:
    """`zizmor` checks its permissions, its secrets and its actions."""
    content = workflow()
    assert content["jobs"]["extract"]["if"] == "vars.EXTRACT == 'true'"
    assert content["concurrency"]["cancel-in-progress"] is False


STAND_IN = f"""#!{sys.executable} -IS
import json, sys
states = []
with open("loaded.jsonl", "a") as file:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            file.write(line)
        elif message["type"] == "STATE":
            states.append(json.dumps(message["value"]))
print(*states[-1:])
"""
"""A target that starts in a fraction of the time of a real one: the script's pipe, signals and states are the same."""


class Folder:
    """A folder with the script for cron, the settings of a sandbox, and a stand-in for the target."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.script = folder / "extract.sh"
        self.script.write_text(block("extract.sh FOLDER"))
        (folder / "config.json").write_text(json.dumps(sandbox.config))
        self.env = {"PATH": f"{folder}{os.pathsep}{path()}"}
        self.set_target(STAND_IN)

    def set_target(self, script: str) -> None:
        (self.folder / "target-postgres").write_text(script)
        (self.folder / "target-postgres").chmod(0o755)

    @property
    def state(self) -> Any:
        file = self.folder / "state.json"
        return json.loads(file.read_text()) if file.exists() else None

    def run(self) -> subprocess.CompletedProcess[str]:
        imported = preloaded(Path(sys.executable).with_name("tap-wootric"))
        env = {"PATH": f"{imported.parent}{os.pathsep}{self.env['PATH']}"}
        return run("bash", self.script, self.folder, env=env)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the script in a session of its own."""
        with (self.folder / "log").open("wb") as log:  # The script keeps a copy of the descriptor.
            return subprocess.Popen(
                ["bash", str(self.script), str(self.folder)],  # noqa: S607 - Found on the PATH.
                env={**environment(), **self.env},
                start_new_session=True,
                stderr=log,
            )

    def loaded(self, stream: str = "end_users") -> set[int]:
        """Return the ids that the target has received."""
        messages = map(json.loads, (self.folder / "loaded.jsonl").read_text().splitlines())
        return {message["record"]["id"] for message in messages if message["stream"] == stream}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account(400, 60, declines=20), Clock(NOW)) as sandbox:
        yield sandbox


def test_the_script_continues_where_the_last_run_ended_even_after_a_failure(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    sandbox.fault = lambda path, number: "403" if path == "/v1/end_users" and number == 6 else ""
    assert folder.run().returncode == 1
    assert folder.state["bookmarks"]["end_users"]["replication_key_value"]
    sandbox.fault = lambda _path, _number: ""
    assert folder.run().returncode == 0
    assert folder.loaded() == set(sandbox.account.end_users.rows)
    assert len(sandbox.pages("end_users")) <= 6 + 6
    state = folder.state
    (tmp_path / "config.json").write_text(json.dumps({**sandbox.config, "client_secret": "changed"}))
    done = folder.run()  # The tap fails at once.
    assert done.returncode == 1
    assert "Wootric rejected the credentials" in done.stderr
    assert folder.state == state


FAILURES = {
    "at once": "exit 3",
    "in the middle": "head -n 30 > /dev/null; exit 3",
    "by a signal": "kill -KILL $$",
    "in the middle of a state": """cat > /dev/null; printf '{"bookm'; exit 3""",
    "without a word": "cat > /dev/null",
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_the_script_keeps_its_state_if_the_target_fails(failure: str, sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    state = {"bookmarks": {"end_users": {"replication_key": "updated_at", "replication_key_value": "2025-06-01"}}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    folder.set_target(f"#!/bin/sh\n{failure}\n")
    assert folder.run().returncode != 0
    assert folder.state == state


def test_the_script_fails_if_the_state_cannot_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    (tmp_path / "state.new").mkdir()
    assert folder.run().returncode == 1
    assert folder.state is None


def test_the_script_and_its_settings_load_into_postgresql(database: Database, sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    folder.set_target(f'#!/bin/sh\nexec {target("target-postgres")} "$@"\n')
    url = "postgresql+psycopg://user:password@host:5432/database"
    settings = block("default_target_schema")
    assert url in settings
    (tmp_path / "target.json").write_text(settings.replace(url, database.sqlalchemy_url))
    sandbox.account.responses.rows[1].body["text"] = "a\0b"
    done = folder.run()
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in database.query("SELECT * FROM tap_wootric.responses")}
    for row in sandbox.account.responses.rows.values():
        assert rows[row.id]["updated_at"].strftime("%Y-%m-%dT%H:%M:%SZ") == in_utc(row.updated)
    assert rows[1]["text"] == "a\ufffdb"


def start_with_waiting_tap(folder: Folder, sandbox: Sandbox) -> subprocess.Popen[bytes]:
    """Start the script, and return when its tap has read five pages and waits for the rate limit."""
    sandbox.switches.limit, sandbox.switches.limit_seconds = 5, 3_600
    process = folder.start()
    while len(sandbox.pages("end_users")) < 5 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    return process


@pytest.mark.parametrize(
    ("signum", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg), (signal.SIGINT, os.killpg)],
    ids=["SIGTERM to the script", "SIGTERM to its session", "SIGINT to its session"],
)
def test_the_script_loads_the_rows_read_before_a_signal(
    signum: signal.Signals, send: Callable[[int, int], None], sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = Folder(tmp_path, sandbox)
    process = start_with_waiting_tap(folder, sandbox)
    send(process.pid, signum)
    assert process.wait(30) in {130, 143}, (tmp_path / "log").read_text()
    bookmark = folder.state["bookmarks"]["end_users"]["replication_key_value"]
    read = {id_ for id_, (updated_at, _) in sandbox.account.end_users.versions().items() if updated_at < bookmark}
    assert len(read) >= 5 * 48
    assert read <= folder.loaded()
    assert "Stopped by SIG" in (tmp_path / "log").read_text()


def test_the_script_waits_for_a_loading_target_despite_a_signal(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    (tmp_path / "stand-in").write_text(STAND_IN)
    # In the first second, the tap exits: a signal would still change its status.
    waiting = f"cat > all; sleep 1; touch loading; sleep 2; exec {sys.executable} -IS stand-in < all"
    folder.set_target(f"#!/bin/sh\n{waiting}\n")
    process = folder.start()
    while not (tmp_path / "loading").exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0, (tmp_path / "log").read_text()
    assert folder.loaded() == set(sandbox.account.end_users.rows)
    assert folder.state["bookmarks"]["end_users"]["replication_key_value"]


def test_the_script_refuses_to_run_twice_at_the_same_time(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = Folder(tmp_path, sandbox)
    process = start_with_waiting_tap(folder, sandbox)
    try:
        second = run("timeout", "20", "bash", str(folder.script), str(folder.folder), env=folder.env)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
    assert second.returncode == 75
    assert "The previous run has not ended" in second.stderr
    assert process.wait(30) == 143


def test_the_crontab_avoids_quarter_hours_and_prints_the_end_of_a_log_that_does_not_grow(tmp_path: Path) -> None:
    minute, *_, command = block("* * * * log=").split(maxsplit=5)
    assert int(minute) % 15
    command = command.replace("\\%", "%").replace("/srv/wootric", str(tmp_path))
    script = tmp_path / "extract.sh"
    script.write_text('#!/bin/sh\necho "the log of $1" >&2\nexit 3\n')
    script.chmod(0o755)
    for _ in range(2):
        assert run("sh", "-c", command).stdout == f"the log of {tmp_path}\n"
    for log in tmp_path.glob("log.*"):
        assert log.read_text() == f"the log of {tmp_path}\n"
