"""How messages get out whole, also where a sync ends before its end: a signal comes, the target stops reading."""

from __future__ import annotations

import os
import sys
from typing import Any

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, StateMessage

from tap_wootric.signals import Terminated

_MUCH = 65_536
"""Bytes."""
_LINE_ENDS = {char.encode(): f"\\u{ord(char):04x}".encode() for char in "\x85\u2028\u2029"}
"""What some programs take for the end of a line, and how JSON can spell it else. Below ASCII's 32 it has to."""


class MessageWriter(MsgSpecWriter):
    """Writes messages whole: a signal that comes in the middle of writing ends the sync behind it.

    Records wait for a message of another kind, or until they are many. A flush for each costs, and where
    `PYTHONUNBUFFERED` is set, as in many containers, even a system call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()
        self._last_state = b""
        self._is_writing = False
        self._stop: Terminated | None = None

    def write_message(self, message: Any) -> None:
        """Write a message to stdout, but for a STATE that follows its like without a RECORD in between.

        Raises:
            BrokenPipeError: The target stopped reading.
            Terminated: A signal came; what was waiting is out.
        """
        line = self.format_message(message)
        is_record, is_state = isinstance(message, RecordMessage), isinstance(message, StateMessage)
        if is_record:
            self._last_state = b""
        elif is_state:
            if line == self._last_state:
                return
            self._last_state = bytes(line)
        if not line.isascii():
            for end, spelt in _LINE_ENDS.items():
                line = line.replace(end, spelt)
        self._waiting += line
        if not is_record or len(self._waiting) >= _MUCH:
            self._write()
        if self._stop and not is_state:  # A last state is still to be written.
            raise self._stop

    def _write(self) -> None:
        self._is_writing = True
        try:
            while self._waiting:  # An unbuffered stdout may take a part.
                del self._waiting[: sys.stdout.buffer.write(self._waiting)]
            sys.stdout.flush()
        finally:
            self._is_writing = False

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
