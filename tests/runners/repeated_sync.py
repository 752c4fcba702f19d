"""Syncs a single tap object three times, the second time with a wrong URL: `repeated_sync CONFIG WRONG_URL`.

Prints a JSON line for each sync: the error's type, or null, and the bookmarks.
"""

from __future__ import annotations

import json
import sys

from singer_sdk.exceptions import SingerSDKError

from tap_wootric.tap import TapWootric


def main(config: str, wrong_url: str) -> None:
    tap = TapWootric(config=json.loads(config))
    right_url = tap.client.url
    for url in (right_url, wrong_url, right_url):
        tap.client.url = url
        error_type = None
        try:
            tap.sync_all()
        except SingerSDKError as error:
            error_type = type(error).__name__
        bookmarks = [bookmark.get("replication_key_value") for bookmark in tap.state["bookmarks"].values()]
        print(json.dumps({"error": error_type, "bookmarks": bookmarks}), file=sys.stderr)  # noqa: T201 - The result.


if __name__ == "__main__":
    main(*sys.argv[1:])
