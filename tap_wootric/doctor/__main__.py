"""The command `tap-wootric-doctor`."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_wootric.api.redact import redact, redact_stderr
from tap_wootric.api.responses import ApiUnavailableError, safe_message
from tap_wootric.doctor import facts
from tap_wootric.doctor.estimate import estimate_costs
from tap_wootric.doctor.probe import ListProbe, NotAskedError, Probe
from tap_wootric.doctor.report import Check, Report, Status, as_json, as_text
from tap_wootric.messages import discard_stdout, prepare_output, reason
from tap_wootric.streams.lists import ListStream
from tap_wootric.tap import TapWootric

_READABLE, _UNREADABLE, _WRONG_OPTIONS, _INTERRUPTED = 0, 1, 2, 130
"""The exit statuses. 130 is what shells report after SIGINT. After other signals, the tap's handler sets theirs."""

_EXTRACTOR = "MELTANO_EXTRACTOR_NAME"
"""The environment variable in which Meltano names the extractor that it invokes."""


def main() -> None:
    """Run the command and exit with its status."""
    try:
        prepare_output()
        try:
            status = _run(sys.argv[1:])
        finally:  # Also after --help.
            sys.stdout.flush()
    except KeyboardInterrupt:  # The tap's handlers are not there yet.
        os._exit(_INTERRUPTED)
    except OSError as error:
        discard_stdout()
        status = _UNREADABLE
        with suppress(OSError):
            sys.stderr.write(f"{reason(error)}\n")
    sys.exit(status)


def _run(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    redact_stderr()
    os.environ.pop("LOGLEVEL", None)  # The SDK fails on a wrong one.
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)  # Warnings about the settings.
    options = _parse(arguments)
    try:
        config = TapWootric.cb_config(None, None, tuple(options.config))
        tap = TapWootric(config=config.config, parse_env_config=config.parse_env)
    except (SingerSDKError, ValueError) as error:
        lines = error.errors if isinstance(error, ConfigValidationError) else [safe_message(error)]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        return _WRONG_OPTIONS
    logging.disable(logging.WARNING)  # Those of a sync quote the API and field names, which may be data.
    report = examine(tap, Probe(tap.settings, _report_progress), options.config)
    if options.format == "json":
        sys.stdout.write(f"{as_json(report)}\n")
    else:
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.write(as_text(report, unicode=unicode))
    return _READABLE if report.is_readable else _UNREADABLE


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tap-wootric-doctor",
        description="Checks in a minute whether the tap can read an account, and how long syncs will take. It sends "
        "about 40 requests, which only read, and its output has no customer data.",
        epilog="Exit status: 0 if the tap can read the account, 1 if it cannot, 2 for wrong options or settings.",
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="the tap's settings in a JSON file, or ENV for the environment variables TAP_WOOTRIC_*; may be repeated",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s {TapWootric.get_plugin_version()}")
    return parser.parse_args(arguments)


def examine(tap: TapWootric, probe: Probe, config: Sequence[str]) -> Report:
    """Check the account that a tap reads, and return the findings.

    Args:
        tap: The tap.
        probe: Its client.
        config: The values of `--config`.
    """
    tap.client = probe
    _report_progress("Checking the credentials")
    try:
        probe.authenticate()
    except (ApiUnavailableError, NotAskedError, OSError) as error:
        probe.unavailable = error
    streams = tap.discover_streams()
    lists = {stream.name: ListProbe(probe, stream) for stream in streams if isinstance(stream, ListStream)}
    _report_progress("Checking which streams can be read")  # First, before other checks use up the requests.
    accesses = [facts.access(stream, lists.get(stream.name), probe) for stream in streams]
    checks: list[Check] = []
    for access in accesses:
        checks.append(access)
        if listed := lists.get(str(access.stream)):
            _report_progress(f"Checking {access.stream}")
            checks += facts.list_checks(listed, is_readable=access.status is Status.OK)
    checks = [facts.credentials(probe, tap.settings), facts.clock(probe), *checks]
    checks = [replace(check, message=redact(check.message)) for check in checks]
    needed = [None, *(stream.name for stream in streams if stream.selected_by_default)]
    troubles = [  # Facts that are not known do not matter, as long as the stream can be read.
        check
        for check in checks
        if check.stream in needed
        and (check.status is Status.FAILED or (check.id == "access" and check.status is Status.UNKNOWN))
    ]
    return Report(
        version=tap.plugin_version,
        api_url=redact(tap.settings.api_url),
        checks=checks,
        estimate=estimate_costs(lists.values(), tap.settings.recheck_days),
        advice=_advice(troubles, config, os.environ.get(_EXTRACTOR)),
        is_readable=not troubles,
    )


def _advice(troubles: Sequence[Check], config: Sequence[str], extractor: str | None) -> str:
    """Return what to do: the next command, or the one thing to fix.

    Args:
        troubles: The checks that prevent a sync of the default selection.
        config: The values of `--config`.
        extractor: What Meltano calls the tap; None without Meltano.
    """
    if not troubles and extractor:
        return f"Ready: `meltano run {extractor} target-postgres`"
    if not troubles:
        tap = shlex.join(["tap-wootric", *(part for file in config for part in ("--config", file))])
        return f"Ready: `{tap} | target-postgres --config target.json > states.jsonl`"
    if troubles[0].id == "credentials":
        return f"Not ready: {troubles[0].message}"
    if denied := [str(check.stream) for check in troubles if check.message.startswith(facts.DENIED)]:
        commands = [f"`meltano select {extractor} --exclude {name} '*'`" for name in denied]
        deselect = f"deselect: {'; '.join(commands)}" if extractor else "select the others in a catalog"
        return f"Not ready: {' and '.join(denied)} cannot be read. Ask Wootric for access, or {deselect}"
    if failed := [check for check in troubles if check.status is Status.FAILED]:
        where = f"{failed[0].stream}: {failed[0].message}"
        return f"Not ready: {where} Please report this, with the output of --format json"
    return f"Try again later: {troubles[0].message}"


def _report_progress(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")


if __name__ == "__main__":
    main()
