"""The command `tap-wootric-doctor`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import requests
from singer_sdk.exceptions import ConfigValidationError, FatalAPIError, RetriableAPIError, SingerSDKError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.client import Client
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import safe_message
from tap_wootric.doctor.examination import Doctor
from tap_wootric.doctor.probe import Patience, Probe, UnansweredError, plain_message
from tap_wootric.doctor.report import Report, as_json, as_text
from tap_wootric.tap import InvalidInputError, TapWootric

_READABLE, _UNREADABLE, _WRONG_OPTIONS, _INTERRUPTED = 0, 1, 2, 130
"""The exit statuses. 130 is what shells report after SIGINT."""

_TOKEN_SECONDS = 25.0
"""How long to try to get a token. An unreachable host is reported within 30 seconds."""
_TOKEN_TIMEOUT_SECONDS = 10
_MAX_TIMEOUT_SECONDS = 30
_TOKEN_ATTEMPTS = 3
_TOKEN_PAUSE_SECONDS = 1.0


def main() -> None:
    """Run the command and exit with its status."""
    try:
        sys.exit(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)


def _run(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    _show_log()
    options = _parse(arguments)
    try:
        config = TapWootric.cb_config(None, None, tuple(options.config))
        tap = TapWootric(config=config.config, parse_env_config=config.parse_env)
        settings = tap.settings
    except (ConfigValidationError, InvalidInputError) as error:
        return _complain(error.errors if isinstance(error, ConfigValidationError) else error.lines)
    except SingerSDKError as error:
        return _complain([safe_message(error)])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # The SDK's handlers are for a sync.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    patience = Patience(_report_progress)
    rate_limiter = RateLimiter(sleep=patience.wait)
    authenticator = WootricAuthenticator(
        api_url=settings.api_url,
        credentials=settings.credentials,
        account_token=settings.account_token,
        user_agent=settings.user_agent,
        timeout_seconds=min(settings.request_timeout_seconds, _TOKEN_TIMEOUT_SECONDS),
        rate_limiter=rate_limiter,
    )
    client = Client(
        api_url=settings.api_url,
        authenticator=authenticator,
        rate_limiter=rate_limiter,
        timeout_seconds=min(settings.request_timeout_seconds, _MAX_TIMEOUT_SECONDS),
    )
    probe = Probe(client, patience.wait)
    doctor = Doctor(
        settings,
        {stream.name: stream for stream in tap.discover_streams()},
        authenticator=authenticator,
        clock=rate_limiter.clock,
        probe=probe,
        report_progress=_report_progress,
    )
    _report_progress("Checking the credentials")
    if problem := _within(_TOKEN_SECONDS, lambda: _token_problem(authenticator)):
        report = doctor.report_without_token(tap.plugin_version, problem)
    else:
        probe.requests += 1  # The token's.
        report = doctor.report(tap.plugin_version)
    _print(report, options.format)
    return _READABLE if report.is_readable else _UNREADABLE


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tap-wootric-doctor",
        description="Checks in a minute whether the tap can read an account, and how long the first sync will "
        "take. It sends about 60 requests, which only read, and its output has no customer data.",
        epilog="Exit status: 0 if the tap can read the account, 1 if it cannot, 2 for wrong options or settings.",
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="the tap's settings in a JSON file, or ENV for the environment variables TAP_WOOTRIC_…; may be repeated",
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s {TapWootric.get_plugin_version()}")
    return parser.parse_args(arguments)


def _token_problem(authenticator: WootricAuthenticator) -> str:
    """Try to get a token, and return what went wrong: an empty string if nothing did."""
    for attempt in range(1, _TOKEN_ATTEMPTS + 1):
        try:
            authenticator.auth_header()
        except (FatalAPIError, UnansweredError) as error:
            return plain_message(error)
        except (RetriableAPIError, requests.RequestException) as error:
            if attempt == _TOKEN_ATTEMPTS:
                return plain_message(error)
            time.sleep(_TOKEN_PAUSE_SECONDS)
        else:
            break
    return ""


def _within(seconds: float, function: Callable[[], str]) -> str:
    """Return what a function returns, or a problem if that takes too long.

    A name server that is slow to fail, for instance, obeys no timeout of a request.
    """
    results: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=lambda: results.put(function()), daemon=True).start()
    try:
        return results.get(timeout=seconds)
    except Empty:
        return f"The API did not answer within {seconds:.0f} s"


def _show_log() -> None:
    """Show warnings on stderr, one plain line each."""
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # Its warnings contain the parameters of URLs.


def _report_progress(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")
    sys.stderr.flush()


def _complain(lines: Sequence[str]) -> int:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return _WRONG_OPTIONS


def _print(report: Report, output_format: str) -> None:
    if output_format == "json":
        sys.stdout.write(f"{as_json(report)}\n")
    else:
        is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        colored = is_terminal and not os.environ.get("NO_COLOR")
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.write(as_text(report, colored=colored, unicode=unicode))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
