"""Runs the programs that people use with the tap: Meltano and targets, from PyPI with uvx."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools import ROOT, environment
from tools.sandbox import Sandbox

REQUIREMENTS = ROOT / ".github" / "requirements"
_TIMEOUT_SECONDS = 300


def meltano_yml() -> dict[str, Any]:
    """Return the content of meltano.yml."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text())
    return content


def plugin(kind: str, name: str) -> dict[str, Any]:
    """Return a plugin of meltano.yml."""
    found: dict[str, Any] = next(entry for entry in meltano_yml()["plugins"][kind] if entry["name"] == name)
    return found


def uvx(package: str, *command: str) -> list[str]:
    """Return the command line of a program in a package."""
    return [shutil.which("uvx") or "uvx", "--quiet", "--from", package, *command]


def target(name: str) -> list[str]:
    """Return the command line of a target of meltano.yml."""
    return uvx(plugin("loaders", name)["pip_url"], name)


def meltano(*arguments: str) -> list[str]:
    """Return the command line of Meltano, in the version of the workflow that extracts."""
    (package,) = re.findall(r"^meltano\[.*", (REQUIREMENTS / "extract.in").read_text(), re.MULTILINE)
    return uvx(package, "meltano", *arguments)


def path_with(folder: Path, name: str, line: list[str]) -> str:
    """Write a script that runs a command line, and return a PATH on which it comes first."""
    folder.mkdir()
    (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(line)} "$@"\n')
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{path()}"


def run(
    *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with a text as its input and this environment's programs on the PATH."""
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={**environment(), "PATH": path(), **(env or {})},
        input=text,
        timeout=_TIMEOUT_SECONDS,
    )


def path() -> str:
    """Return the PATH on which this environment's programs come first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


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
            meltano = self.folder / ".meltano"
            meltano.mkdir()
            shutil.copy(plugins / "meltano.db", meltano)  # It is empty, but creating its tables takes seconds.
            for kind in ("extractors", "loaders"):  # Linked, so that Python compiles them once.
                (meltano / kind).symlink_to(plugins / kind)

    def meltano(self, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return run(*meltano(*arguments), cwd=self.folder, env=env)


def settings(sandbox: Sandbox, prefix: str = "TAP_WOOTRIC") -> dict[str, str]:
    """Return environment variables with the tap's settings for a sandbox."""
    return {f"{prefix}_{name.upper()}": value for name, value in sandbox.config.items()}
