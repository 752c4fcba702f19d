"""The command `tap-wootric`, and the only place that ends the process."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import NoReturn

import requests
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_wootric.api.redact import redact_logs, redact_stderr
from tap_wootric.api.responses import safe_message
from tap_wootric.messages import TargetClosedError, discard_stdout
from tap_wootric.sdk import is_worth_logging
from tap_wootric.signals import Terminated
from tap_wootric.tap import LinesError, TapWootric


def main() -> None:
    """Run the SDK's command, with one line instead of a traceback for errors that its user can fix."""
    os.set_blocking(sys.stdout.fileno(), True)  # Writing to a full pipe would fail, or write half a message.
    redact_stderr()
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # Its other lines contain the parameters of URLs.
    warnings.filterwarnings("ignore", "http.cookiejar bug")  # It shows a traceback for the number in a cookie.
    cli = TapWootric.cli  # This sets up logging.
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_worth_logging)
    redact_logs()
    try:
        cli()
    except Terminated as termination:
        _exit_after_signal(termination)
    except LinesError as error:
        _fail(error.lines)
    except ConfigValidationError as error:
        _fail(error.errors)
    except TargetClosedError as error:
        discard_stdout()
        _fail([str(error)])
    except (SingerSDKError, requests.RequestException) as error:
        _fail([safe_message(error)])


def _fail(lines: Iterable[str]) -> NoReturn:
    for line in lines:
        TapWootric.logger.error(line)
    sys.exit(1)


def _exit_after_signal(termination: Terminated) -> NoReturn:
    """Exit without the interpreter's own cleanup: it may wait for a lock that the signal left closed."""
    TapWootric.logger.error("Stopped by %s; the next sync continues from the last state", termination.signal.name)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(termination.status)


if __name__ == "__main__":
    main()
