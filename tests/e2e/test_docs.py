"""The documentation is true: what can be generated is, its errors and links exist, and tests run its blocks of code."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from tests.postgres import Database
from tests.programs import link_plugins, meltano, meltano_requirement, path_with, plugin, preload_plugin, run, target
from tests.tap import catalog_of, tap
from tools import ROOT
from tools.docs import PLUGINS, README, RECIPES, block, blocks, generated, pages, repository, version
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, in_utc
from tools.sandbox.server import Clock

DATABASE_URL = "postgresql+psycopg://user:password@host:5432/database"


def test_generated_parts_and_files_are_up_to_date() -> None:
    assert [str(file.relative_to(ROOT)) for file, text in generated().items() if file.read_text() != text] == [], (
        "run: make docs"
    )


def test_the_readme_has_1500_words_at_most() -> None:
    assert len(README.read_text().split()) <= 1_500


def test_a_test_runs_each_block_and_each_recipe() -> None:
    sources = "".join(file.read_text() for file in Path(__file__).parent.parent.rglob("test_*.py"))

    def named(function: str) -> list[str]:
        return [ast.literal_eval(one) for one in re.findall(rf"""\b{function}\(("[^"]+"|'[^']+')\)""", sources)]

    assert [text for _, _, text in blocks() if not any(part in text for part in named("block"))] == []
    assert {file.stem for file in RECIPES.glob("*.sql")} == {*named("recipe")}


def test_links_have_targets() -> None:
    texts = {page: page.read_text() for page in [*pages(), *ROOT.glob("*.md")]}
    for page, text in texts.items():
        for link in re.findall(r"\]\((?!https://)([^)]+)\)", text):
            path, _, anchor = link.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {link}"
            anchors = map(_anchor, re.findall(r"^#+ (.*)$", texts.get(file, ""), re.MULTILINE))
            assert not anchor or anchor in anchors, f"{page.name}: {link}"


def _anchor(title: str) -> str:
    """Return what GitHub makes of a title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_every_error_in_the_documentation_is_in_the_code() -> None:
    code = "".join(file.read_text() for file in (ROOT / "tap_wootric").glob("**/*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # Texts that go on in the next line.
    code = code.replace("{option}", "--state")
    short, long = (_log_lines(page) for page in (README, ROOT / "docs" / "operations.md"))
    assert len(short) == 8
    assert short < long
    for line in long:
        for part in re.split(r" ?… ?|: | SIGTERM| 404 | 30 days ", line):
            assert part.strip("() :") in code, line


def _log_lines(page: Path) -> set[str]:
    table = page.read_text().partition("| the log says |")[2].partition("\n\n")[0]
    return set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))


def test_the_commands_name_the_newest_version() -> None:
    texts = "".join(page.read_text() for page in pages())
    assert set(re.findall(r"[/@]v(\d+\.\d+\.\d+)", texts)) == {version()}
    assert f"uv tool install git+{repository()}@v" in texts


def test_the_request_in_the_documentation_is_the_one_that_is_made() -> None:
    _, target = block("GET /v1/responses").split()
    with Sandbox(Account(0, 20)) as sandbox:
        tap(config=sandbox.config)
        (request, *_) = sandbox.pages("responses")
    shown = dict(parse_qsl(urlsplit(target).query))
    times = {"created[gte]": "SECOND", "created[lt]": "NOW"}
    assert {**request.query, **times} == shown


@pytest.mark.timeout(600)  # It runs Meltano a dozen times.
def test_the_commands_for_meltano_set_up_a_project_of_ones_own(
    database: Database, tmp_path: Path, plugins: Path, published: dict[str, str]
) -> None:
    account, folder = Account(30, 20, declines=10), tmp_path / "warehouse"
    link_plugins(plugins, tmp_path / "meltano", "loaders")
    env = {"PATH": path_with(tmp_path / "bin", meltano=meltano()), **published}
    env["MELTANO_SYS_DIR_ROOT"] = str(tmp_path / "meltano")

    def execute(commands: str, cwd: Path = folder) -> str:
        done = run("bash", "-ec", commands, cwd=cwd, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def found(stream: str, condition: str = "true") -> int:
        return len(database.query(f"SELECT FROM tap_wootric.{stream} WHERE {condition}"))

    install, _, setup = block("meltano init warehouse").partition("\n")
    assert install == f"uv tool install '{meltano_requirement().replace('[postgres]', '')}'"
    execute(setup, tmp_path)
    preload_plugin(tmp_path / "meltano", "extractors", "tap-wootric")
    urls = re.findall(r"https:\S+", block("raw.githubusercontent.com"))
    raw = f"{repository().replace('github.com', 'raw.githubusercontent.com')}/v{version()}/plugin"
    assert urls == [f"{raw}/tap-wootric.yml", f"{raw}/target-postgres.yml"]
    (folder / ".env").write_text(f"TARGET_POSTGRES_SQLALCHEMY_URL={database.sqlalchemy_url}\n")
    execute(f"set -m\n{block('make -sC ../tap-wootric sandbox')}\nmeltano run tap-wootric target-postgres\nkill %1")
    assert len(database.query("SELECT FROM wootric_sandbox.responses")) == 500

    with Sandbox(account, Clock(NOW)) as sandbox:
        settings = block("TAP_WOOTRIC_CLIENT_ID=…").replace(DATABASE_URL, database.sqlalchemy_url)
        for name in ("client_id", "client_secret"):
            settings = settings.replace(f"{name.upper()}=…", f"{name.upper()}={sandbox.config[name]}")
        settings += f"export TAP_WOOTRIC_API_URL={sandbox.url}\n"  # As `make sandbox` prints it.
        (folder / ".env").write_text(settings)

        said = execute(block("meltano invoke tap-wootric:doctor"))
        assert "Ready: `meltano run tap-wootric target-postgres`\n" in said
        assert (found("end_users"), found("responses"), found("declines")) == (30, 20, 10)
        tables = database.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'tap_wootric'")
        assert {one["table_name"] for one in tables} == {"declines", "end_users", "responses"}
        (row,) = database.query("SELECT created_at FROM tap_wootric.responses WHERE id = 1")
        assert row["created_at"].strftime("%Y-%m-%dT%H:%M:%SZ") == in_utc(account.responses.rows[1].created)

        execute(block("meltano select").replace("nps_summary", "segments"))
        account.responses.delete(account.responses.rows[5])
        declines = len(sandbox.pages("declines"))
        execute(block("meltano run tap-wootric-full"))
        extractors = yaml.safe_load((folder / "meltano.yml").read_text())["plugins"]["extractors"]
        assert extractors[-1] == plugin("extractors", "tap-wootric-full")
        assert found("responses", "_sdc_deleted_at IS NOT NULL") == 1
        assert found("segments") == 3
        assert len(sandbox.pages("declines")) == declines

        begun = len(sandbox.pages("end_users"))
        execute(block("meltano state clear"))
        assert "updated[gte]" not in sandbox.pages("end_users")[begun].query

        # The tap refuses a state that names another host than the settings.
        env["TAP_WOOTRIC_API_URL"] = sandbox.url.replace("127.0.0.1", "localhost")
        execute(f"{block('meltano state set')}meltano run tap-wootric target-postgres")


def test_the_full_table_extractor_of_the_documentation_is_that_of_meltano_yml() -> None:
    (extractor,) = yaml.safe_load(block("  - name: tap-wootric-full"))["plugins"]["extractors"]
    assert extractor == plugin("extractors", "tap-wootric-full")


def test_the_commands_without_meltano_load_and_continue_from_a_state(database: Database, tmp_path: Path) -> None:
    targets = {name: target(name) for name in ("target-postgres", "target-jsonl")}
    env = {"PATH": path_with(tmp_path / "bin", **targets)}

    def execute(commands: str) -> None:
        done = run("bash", "-ec", commands, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr

    assert f"`uv tool install git+{repository()}@v{version()}`" in README.read_text()
    assert block("uv tool install ./tap-wootric").endswith(
        f"\nuv tool install {plugin('loaders', 'target-postgres')['pip_url']}\n"
    )
    account = Account(120, 60)
    with Sandbox(account) as sandbox:
        assert json.loads(block('{"client_id": "…", "client_secret": "…"}\n')).keys() < sandbox.config.keys()
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config))
        (tmp_path / "target.json").write_text(block('"sqlalchemy_url"').replace(DATABASE_URL, database.sqlalchemy_url))
        execute(block("tap-wootric-doctor --config"))
        rows = {row["id"]: row for row in database.query("SELECT id, updated_at FROM tap_wootric.responses")}
        for row in account.responses.rows.values():
            assert rows[row.id]["updated_at"].strftime("%Y-%m-%dT%H:%M:%SZ") == in_utc(row.updated)
        begun = len(sandbox.pages("end_users"))
        execute(block("--discover") + block("set -o pipefail"))
        first, *_, last = [request.query["updated[gte]"] for request in sandbox.pages("end_users")[begun:]]
        assert int(last) > int(first)
    assert json.loads((tmp_path / "catalog.json").read_text()) == catalog_of()


def test_the_sandbox_and_the_benchmark_that_make_runs_are_those_of_the_repository() -> None:
    for command, tool in (("sandbox", "sandbox"), ("bench", "benchmark")):
        done = run("make", "--dry-run", command, cwd=ROOT)
        assert done.stdout.splitlines()[-1].strip().endswith(f"uv run python -m tools {tool}")
    arguments = run("make", "--dry-run", "sandbox", "ARGS=--updates 1", cwd=ROOT).stdout
    assert arguments.endswith("python -m tools sandbox --updates 1\n")


def test_make_plugin_writes_plugin_files_that_install_this_clone() -> None:
    *commands, others = run("make", "--silent", "plugin", cwd=ROOT).stdout.splitlines()
    adds = [line for line in block("raw.githubusercontent.com").splitlines() if line.startswith("meltano add")]
    assert [line.split()[:4] for line in commands] == [line.split()[:4] for line in adds]
    folder = Path(shlex.split(commands[0])[-1]).parent
    ours, published = (yaml.safe_load((one / "tap-wootric.yml").read_text()) for one in (folder, PLUGINS))
    assert ours["variants"][0].pop("pip_url") == f"tap-wootric@{ROOT.as_uri()}"
    assert published["variants"][0].pop("pip_url").startswith("git+https://")
    assert ours == published
    targets = {"target-postgres.yml", *others.partition(": ")[2].split()}
    assert targets == {file.name for file in PLUGINS.glob("target-*.yml")}
    assert all((folder / name).read_text() == (PLUGINS / name).read_text() for name in targets)


def test_the_python_in_the_documentation_prints_scores(capsys: pytest.CaptureFixture[str]) -> None:
    config = '{"client_id": "…", "client_secret": "…", "start_date": "2024-01-01"}'
    code = block("from tap_wootric.tap import TapWootric")
    assert config in code
    with Sandbox(Account(0, 70)) as sandbox:
        exec(code.replace(config, repr(sandbox.config)), {})  # noqa: S102 - It is the code under test.
    scores = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 70
    assert set(scores) <= {str(score) for score in range(11)}


@pytest.mark.parametrize("code", [block("from airflow"), block("import dagster")])
def test_snippets_for_orchestrators_are_python(code: str) -> None:
    assert compile(code, "scheduling.md", "exec")
