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
    workflow = (ROOT / ".github" / "workflows" / "extract.yml").read_text()
    (package,) = re.findall(r"uvx --from '(.*?)' meltano run", workflow)
    return uvx(package, "meltano", *arguments)


def with_targets(folder: Path) -> dict[str, str]:
    """Put the targets of meltano.yml into a folder, and return an environment with this folder on the PATH."""
    for name in (loader["name"] for loader in meltano_yml()["plugins"]["loaders"]):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(target(name))} "$@"\n')
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{_path()}"}


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
        env={**environment(), "PATH": _path(), **(env or {})},
        input=text,
        timeout=_TIMEOUT_SECONDS,
    )


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


class Project:
    """A fresh copy of this repository, to run Meltano in.

    Args:
        folder: Where the copy is made.
        plugins: A folder with Meltano's environments of the plugins. Without it, Meltano installs them.
    """

    def __init__(self, folder: Path, plugins: Path | None = None) -> None:
        self.folder = folder / "project"
        dropped = shutil.ignore_patterns(".*", "output", "uv.lock", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, self.folder, ignore=dropped)
        if plugins:
            shutil.copytree(plugins, self.folder / ".meltano", symlinks=True)

    def meltano(self, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return run(*meltano(*arguments), cwd=self.folder, env=env)


def settings(sandbox: Sandbox, prefix: str = "TAP_WOOTRIC") -> dict[str, str]:
    """Return environment variables with the tap's settings for a sandbox."""
    return {f"{prefix}_{name.upper()}": value for name, value in sandbox.config.items()}
