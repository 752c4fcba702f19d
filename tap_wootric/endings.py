"""How messages get out whole, also where a sync ends before its end: a signal comes, the target stops reading."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from singer_sdk import Tap
from singer_sdk.io_base import SingerWriter
from singer_sdk.singerlib import RecordMessage, StateMessage


class Terminated(SystemExit):
    """A signal came; the exit status is 128 and its number.

    Args:
        signum: The signal's number.
        tap: The tap that it came to.
    """

    def __init__(self, signum: int, tap: Tap) -> None:
        super().__init__(128 + signum)
        self._signum = signum
        self._name = signal.Signals(signum).name
        self._tap = tap

    def finish(self) -> NoReturn:
        """Write the state of what was emitted, say why no more comes, and end the process.

        It ends here and now: what runs at an interpreter's own end may wait for a lock that the signal left closed.
        """
        self._tap.write_message(StateMessage(self._tap.state))
        self._tap.logger.error("Stopped by %s. The next sync goes on from the last state", self._name)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + self._signum)


class Writer(SingerWriter):
    """Writes each message whole: a signal that comes in the middle of one ends the sync behind it."""

    def __init__(self) -> None:
        super().__init__()
        self._last_state = ""
        self._is_writing = False
        self._stop: Terminated | None = None

    def write_message(self, message: Any) -> None:
        """Write a message to stdout, but for a STATE that follows its like without a RECORD in between.

        Raises:
            BrokenPipeError: The target stopped reading.
            Terminated: A signal came; the message is out.
        """
        if isinstance(message, StateMessage):
            state = self.format_message(message)
            if state == self._last_state:
                return
            self._last_state = state
        elif isinstance(message, RecordMessage):
            self._last_state = ""
        self._is_writing = True
        try:
            super().write_message(message)
        finally:
            self._is_writing = False
        if self._stop and not isinstance(message, StateMessage):  # A last state is still to be written.
            raise self._stop

    def terminate(self, stop: Terminated) -> None:
        """End the sync, at once or behind the message that is being written.

        Raises:
            Terminated: At once. Where that gets lost, as an exception in a finalizer does, the next message raises it.
        """
        self._stop = stop
        if not self._is_writing:
            raise stop


def silence_stdout() -> None:
    """Let nothing be written to a pipe that nobody reads, where the interpreter's own end would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
