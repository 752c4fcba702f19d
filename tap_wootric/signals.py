"""How a sync ends when a signal comes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from singer_sdk.singerlib import StateMessage

if TYPE_CHECKING:
    from tap_wootric.tap import TapWootric


class Terminated(SystemExit):
    """A signal came; the exit status is 128 and its number.

    Args:
        signum: The signal's number.
        tap: The tap that it came to.
    """

    def __init__(self, signum: int, tap: TapWootric) -> None:
        super().__init__(128 + signum)
        self._signum = signum
        self._name = signal.Signals(signum).name
        self._tap = tap

    def finish(self) -> NoReturn:
        """Write the state of what was emitted, say why no more comes, and end the process.

        It ends here and now: what runs at an interpreter's own end may wait for a lock that the signal left closed.
        """
        self._tap.move_bookmarks()
        self._tap.write_message(StateMessage(self._tap.state))
        self._tap.logger.error("Stopped by %s. The next sync goes on from the last state", self._name)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + self._signum)
