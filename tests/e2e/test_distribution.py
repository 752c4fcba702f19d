"""The wheel and the sdist contain everything that the tap needs, and work on each supported Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import ROOT, run
from tests.sandbox import Account, Sandbox
from tests.tap import catalog_of, seen

PYTHONS = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


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


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_works_in_an_empty_environment(version: str, built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    environment = tmp_path / "environment"
    made = run("uv", "venv", "--quiet", f"--python={python(version)}", str(environment))
    assert made.returncode == 0, made.stderr
    installed = run("uv", "pip", "install", "--quiet", f"--python={environment}", str(wheel))
    assert installed.returncode == 0, installed.stderr
    command = str(environment / "bin" / "tap-wootric")
    discovered = run(command, "--discover", cwd=tmp_path)
    assert json.loads(discovered.stdout) == catalog_of()
    assert wheel.name.split("-")[1] in run(command, "--version").stdout
    account = Account(120, 60)
    with Sandbox(account, updates=1, shuffle_ties=True) as sandbox:
        (tmp_path / "config.json").write_text(json.dumps({**sandbox.config, "start_date": "2024-01-01"}))
        synced = run(command, "--config", str(tmp_path / "config.json"))
    assert synced.returncode == 0, synced.stderr
    messages = [json.loads(line) for line in synced.stdout.splitlines()]
    records = [
        message["record"] for message in messages if message["type"] == "RECORD" and message["stream"] == "end_users"
    ]
    assert seen(records).keys() == account.end_users.rows.keys()


@pytest.mark.parametrize("version", [version for version in PYTHONS if version != THIS_PYTHON])
def test_the_unit_tests_pass_on_every_supported_python(version: str) -> None:
    """CI's matrix runs the other tests on every version."""
    isolated = ("uv", "run", "--quiet", "--isolated", f"--python={python(version)}")
    done = run(*isolated, "pytest", "--override-ini=addopts=", "-p", "no:cacheprovider", "tests/unit", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Python {version}." in done.stdout


def python(version: str) -> str:
    """Return the interpreter of a version, or skip the test if it is not installed."""
    for candidate in _candidates(version):
        if (
            shutil.which(candidate)
            and not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode
        ):
            return candidate
    pytest.skip(f"Python {version} is not installed")


def _candidates(version: str) -> Iterator[str]:
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python"))
