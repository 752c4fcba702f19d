"""The wheel and the sdist contain everything that the tap needs. `test_docs` installs the tap and runs it."""

from __future__ import annotations

import re
import shutil
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.programs import REQUIREMENTS, path_with, plugin, run
from tools import ROOT
from tools.docs import repository


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, and return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    done = run("uv", "build", "--quiet", f"--out-dir={folder}", str(ROOT))
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_and_sdist_contain_the_tap_without_tests(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    package = ROOT / "tap_wootric"
    ours = {str(file.relative_to(ROOT)) for file in package.rglob("*") if file.suffix in {".py", ".json", ".typed"}}
    assert {"tap_wootric/py.typed", "tap_wootric/schemas/responses.json"} < ours
    assert in_wheel == ours
    assert in_sdist - ours == {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


def test_the_links_of_the_description_work_outside_the_repository(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    assert f"{repository().replace('github.com', 'raw.githubusercontent.com')}/main/docs/paging.svg" in links


def release_step(name: str) -> str:
    """Return the script of a step of the workflow that releases."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    (script,) = [step["run"] for job in jobs.values() for step in job["steps"] if step.get("name") == name]
    return str(script)


def test_a_release_takes_its_notes_from_the_changelog_and_needs_the_same_version_everywhere(tmp_path: Path) -> None:
    files = {
        "CHANGELOG.md": "## 1.2.4 (unreleased)\n\nNew.\n\n## 1.2.3 (2026-12-01)\n\nOld.\n\n## 1.2.2 (2026-11-01)\n",
        "plugin/tap-wootric.yml": f"pip_url: git+{repository()}.git@v1.2.3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def write_notes(tag: str) -> int:
        script = release_step("Write the release notes")
        return run("bash", "-c", script, cwd=tmp_path, env={"GITHUB_REF_NAME": tag}).returncode

    assert write_notes("v1.2.3") == 0
    assert (tmp_path / "notes.md").read_text() == "\nOld.\n\n"
    assert write_notes("v1.2.4") == 1
    for name in files:
        (tmp_path / name).rename(tmp_path / "hidden")
        assert write_notes("v1.2.3") > 0, name
        (tmp_path / "hidden").rename(tmp_path / name)


def test_a_release_is_built_once_and_under_the_name_of_ones_own_project(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    env = {"PATH": path_with(tmp_path / "bin", hatchling=Path("/bin/echo")), "GITHUB_REF_NAME": "v1.2.3"}
    for given, name in (("", "tap-wootric"), ("acme-tap-wootric", "acme-tap-wootric")):
        done = run("bash", "-c", release_step("Build"), cwd=tmp_path, env={**env, "PYPI_PROJECT": given})
        assert done.stdout == "build\n"
        assert tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["name"] == name


def test_the_jobs_that_may_publish_run_no_code_of_packages() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    publishing = [name for name, job in jobs.items() if "permissions" in job or "environment" in job]
    assert publishing == ["release", "publish"]
    steps = [step for name in publishing for step in jobs[name]["steps"]]
    assert {step["uses"].partition("@")[0] for step in steps if "uses" in step} == {
        "actions/download-artifact",
        "actions/attest-build-provenance",
        "pypa/gh-action-pypi-publish",
    }
    (command,) = [step["run"] for step in steps if "run" in step]
    assert command.startswith("gh release create ")
    assert jobs["publish"]["if"] == "vars.PYPI_PROJECT != ''"


@pytest.mark.parametrize("name", ["build", "extract"])
def test_the_workflows_install_hashed_packages_that_meet_the_requirements(name: str) -> None:
    locked = (REQUIREMENTS / f"{name}.txt").read_text()
    entries = re.findall(r"^([\w-]+)==([\w.]+)(?: ; .+)? ((?:\\\n    --hash=sha256:\w{64} ?)+)$", locked, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[^ #]", locked, re.MULTILINE))
    assert "://" not in locked
    versions = {package: version for package, version, _ in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = project["build-system"]["requires"]
    assert {*needed} == {*re.findall(r"^h.+", (REQUIREMENTS / "build.in").read_text(), re.MULTILINE)}
    if name == "extract":
        needed += [*project["project"]["dependencies"], plugin("loaders", "target-postgres")["pip_url"]]
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(versions[requirement.name]), f"{requirement}: run make lock"
