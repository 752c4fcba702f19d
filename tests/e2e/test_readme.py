"""The README is true: its tables are generated, its log lines exist, and tests run all of its code blocks."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from tap_wootric.streams import STREAMS
from tests.postgres import Database
from tests.programs import ROOT, Project, meltano_yml, plugin, run
from tests.readme import README, block, blocks, generated
from tests.sandbox import Account, Sandbox


def test_its_generated_parts_are_up_to_date() -> None:
    assert README.read_text() == generated(README.read_text()), "run: uv run python -m tests.readme"


def test_a_test_uses_each_of_its_code_blocks() -> None:
    sources = "".join(file.read_text() for file in Path(__file__).parent.parent.rglob("test_*.py"))
    parts = [ast.literal_eval(part) for part in re.findall(r"""block\(("[^"]+"|'[^']+')\)""", sources)]
    assert [text for _, text in blocks() if not any(part in text for part in parts)] == []


def test_its_links_have_targets() -> None:
    text = README.read_text()
    anchors = {_anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in anchors
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_its_log_lines_exist_in_the_code() -> None:
    code = "".join(file.read_text() for file in (ROOT / "tap_wootric").glob("**/*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # Join texts that continue on the next line.
    table = README.read_text().partition("| the log says |")[2].partition("\n\n")[0]
    log_lines = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    assert len(log_lines) >= 15
    for line in log_lines:
        for part in re.split(r" ?… ?|: | SIGTERM| 404 ", line):
            assert part.strip("() :") in code.replace("{option}", "--state"), line


def test_its_test_command_is_the_one_that_ci_runs() -> None:
    command = block("make test\n").strip()
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_its_blocks_and_commands_for_meltano_set_up_a_project(database: Database, tmp_path: Path) -> None:
    project = Project(tmp_path)
    content = meltano_yml()
    text = README.read_text().partition("copy the blocks")[2].partition("Then:")[0]
    copied = re.findall(r"`((?:tap|target)-[\w-]+)`", text)
    for kind, plugins in content["plugins"].items():
        content["plugins"][kind] = [entry for entry in plugins if entry["name"] in copied]
    content["plugins"]["extractors"][0]["pip_url"] = str(ROOT)
    (project.folder / "meltano.yml").write_text(yaml.safe_dump(content))
    commands = block("meltano config set tap-wootric client_id …") + block("meltano run tap-wootric-full")
    with Sandbox(Account(30, 20)) as sandbox:
        for placeholder, value in {
            "client_id …": f"client_id {sandbox.config['client_id']}",
            "client_secret …": f"client_secret {sandbox.config['client_secret']}",
            "postgresql+psycopg://user:password@host:5432/database": database.sqlalchemy_url,
        }.items():
            assert placeholder in commands
            commands = commands.replace(placeholder, value)
        for command in commands.splitlines():
            done = project.meltano(*command.split()[1:], env={"TAP_WOOTRIC_API_URL": sandbox.url})
            assert done.returncode == 0, done.stderr
        assert sandbox.config["client_secret"] not in (project.folder / "meltano.yml").read_text()
    assert len(database.query("SELECT * FROM tap_wootric.end_users WHERE _sdc_table_version > 0")) == 30


def test_its_full_table_extractor_is_that_of_meltano_yml() -> None:
    (extractor,) = yaml.safe_load(block("name: tap-wootric-full"))["plugins"]["extractors"]
    assert extractor == plugin("extractors", "tap-wootric-full")


def test_its_commands_without_meltano_install_the_tap_and_continue_from_a_state(tmp_path: Path) -> None:
    tools = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    installed = run("bash", "-ec", block("uv tool install .\n"), cwd=ROOT, env=tools)
    assert installed.returncode == 0, installed.stderr
    for loader in meltano_yml()["plugins"]["loaders"]:
        assert f"uv tool install {loader['pip_url']}\n" in block("uv tool install .\n")
        assert (tmp_path / "bin" / loader["name"]).exists()
    commands = block("--test") + block("--discover") + block("set -o pipefail")
    with Sandbox(Account(120, 60)) as sandbox:
        config = json.loads(block('{"client_id": "…", "client_secret": "…", "start_date": "2024-01-01"}\n'))
        assert config.keys() < sandbox.config.keys()
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config))
        done = run("bash", "-ec", commands, cwd=tmp_path, env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
        assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "catalog.json").read_text())["streams"]) == len(STREAMS)
    starts = [request.query["updated[gte]"] for request in sandbox.pages("end_users")]
    assert int(starts[-1]) > int(starts[0])
    state = json.loads((tmp_path / "states.jsonl").read_text().splitlines()[-1])
    assert (
        state["bookmarks"]["end_users"] == json.loads((tmp_path / "state.json").read_text())["bookmarks"]["end_users"]
    )


def test_its_python_prints_scores(capsys: pytest.CaptureFixture[str]) -> None:
    config = '{"client_id": "…", "client_secret": "…", "start_date": "2024-01-01"}'
    code = block("from tap_wootric.tap import TapWootric")
    assert config in code
    with Sandbox(Account(0, 70)) as sandbox:
        exec(code.replace(config, repr(sandbox.config)), {})  # noqa: S102 - It is the code under test.
    scores = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 70
    assert set(scores) <= {str(score) for score in range(11)}


@pytest.mark.parametrize("code", [block("from airflow"), block("import dagster")])
def test_its_snippets_for_orchestrators_are_python(code: str) -> None:
    assert compile(code, "README.md", "exec")
