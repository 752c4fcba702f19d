"""The command `tap-wootric`."""

from __future__ import annotations

import logging
import os
import sys

import requests
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_wootric.api.responses import safe_message
from tap_wootric.tap import TapWootric

_DEPTH = 10_000
"""Python's own limit of 1,000 calls ends at properties that are some hundred levels deep."""


def main() -> None:
    """Run the SDK's command, with a line instead of a traceback for what the person who runs it can mend."""
    sys.setrecursionlimit(_DEPTH)
    os.set_blocking(sys.stdout.fileno(), True)  # Else a pipe that is full takes a part of a message, or nothing.
    logging.getLogger("urllib3").setLevel(logging.INFO)  # Its debug lines hold what the URLs ask for.
    try:
        TapWootric.cli()
    except ConfigValidationError as error:
        TapWootric.fail(error.errors)
    except (SingerSDKError, requests.RequestException) as error:
        TapWootric.fail([safe_message(error)])


if __name__ == "__main__":
    main()
