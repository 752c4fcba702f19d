"""Runs singer-io's tap against another server, for one stream. Its URLs are constants, which are patched."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import requests


def main(url: str, stream: str) -> None:
    """Run the tap's command with the remaining options."""
    old: Any = import_module("tap_wootric")
    post = requests.post
    requests.post = lambda _url, **options: post(f"{url}/oauth/token", **options)
    old.BASE_URL = f"{url}/v1/"

    def sync() -> None:
        old.get_access_token()
        old.sync_entity(stream)

    old.do_sync = sync
    del sys.argv[1:3]
    old.main()


if __name__ == "__main__":
    sys.path.pop(0)  # In this folder's place there is another tap_wootric.
    main(*sys.argv[1:3])
