"""Nothing secret leaves the process, in whatever form, and everything else does."""

from __future__ import annotations

import base64
import html
import json
import logging
import sys
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tap_wootric.api import redact as module
from tap_wootric.api.redact import hide, redact, redact_line, redact_logs, redact_stderr

SECRET = 's3cr"t\\va/lue+w=ith ä & more%41'  # noqa: S105
TOKEN = "token-0123456789abcdef"  # noqa: S105


@pytest.fixture(autouse=True)
def _hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_secrets", {})
    hide([SECRET, TOKEN, "hunter2", "wootric", "tap", ""])


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "write",
    [
        str,
        str.upper,
        lambda secret: secret[:12],
        repr,
        json.dumps,
        lambda secret: json.dumps(secret).replace("/", "\\/"),
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: json.dumps(json.dumps(secret)),
        lambda secret: "".join(f"\\u{ord(char):04X}" for char in secret),
        html.escape,
        quote,
        quote_plus,
        lambda secret: quote(secret, safe="").lower(),
        lambda secret: quote(json.dumps(secret)),
        lambda secret: html.escape(json.dumps(secret)),
        lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
        in_base64,
        lambda secret: in_base64(f"user:{secret}:"),
        lambda secret: in_base64(f"username:{secret}"),
        lambda secret: quote(base64.urlsafe_b64encode(secret.encode())),
        lambda secret: "".join(f"\\x{ord(char):02x}" for char in secret),
        lambda secret: quote(secret, safe="=& +\\"),
        lambda secret: f"{secret[:5]}\x00\u200b{secret[5:]}",
    ],
    ids=range(23),
)
@pytest.mark.parametrize("secret", [SECRET, TOKEN])
def test_a_secret_is_hidden_however_it_is_written(secret: str, write: Callable[[str], str]) -> None:
    shown = redact(f'before "{write(secret)}" after')
    assert shown.startswith('before "')
    assert shown.endswith('" after')
    assert "…" in shown
    assert len(shown) < len('before "" after') + 20


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("the password hunter2, cut: hunter", "the password …, cut: hunter"),
        ("x=hunter2&y=%3Dhunter2%26", "x=…&y=%3D…%26"),
        ("tap-wootric and wootrics are not wootric", "tap-wootric and wootrics are not …"),
        ("token-01234 is no more than eleven characters", "token-01234 is no more than eleven characters"),
        ("mail to ada+1@example.com, please", "mail to …, please"),
        ("email=ada%40example.com&page=1", "email=…&page=1"),
        ('{"a": "j\\u00f6rg\\u0040example.com", "b": 1}', '{"a": "…", "b": 1}'),
        ("ada&#64;example.com jörg@müller.de ada%252B1%2540example.com", "… … …"),
        ("http://user:password@proxy.example:3128/path", "http://…/path"),
        ("tap-wootric[faker] @ git, 52% of 100 %", "tap-wootric[faker] @ git, 52% of 100 %"),
        ("\x1b[31mred\x07 \x9b1m\r\nnew\tline\u2028\u202e", "[31mred 1m \nnew\tline "),
        ("", ""),
    ],
)
def test_everything_else_is_shown(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_the_time_does_not_grow_with_the_square_of_the_length() -> None:
    hide(["a" * 300_000])
    for part in ("x", "a@", "%40", '"', "aaa"):
        began = time.process_time()
        assert len(redact(part * 300_000)) <= 20_001
        assert time.process_time() - began < 5


def test_a_line_is_redacted_before_it_is_cut() -> None:
    assert redact_line(f"two\n lines\t with {TOKEN}", 20) == "two lines with …"
    assert redact_line("x" * 70, 60) == "x" * 60


def test_a_log_line_is_one_line_and_its_exception_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    redact_logs()
    error = ValueError(TOKEN)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%s\nforged %s", (SECRET, 1), (ValueError, error, None))
    assert handler.format(record).splitlines() == ["… forged 1", "ValueError: …"]


def test_stderr_is_redacted_and_knows_the_secrets_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAP_WOOTRIC_PASSWORD", "password-of-the-environment")
    monkeypatch.setenv("USERNAME", "responses")  # That of the person who is logged in.
    monkeypatch.setenv("TAP_WOOTRIC_STREAM_MAP_CONFIG", '{"salt": "pepper"}')
    monkeypatch.setattr(sys.stderr, "write", sys.stderr.write)
    redact_stderr()
    sys.stderr.write(f"Unknown option: password-of-the-environment {TOKEN} responses\n")
    assert capsys.readouterr().err == "Unknown option: … … responses\n"
