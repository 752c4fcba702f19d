"""What may leave the process: each line of a log, a traceback or a report passes `redact`."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import takewhile
from urllib.parse import quote, quote_plus, unquote

from tap_wootric import settings

_MAX_LENGTH = 20_000
"""Characters that are shown of a text. The time to redact it grows with them."""
_MIN_SECRET_LENGTH, _MAX_SECRET_LENGTH = 6, 2_000
_PREFIX_LENGTH = 12
"""Longer secrets are hidden wherever they begin with so many characters, shorter ones as whole words only."""
_MASK = "…"

_CHARACTER = r"\\\w|[^\s\"<>()\[\]{},;/\\?&|=@…]"
"""One of an e-mail address, or an escape of JSON, which is hidden as a whole."""
_EMAIL_ADDRESS = re.compile(rf'(?:(?:{_CHARACTER}){{1,64}}|(\\?)"[^"@\n\\]{{1,64}}\1")@\[?(?:{_CHARACTER})+')
"""It also matches the credentials in a URL. Without its limits, the time would grow with the square of the length."""
_ESCAPED_WORD = re.compile(rf"(?:{_CHARACTER}|@|&#?\w{{1,8}};)+")
_JSON_ESCAPE = re.compile(r"\\u([0-9a-f]{4})", re.IGNORECASE)

_ESCAPES: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    quote_plus,
    html.escape,
    lambda text: quote(text, safe=""),
    lambda text: repr(text)[1:-1],
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: text.replace("/", "\\/"),
)
"""How URLs, HTML, Python and JSON write a text. `redact` also decodes words, but a secret may itself look escaped."""

_secrets: dict[str, re.Pattern[str]] = {}
"""The forms that secrets take, each with the pattern of its beginning."""


def hide(secrets: Iterable[str]) -> None:
    """Let `redact` hide secrets from now on."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_LENGTH:
            for form in {*_forms(secret[:_MAX_SECRET_LENGTH])}:
                pattern = re.escape(form[:_PREFIX_LENGTH])
                pattern = pattern if len(form) >= _PREFIX_LENGTH else rf"(?<![\w-]){pattern}(?![\w-])"
                _secrets[form] = re.compile(pattern, re.IGNORECASE)


def redact(text: str) -> str:
    """Return a text without secrets, e-mail addresses and characters that control a terminal, except line breaks."""
    text = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}{_MASK}"
    text = "".join(c if c.isprintable() or c in "\n\t" else " " if c.isspace() else "" for c in text)
    return _ESCAPED_WORD.sub(_redacted_word, _hidden(text))


def redact_line(text: str, max_length: int) -> str:
    """Return the beginning of a text, redacted and on one line."""
    return " ".join(redact(text).split())[:max_length]


def redact_stderr() -> None:
    """Let everything on stderr pass `redact`, errors about options, too, and hide the secrets of the environment."""
    hide(settings.secrets(os.environ))
    write = sys.stderr.write  # Click tries whether it takes bytes.
    setattr(sys.stderr, "write", lambda text: write(redact(text) if isinstance(text, str) else text))  # noqa: B010


def redact_logs() -> None:
    """Let the lines of all handlers pass `redact`, with exceptions and structured fields."""
    for logger in [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]:
        for handler in logger.handlers:
            setattr(handler, "format", partial(_log_line, handler.format))  # noqa: B010 - To mypy, methods are not assignable.


def _log_line(format_record: Callable[[logging.LogRecord], str], record: logging.LogRecord) -> str:
    if len(lines := record.getMessage().splitlines()) > 1:  # A server could forge a line.
        record.msg, record.args = " ".join(lines), ()
    return redact(format_record(record))


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, escaped, and in base64 without the characters that depend on its neighbors."""
    data = secret.encode("utf-8", "replace")
    yield from (outer(inner(data.decode())) for outer in _ESCAPES for inner in _ESCAPES)
    yield b64encode(data).decode()
    for shift in range(3):
        encoded = b64encode(bytes(shift) + data).decode()[(8 * shift + 5) // 6 : 8 * (shift + len(data)) // 6]
        yield from (encoded, encoded.translate({ord("+"): "-", ord("/"): "_"}))


def _hidden(text: str) -> str:
    """Return a text with a mask for each e-mail address and each secret."""
    spans = [match.span() for match in _EMAIL_ADDRESS.finditer(text)]
    for form, pattern in list(_secrets.items()):  # A copy: another thread may receive a token.
        end = 0
        while match := pattern.search(text, end):
            start = match.start()
            pairs = zip(text[start : start + len(form)].lower(), form.lower(), strict=False)
            end = max(match.end(), start + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
            spans.append((start, end))
    characters = [*text]
    for start, end in spans:
        characters[start:end] = _MASK * (end - start)
    return re.sub(f"{_MASK}+", _MASK, "".join(characters)) if spans else text


def _redacted_word(match: re.Match[str]) -> str:
    """Return a word, or a mask if there is something to hide in it once it is decoded, up to three times."""
    word = match[0]
    for _ in range(3):
        before = word
        word = _JSON_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), html.unescape(unquote(word)))
        if word != before and _hidden(word) != word:
            return _MASK
    return match[0]
