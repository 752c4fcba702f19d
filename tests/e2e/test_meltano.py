"""Meltano, as people run it, and what meltano.yml and the definition for MeltanoHub say of the tap."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys

import yaml

from tests.postgres import Database
from tests.programs import Project, meltano_yml, plugin, run, settings
from tests.tap import tap
from tools import ROOT
from tools.docs import PLUGINS, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.server import Clock


def test_the_demo_writes_every_row_into_files(project: Project) -> None:
    recipe = run(*shlex.split(block("make demo\n")), "--dry-run", "--no-print-directory", cwd=ROOT).stdout
    _, _, arguments = recipe.partition("uv run python ")
    done = run(sys.executable, *shlex.split(arguments), cwd=project.folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "It worked.\n"
        "  end_users: 300 rows in the account, 8 requests, 300 rows in output/end_users.jsonl\n"
        "  responses: 500 rows in the account, 12 requests, 500 rows in output/responses.jsonl\n"
        "  declines: 100 rows in the account, 4 requests, 100 rows in output/declines.jsonl\n"
    )
    users = [json.loads(line) for line in (project.folder / "output" / "end_users.jsonl").read_text().splitlines()]
    assert {user["id"] for user in users} == set(range(1, 301))
    assert (project.folder / "meltano.yml").read_text() == (ROOT / "meltano.yml").read_text()


def test_meltano_yml_has_the_capabilities_of_the_tap() -> None:
    """Its settings are generated, and so are the plugin files."""
    about = json.loads(tap("--about", "--format", "json").out)
    assert sorted(plugin("extractors", "tap-wootric")["capabilities"]) == sorted(about["capabilities"])


HUB_KEYS = {
    *("name", "namespace", "variant", "label", "description", "repo", "ext_repo", "docs", "domain_url", "logo_url"),
    *("pip_url", "python", "executable", "capabilities", "commands", "settings", "settings_group_validation", "select"),
    *("metadata", "schema", "keywords", "maintenance_status", "quality", "hidden", "requires", "definition"),
    *("next_steps", "settings_preamble", "usage", "prereq", "supported_python_versions", "log_parser"),
}
HUB_SETTING_KEYS = {
    *("name", "aliases", "label", "value", "placeholder", "kind", "description", "tooltip", "documentation", "docs"),
    *("env", "value_processor", "value_post_processor", "oauth", "options", "hidden", "sensitive"),
}
HUB_KINDS = {"date_iso8601", "integer", "options", "object", "array", "boolean", "string", "decimal", "file", "email"}


def test_the_definition_for_meltanohub_follows_its_rules() -> None:
    """They are its JSON schemas for extractors: schemas/plugin_definitions and schemas/common in meltano/hub."""
    definition = yaml.safe_load((PLUGINS / "meltanohub.yml").read_text())
    assert definition.keys() <= HUB_KEYS
    assert {"name", "namespace", "variant", "label", "quality", "repo", "pip_url"} < definition.keys()
    assert definition["maintenance_status"] in {"active", "beta", "development", "inactive", "unknown"}
    assert definition["quality"] in {"gold", "silver", "bronze", "unknown"}
    assert definition["log_parser"] == "singer-sdk"
    for url in ("repo", "docs", "domain_url"):
        assert definition[url].startswith("https://")
    for one in definition["supported_python_versions"]:
        assert re.fullmatch(r"3\.\d+", one)
    for setting in definition["settings"]:
        assert setting.keys() <= HUB_SETTING_KEYS
        assert setting["kind"] in HUB_KINDS
    names = {setting["name"] for setting in definition["settings"]}
    assert {name for group in definition["settings_group_validation"] for name in group} <= names
    assert definition["namespace"] == plugin("extractors", "tap-wootric")["load_schema"]


def test_meltano_requires_the_settings_of_either_grant() -> None:
    groups = plugin("extractors", "tap-wootric")["settings_group_validation"]
    assert groups == [["client_id", "client_secret"], ["username", "password"]]


def test_every_version_of_a_target_is_pinned() -> None:
    for loader in meltano_yml()["plugins"]["loaders"]:
        assert re.search(r"==\d", loader["pip_url"])


def test_each_account_has_its_own_credentials_schema_and_stream_maps(database: Database, project: Project) -> None:
    content = meltano_yml()
    accounts = yaml.safe_load(block("- name: tap-wootric-acme"))["plugins"]["extractors"]
    maps = yaml.safe_load(block("stream_map_config:\n"))["config"]
    accounts[0]["config"] |= maps
    content["plugins"]["extractors"] += accounts
    (project.folder / "meltano.yml").write_text(yaml.safe_dump(content))
    account = Account(30, 20)
    acme, globex = [line.split()[2:] for line in block("meltano run tap-wootric-acme").splitlines()]
    with Sandbox(account, Clock(NOW)) as sandbox:
        # The credentials of the extractor that the others inherit from do not stand in for missing ones.
        env = {**settings(sandbox), **settings(sandbox, "TAP_WOOTRIC_ACME")}
        env["TARGET_POSTGRES_SQLALCHEMY_URL"] = database.sqlalchemy_url
        done = project.meltano("run", *acme, *globex, env=env)
        assert done.returncode == 1
        assert "client_id is not set" in done.stderr
        assert [request.path for request in sandbox.requests].count("/oauth/token") == 1
    (schema,) = database.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%wootric%'")
    assert schema == {"nspname": "wootric_acme"}
    salt = maps["stream_map_config"]["salt"]
    emails = {row["id"]: row["email"] for row in database.query("SELECT id, email FROM wootric_acme.end_users")}
    assert emails == {
        row.id: hashlib.sha256(f"{salt}{row.body['email']}".encode()).hexdigest()
        for row in account.end_users.rows.values()
    }
