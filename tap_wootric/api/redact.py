"""What may leave the process: each line of a log, a traceback or a report passes `redact`."""

from __future__ import annotations

import html
import logging
import os
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from urllib.parse import unquote

from tap_wootric import settings

_MAX_LENGTH = 20_000
"""The most characters that are shown of a text. Redacting takes time in proportion to its length."""
_MIN_SECRET_LENGTH = 6
_PREFIX_LENGTH = 12
"""A secret of at least this length is hidden even if only this much is left, a shorter one only as a whole word."""
_MASK = "…"

_CHARACTER = r"[^\s\"<>()\[\]{},;/\\?&|=@…]"
_EMAIL_ADDRESS = re.compile(rf'(?:{_CHARACTER}{{1,64}}|"[^"@\n]{{1,64}}")@\[?{_CHARACTER}+')
"""It also matches the credentials in a URL. Without its limits, the time would grow with the square of the length."""
_TOKEN = re.compile(r"(?:%[0-9a-f]{2})+|\\(?:u[0-9a-f]{4}|x[0-9a-f]{2}|.)|&#?\w{1,8};|.", re.IGNORECASE | re.DOTALL)
"""A character, or how URLs, JSON, Python or HTML escape it."""
_MAX_DECODINGS = 5
"""A text may be escaped more than once, and a secret may itself look escaped."""

_secrets: dict[str, re.Pattern[str]] = {}
"""Secrets as they are, decoded and in base64, each with the pattern of its beginning."""


def hide(secrets: Iterable[str]) -> None:
    """Let `redact` hide secrets from now on."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_LENGTH:
            for form in _forms(secret[:_MAX_LENGTH]):
                pattern = re.escape(form[:_PREFIX_LENGTH])
                pattern = pattern if len(form) >= _PREFIX_LENGTH else rf"(?<![\w-]){pattern}(?![\w-])"
                _secrets[form] = re.compile(pattern, re.IGNORECASE)


def redact(text: str) -> str:
    """Return a text without secrets, e-mail addresses and characters that control a terminal, except line breaks.

    Escaped ones are found, too.
    """
    text = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}{_MASK}"
    text = "".join(c if c.isprintable() or c in "\n\t" else " " if c.isspace() else "" for c in text)
    characters = [*text]
    for decodings in (0, _MAX_DECODINGS):
        decoded, places = _decoded(text, decodings)
        for start, end in _spans(decoded):
            first, last = places[start].start, places[end - 1].stop
            characters[first:last] = _MASK * (last - first)
    shown = "".join(characters)
    return re.sub(f"{_MASK}+", _MASK, shown) if shown != text else text


def redact_line(text: str, max_length: int) -> str:
    """Return the beginning of a text, redacted and on one line."""
    return " ".join(redact(text).split())[:max_length]


def redact_stderr() -> None:
    """Let everything on stderr pass `redact`, including errors about options, and hide the environment's secrets."""
    prefix = settings.ENVIRONMENT_PREFIX
    variables = [name for name in os.environ if name.startswith(prefix)]
    hide(settings.secrets({name.removeprefix(prefix).lower(): os.environ[name] for name in variables}))
    write = sys.stderr.write  # Click tests whether it accepts bytes.
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
    """Yield a secret as it is, and in base64 without the characters that depend on their context; each also decoded."""
    data = secret.encode("utf-8", "replace")
    forms = [data.decode(), b64encode(data).decode()]
    for shift in range(3):
        encoded = b64encode(bytes(shift) + data).decode()[(8 * shift + 5) // 6 : 8 * (shift + len(data)) // 6]
        forms += [encoded, encoded.translate({ord("+"): "-", ord("/"): "_"})]
    for form in forms:
        for decodings in (0, _MAX_DECODINGS):
            yield _decoded(form, decodings)[0].replace(" ", "+")


def _decoded(text: str, decodings: int) -> tuple[str, list[range]]:
    """Return a text without escapes, and where in the original each of its characters comes from."""
    places = [range(index, index + 1) for index in range(len(text))]
    for _ in range(decodings):
        before = text
        pieces = [
            (_unescaped(token[0]), range(places[token.start()].start, places[token.end() - 1].stop))
            for token in _TOKEN.finditer(text)
        ]
        text = "".join(piece for piece, _ in pieces)
        places = [place for piece, place in pieces for _ in piece]
        if text == before:
            break
    return text, places


def _unescaped(token: str) -> str:
    match token[0]:
        case "\\" if len(token) > 2:  # noqa: PLR2004 - With a code.
            return chr(int(token[2:], 16))  # noqa: FURB166 - The prefix may be a capital letter.
        case "\\":
            return token[1:] or token
        case "%":
            return unquote(token)
        case _:
            return html.unescape(token)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where e-mail addresses and secrets begin and end in a text."""
    yield from (match.span() for match in _EMAIL_ADDRESS.finditer(text))
    text = text.replace(" ", "+")  # URLs may encode a space as +.
    for form, pattern in [*_secrets.items()]:  # A copy: another thread may receive a token.
        end = 0
        while match := pattern.search(text, end):
            start = match.start()
            shared = os.path.commonprefix([text[start : start + len(form)].lower(), form.lower()])  # noqa: RUF071
            end = max(match.end(), start + len(shared))
            yield start, end
