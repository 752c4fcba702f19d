"""The whole tap shares one token, replaces it when the API rejects it, and never logs a secret."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from tests.tap import tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import END, SECOND
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET
from tools.sandbox.server import Clock, Request

NOW = END / SECOND


def tokens(sandbox: Sandbox) -> list[Request]:
    return [request for request in sandbox.requests if request.path == "/oauth/token"]


def test_all_streams_share_one_token_and_no_url_contains_a_secret() -> None:
    with Sandbox(Account(120, 120)) as sandbox:
        run = tap(config=sandbox.config)
    assert run.status == 0
    (token,) = tokens(sandbox)
    assert (token.method, token.query) == ("POST", {})
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    urls = [f"{request.path}?{request.query}" for request in sandbox.requests]
    assert not any(CLIENT_ID in url or CLIENT_SECRET in url or "token-" in url for url in urls)


def test_a_token_refused_during_a_sync_is_replaced_once() -> None:
    # The server's time advances by a tenth of a token's lifetime with each request, the tap's by almost nothing.
    with Sandbox(Account(1_000), Clock(NOW, step=720)) as sandbox:
        run = tap(config=sandbox.config)
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 1_000
    refused = [request for request in sandbox.requests if request.status == 401]
    assert len(refused) == len(tokens(sandbox)) - 1 > 0


def test_fresh_tokens_that_are_refused_again_and_again_end_the_sync_with_one_line() -> None:
    with Sandbox(Account(1), token_lifetime=0) as sandbox:
        run = tap(config=sandbox.config, sleepless=True)
    assert run.status == 1
    [error] = run.errors
    host = sandbox.url.removeprefix("http://")
    assert error.startswith(f"{host} rejects fresh tokens (401 Unauthorized for /v1/declines, 5 times in a row): ")
    assert "Traceback" not in run.log
    assert sum(run.slept) == 1 + 2 + 4
    assert {request.path for request in sandbox.requests} == {"/oauth/token", "/v1/declines"}
    assert len(tokens(sandbox)) == 5


def test_wrong_credentials_end_the_sync_at_once_with_one_line() -> None:
    wrong = "wr0ng-and-secret"
    with Sandbox(Account(1)) as sandbox:
        run = tap(config={**sandbox.config, "client_secret": wrong})
    assert run.status == 1
    (error,) = run.errors
    host = sandbox.url.removeprefix("http://")
    advice = "check client_id and client_secret, and that api_url matches the account"
    assert error == f"Wootric rejected the credentials (401 from {host}): {advice}"
    assert "Traceback" not in run.log
    assert wrong not in run.log
    assert len(sandbox.requests) == 1


def test_no_line_shows_secrets_or_addresses_that_the_api_repeats() -> None:
    salt = "salt/of the maps"
    secrets = [CLIENT_ID, CLIENT_SECRET, "sandbox-token-1", salt]
    texts = [*secrets, *(base64.b64encode(secret.encode()).decode() for secret in secrets), "ada@example.com"]
    texts += [quote(text, safe="") for text in texts]
    failure = {"type": "error_list", "errors": [{"message": text.upper() + "\x1b[31m"} for text in texts]}
    fields = json.dumps({f"\x9b{text}": text for text in texts})[1:-1]
    with Sandbox(Account(60)) as sandbox:
        sandbox.rewrite = lambda text: json.dumps(failure) if text == "[]" else text.replace("[{", f"[{{{fields}, ", 1)
        config = {**sandbox.config, "stream_map_config": {"salt": salt}}
        run = tap(config=config, env={"TAP_WOOTRIC_LOGLEVEL": "DEBUG"}, sleepless=True)
    assert run.status == 1
    assert len(run.records("end_users")) == 60
    assert run.log.count("end_users: the field …") == len({*texts})
    assert [text for text in texts if text[:12].lower() in run.log.lower()] == []
    assert {char for char in run.log if not char.isprintable()} == {"\n"}
