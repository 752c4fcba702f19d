"""Runs the command `tap-wootric` and reads what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools import environment

DEFAULTS: dict[str, Any] = {}
"""Settings for runs that do not set them."""

_TIMEOUT_SECONDS = 120

_COMMAND = "tap_wootric"
_SLEEPLESS = "tests.runners.sleepless"


@dataclass(frozen=True)
class Run:
    """The status and output of a run."""

    status: int
    out: str
    log: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of_type(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and stream in (None, m.get("stream"))]

    def records(self, stream: str) -> list[dict[str, Any]]:
        return [message["record"] for message in self.of_type("RECORD", stream)]

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE."""
        state: dict[str, Any] = self.of_type("STATE")[-1]["value"]
        return state

    def bookmark(self, stream: str) -> str:
        return str(self.state["bookmarks"][stream]["replication_key_value"])

    @property
    def slept(self) -> list[float]:
        """The pauses, in seconds, that a sleepless run logged."""
        return [float(line.split()[1]) for line in self.log.splitlines() if line.startswith("SLEPT ")]

    @property
    def errors(self) -> list[str]:
        return [line.split(" | ")[-1] for line in self.log.splitlines() if "| ERROR" in line or "| CRITICAL" in line]


def tap(  # noqa: PLR0913 - Each is an option of the command, or of how it is run.
    *arguments: str,
    config: Mapping[str, Any] | None = None,
    state: Any = None,
    catalog: Any = None,
    env: Mapping[str, str] | None = None,
    sleepless: bool = False,
    runner: str = "",
) -> Run:
    """Run the command to its end.

    Args:
        arguments: Options of the command.
        config: The settings. Like the state and the catalog, they are written into a file.
        state: The state.
        catalog: The catalog.
        env: Additional environment variables.
        sleepless: Whether pauses are logged instead of taken; see `Run.slept`.
        runner: The module to run in place of the command; see `tests.runners`.
    """
    with TemporaryDirectory() as folder:
        config = config and {**DEFAULTS, **config}
        module = _SLEEPLESS if sleepless else runner or _COMMAND
        command = [sys.executable, "-m", module, *arguments]
        for option, content in (("--config", config), ("--state", state), ("--catalog", catalog)):
            if content is not None:
                file = Path(folder) / f"{option[2:]}.json"
                file.write_text(json.dumps(content))
                command += [option, str(file)]
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            encoding="utf-8",
            env={**environment(), **(env or {})},
            timeout=_TIMEOUT_SECONDS,
        )
    return Run(done.returncode, done.stdout, done.stderr)


def catalog_of(*streams: str) -> dict[str, Any]:
    """Return the discovered catalog, of some streams or of all."""
    entries = json.loads(_discovered())["streams"]
    return {"streams": [entry for entry in entries if not streams or entry["tap_stream_id"] in streams]}


@cache
def _discovered() -> str:
    return tap("--discover").out


def selecting(*streams: str, **metadata: str) -> dict[str, Any]:
    """Return a catalog in which only some streams are selected, with additional metadata for each stream."""
    catalog = catalog_of()
    for entry in catalog["streams"]:
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        root |= {"selected": entry["tap_stream_id"] in streams, **metadata}
    return catalog


def full_table(*streams: str) -> dict[str, Any]:
    """Return a catalog in which only some streams are selected, as full tables."""
    return selecting(*streams, **{"replication-method": "FULL_TABLE"})


def seen(records: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
    """Return the latest version of each row by its id, as a target keeps it; compare with `Table.versions`."""
    return {record["id"]: (record["updated_at"], _properties(record)["revision"]) for record in records}


def _properties(record: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = (record.get("end_user") or record)["properties"]
    return properties
