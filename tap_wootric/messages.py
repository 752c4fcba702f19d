"""The writer of Singer messages: complete lines, in large blocks, even if a signal or a closed pipe ends the sync."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Any

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.exceptions import SingerSDKError
from singer_sdk.singerlib import RecordMessage, StateMessage
from typing_extensions import override

from tap_wootric.signals import Terminated

_BLOCK_BYTES = 65_536
"""The usual size of a pipe. A flush for every record costs 270 to 900 ns, and a system call for each if
`PYTHONUNBUFFERED` is set, as in many containers."""

_LINE_SEPARATORS = {char.encode(): f"\\u{ord(char):04x}".encode() for char in "\x85\u2028\u2029"}
"""Characters outside ASCII that some programs take for the end of a line, and their escapes in JSON."""


class OutputError(SingerSDKError):
    """The messages cannot be written: the target stopped reading, or the disk is full."""

    def __init__(self, error: OSError) -> None:
        what = "The target stopped reading" if isinstance(error, BrokenPipeError) else reason(error)
        super().__init__(f"{what}; the next sync continues from the last state that was confirmed")


class MessageWriter(MsgSpecWriter):
    """Writes complete messages to stdout: a signal that arrives during a write ends the sync after it.

    Records are buffered until there are many, or until a message of another type follows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()
        self._is_writing = False
        self._termination: Terminated | None = None

    @override
    def write_message(self, message: Any) -> None:
        """Write a message.

        Raises:
            OutputError: The message cannot be written.
            Terminated: A signal arrived. The buffered messages have been written.
        """
        line = self.format_message(message)
        if not line.isascii():
            for separator, escape in _LINE_SEPARATORS.items():
                line = line.replace(separator, escape)
        self._buffer += line
        if not isinstance(message, RecordMessage) or len(self._buffer) >= _BLOCK_BYTES:
            self._flush()
        if not isinstance(message, StateMessage):  # The final STATE still has to be written.
            self.raise_if_terminated()

    def _flush(self) -> None:
        self._is_writing = True
        try:
            while self._buffer:  # An unbuffered stdout may accept only a part.
                del self._buffer[: sys.stdout.buffer.write(self._buffer)]
            sys.stdout.flush()
        except OSError as error:
            raise OutputError(error) from error
        finally:
            self._is_writing = False

    def terminate(self, termination: Terminated) -> None:
        """End the sync: at once, or after the write in progress.

        Raises:
            Terminated: At once. It may get lost, as exceptions in finalizers do; see `raise_if_terminated`.
        """
        self._termination = termination
        if not self._is_writing:
            raise termination

    def raise_if_terminated(self) -> None:
        """Raise Terminated if a signal arrived, in case its exception got lost."""
        if self._termination:
            raise self._termination


def reason(error: OSError) -> str:
    """Return one line about an error of the operating system."""
    if isinstance(error, BrokenPipeError):
        return "The output is no longer being read"
    file = f": {error.filename}" if error.filename else ""
    return f"Cannot continue: {error.strerror}{file}" if error.strerror else str(error)


def prepare_output() -> None:
    """Let any text be written, whatever the encoding of stdout. Replace a closed stderr with /dev/null.

    Raises:
        OSError: Stdout is closed.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - It stays open.
    if sys.stdout is None:
        raise OSError("Nothing can be written, because stdout is closed")
    if isinstance(sys.stdout, TextIOWrapper):
        # Buffered despite PYTHONUNBUFFERED: argparse ignores write errors, but a flush raises them.
        sys.stdout.reconfigure(errors="backslashreplace", write_through=False)


def discard_stdout() -> None:
    """Send all further output to /dev/null. The interpreter would fail to write the rest when it exits."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
