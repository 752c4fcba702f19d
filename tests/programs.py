"""Runs the programs that people use with the tap: Meltano and targets, from PyPI with uvx."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.preloaded import preloaded
from tests.shared import once
from tools import ROOT, environment
from tools.sandbox import Sandbox

REQUIREMENTS = ROOT / ".github" / "requirements"
_NO_STATISTICS = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"}
_TIMEOUT_SECONDS = 300


def meltano_yml() -> dict[str, Any]:
    """Return the content of meltano.yml."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text())
    return content


def plugin(kind: str, name: str) -> dict[str, Any]:
    """Return a plugin of meltano.yml."""
    found: dict[str, Any] = next(entry for entry in meltano_yml()["plugins"][kind] if entry["name"] == name)
    return found


@cache
def installed(package: str, *others: str) -> Path:
    """Install a package and others into one environment, and return the folder of its programs.

    To start a program with uvx each time would take 0.8 CPU seconds more.
    """

    def install() -> str:
        options = [f"--with={other}" for other in others]
        done = run("uvx", "--quiet", "--from", package, *options, "python", "-c", "import sys; print(sys.executable)")
        assert done.returncode == 0, done.stderr
        return str(Path(done.stdout.strip()).parent)

    return Path(once(f"installed {package} {others}", install))


def target(name: str) -> Path:
    """Return the program of a target of meltano.yml."""
    return preloaded(installed(plugin("loaders", name)["pip_url"]) / name)


def meltano_requirement() -> str:
    """Return the requirement of the workflow that extracts."""
    (requirement,) = re.findall(r"^meltano\[.*", (REQUIREMENTS / "extract.in").read_text(), re.MULTILINE)
    return str(requirement)


def meltano() -> Path:
    """Return Meltano, in the version of the workflow that extracts."""
    return preloaded(installed(meltano_requirement()) / "meltano")


def path_with(folder: Path, **programs: Path) -> str:
    """Link programs into a folder, and return a PATH on which they come first."""
    folder.mkdir()
    for name, program in programs.items():
        (folder / name).symlink_to(program)
    return f"{folder}{os.pathsep}{path()}"


def path() -> str:
    """Return the PATH on which this environment's programs come first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with a text as its input and this environment's programs on the PATH."""
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={**environment(), **_NO_STATISTICS, "PATH": path(), **(env or {})},
        input=text,
        timeout=_TIMEOUT_SECONDS,
    )


def link_plugins(plugins: Path, folder: Path, *kinds: str) -> None:
    """Make a folder of Meltano's own files that has installed plugins, which Python then compiles only once."""
    folder.mkdir()
    shutil.copy(plugins / "meltano.db", folder)  # It is empty, but creating its tables takes seconds.
    for kind in kinds:
        (folder / kind).symlink_to(plugins / kind)


def preload_plugin(meltano_folder: Path, kind: str, name: str) -> None:
    """Make Meltano start an installed plugin through `preloaded`."""
    program = meltano_folder / kind / name / "venv" / "bin" / name
    shutil.copy(preloaded(program), program)


class Project:
    """A fresh copy of this repository, to run Meltano in.

    Args:
        folder: Where the copy is made.
        plugins: Meltano's files of a project in which the plugins are installed. Without it, Meltano installs them.
    """

    def __init__(self, folder: Path, plugins: Path | None = None) -> None:
        self.folder = folder / "project"
        dropped = shutil.ignore_patterns(".*", "output", "uv.lock", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, self.folder, ignore=dropped)
        if plugins:
            link_plugins(plugins, self.folder / ".meltano", "extractors", "loaders")

    def meltano(self, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return run(meltano(), *arguments, cwd=self.folder, env=env)


def settings(sandbox: Sandbox, prefix: str = "TAP_WOOTRIC") -> dict[str, str]:
    """Return environment variables with the tap's settings for a sandbox."""
    return {f"{prefix}_{name.upper()}": value for name, value in sandbox.config.items()}
