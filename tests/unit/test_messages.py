"""Messages are complete lines, in large blocks, whatever ends the sync."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from singer_sdk.singerlib import RecordMessage, SchemaMessage, StateMessage

from tap_wootric.messages import MessageWriter, OutputError, discard_stdout
from tap_wootric.signals import Terminated
from tests.unit.fakes import messages

SIGTERM = 15


class Pipe:
    """A stdout that accepts so many bytes at a time, or is closed."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.content = b""
        self.writes = 0
        self.max_bytes = max_bytes
        self.is_closed = False
        self.on_write: Any = None
        self.buffer = SimpleNamespace(write=self._write)

    def _write(self, block: bytes) -> int:
        if self.is_closed:
            raise BrokenPipeError
        if self.on_write:
            self.on_write()
        self.writes += 1
        self.content += block[: self.max_bytes]
        return min(len(block), self.max_bytes)

    def flush(self) -> None:
        """Nothing is buffered here."""

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in messages(self.content)]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    pipe = Pipe()
    monkeypatch.setattr("tap_wootric.messages.sys", SimpleNamespace(stdout=pipe))  # pytest replaces the real one.
    return pipe


def record(text: str = "x") -> RecordMessage:
    return RecordMessage(stream="end_users", record={"text": text})


def state() -> StateMessage:
    return StateMessage({"bookmarks": {"end_users": {"replication_key_value": "2025-01-01"}}})


def test_records_are_written_with_the_next_message_of_another_type(pipe: Pipe) -> None:
    writer = MessageWriter()
    for message in (SchemaMessage("end_users", {"properties": {}}, []), record(), record()):
        writer.write_message(message)
    assert pipe.types == ["SCHEMA"]
    writer.write_message(state())
    assert pipe.types == ["SCHEMA", "RECORD", "RECORD", "STATE"]
    assert pipe.writes == 2


def test_many_records_are_written_without_waiting_for_another_message(pipe: Pipe) -> None:
    writer = MessageWriter()
    for _ in range(20):
        writer.write_message(record("x" * 4_000))
    assert pipe.types == ["RECORD"] * 17  # 64 KiB.


def test_a_stdout_that_accepts_partial_writes_gets_everything(pipe: Pipe) -> None:
    pipe.max_bytes = 7
    writer = MessageWriter()
    writer.write_message(record("a longer text"))
    writer.write_message(state())
    assert pipe.types == ["RECORD", "STATE"]


def test_text_that_some_programs_take_for_the_end_of_a_line_is_escaped(pipe: Pipe) -> None:
    writer = MessageWriter()
    writer.write_message(record("a\x85b\u2028c\u2029d\r\n\u00e9"))
    writer.write_message(state())
    assert len(pipe.content.decode().splitlines()) == 2
    assert messages(pipe.content)[0]["record"] == {"text": "a\x85b\u2028c\u2029d\r\n\u00e9"}


def test_a_closed_pipe_is_an_error_that_says_so(pipe: Pipe) -> None:
    pipe.is_closed = True
    with pytest.raises(OutputError, match=r"^The target stopped reading; the next sync continues from"):
        MessageWriter().write_message(state())


def test_a_signal_during_a_write_ends_the_sync_after_it(pipe: Pipe) -> None:
    writer = MessageWriter()
    pipe.on_write = lambda: writer.terminate(Terminated(SIGTERM))
    with pytest.raises(Terminated):
        writer.write_message(SchemaMessage("end_users", {"properties": {}}, []))
    assert pipe.types == ["SCHEMA"]


def test_a_signal_between_messages_ends_the_sync_at_once_or_with_the_next_record_and_a_state_can_follow(
    pipe: Pipe,
) -> None:
    writer = MessageWriter()
    writer.write_message(record())
    with pytest.raises(Terminated):
        writer.terminate(Terminated(SIGTERM))
    with pytest.raises(Terminated):  # In case the first one got lost.
        writer.write_message(record())
    writer.write_message(state())
    assert pipe.types == ["RECORD", "RECORD", "STATE"]


def test_discarded_output_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as stdout:
        monkeypatch.setattr("tap_wootric.messages.sys", SimpleNamespace(stdout=stdout))
        stdout.write("before")
        stdout.flush()
        discard_stdout()
        stdout.write("after")
    assert (tmp_path / "out").read_text() == "before"
