"""The command `tap-wootric`, and the only place that ends the process."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

import requests
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_wootric.api.redact import redact_logs, redact_stderr
from tap_wootric.api.responses import safe_message
from tap_wootric.messages import discard_stdout, prepare_output, reason
from tap_wootric.sdk import is_worth_logging
from tap_wootric.signals import Terminated
from tap_wootric.tap import FailedStreamsError, TapWootric


def main() -> None:
    """Run the SDK's command, with one line instead of a traceback for errors that its user can fix.

    A traceback is for mistakes in this program. An OSError or a MemoryError comes from the machine.
    """
    try:
        _run()
    except Terminated as termination:
        _exit_after_signal(termination)
    except (ConfigValidationError, FailedStreamsError) as error:
        _fail(error.errors)
    except (SingerSDKError, requests.RequestException) as error:
        _fail([safe_message(error)])
    except OSError as error:
        _fail([reason(error)])
    except MemoryError:
        _fail(["There is not enough memory; the next sync continues from the last state"])


def _run() -> None:
    """Run the SDK's command.

    Raises:
        SystemExit: The command has ended.
        OSError: Some of its output was lost, or the machine failed in another way.
    """
    prepare_output()
    redact_stderr()
    if not os.environ.get("LOGLEVEL"):
        os.environ.pop("LOGLEVEL", None)  # The SDK fails on an empty one.
    os.set_blocking(sys.stdout.fileno(), True)  # Writing to a full pipe would fail, or write half a message.
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # Its other lines contain the parameters of URLs.
    warnings.filterwarnings("ignore", "http.cookiejar bug")  # Otherwise a malformed cookie is logged with a traceback.
    try:
        cli = TapWootric.cli  # This sets up logging.
    except Exception as error:  # noqa: BLE001 - Only these variables can make it fail, in many ways.
        _fail([f"Invalid LOGLEVEL or SINGER_SDK_LOG_CONFIG: {safe_message(error)}"])
    lost: list[logging.LogRecord] = []
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_worth_logging)
        handler.handleError = lost.append  # type: ignore[assignment,method-assign]  # The disk is full: rows matter more.
    redact_logs()
    stdout = sys.stdout
    try:
        cli()
    except Terminated:
        raise
    except SystemExit:
        if sys.stdout is not stdout:  # click replaces it, and exits without a word.
            raise BrokenPipeError from None
        stdout.flush()
        if lost:
            raise OSError("The log could not be written") from None
        raise


def _fail(lines: Iterable[str]) -> NoReturn:
    for line in lines:
        TapWootric.logger.error(line)
    discard_stdout()
    sys.exit(1)


def _exit_after_signal(termination: Terminated) -> NoReturn:
    """Exit without the interpreter's own cleanup: it may wait for a lock that was held when the signal came."""
    TapWootric.logger.error("Stopped by %s; the next sync continues from the last state", termination.signal.name)
    with suppress(OSError):  # A terminal that hung up, for example.
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(termination.status)


if __name__ == "__main__":
    main()
