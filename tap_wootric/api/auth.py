"""Gets an access token, and keeps it valid."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import decode_response
from tap_wootric.settings import API_URLS

TOKEN_PATH = "/oauth/token"  # noqa: S105 - A path, not a secret.

_DEFAULT_LIFETIME_SECONDS = 7_200.0
"""Lifetime of a token whose response does not tell it (documented: two hours)."""
_RENEWAL_MARGIN_SECONDS = 60.0
"""A token is renewed this long before it expires, or at half its lifetime if that is later."""
_HEADER_VALUE = re.compile(r"[!-~]+")
"""Printable ASCII without blanks: anything else would break the header."""
_REJECTED_STATUSES = (requests.codes.bad_request, requests.codes.unauthorized, requests.codes.forbidden)


class WootricAuthenticator:
    """Provides one OAuth access token for all streams and threads of a tap.

    The SDK's `OAuthAuthenticator` is not used: it has no lock, uses a token up to the moment it expires, and does not
    recover from a revoked one.

    Args:
        api_url: The API's base URL, without a trailing slash.
        credentials: Names of settings and their values: `client_id` and `client_secret` for the grant
            `client_credentials`, or `username` and `password` for the grant `password`.
        account_token: The account to log in to, of a user who has several (documented for the grant `password` only).
        user_agent: The `User-Agent` header.
        timeout_seconds: How long to wait for the API to connect, and to send more of its response.
        rate_limiter: Told about each response.
        monotonic: Returns seconds that never jump.
        session_factory: Makes the session for a request.

    Attributes:
        auth_endpoint: The URL that issues tokens.
        headers: The headers that all requests share, without the token.
        grant_type: The OAuth grant in use.
        token_lifetime_seconds: The lifetime of the last token, or None if the API did not tell it.
    """

    def __init__(  # noqa: PLR0913 - All but the first are keywords, and the settings they come from stay outside.
        self,
        *,
        api_url: str,
        credentials: Mapping[str, str],
        account_token: str | None,
        user_agent: str,
        timeout_seconds: int,
        rate_limiter: RateLimiter,
        monotonic: Callable[[], float] = time.monotonic,
        session_factory: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        self.auth_endpoint = f"{api_url}{TOKEN_PATH}"
        self._api_url = api_url
        self.headers = {"Accept": "application/json", "User-Agent": user_agent}
        self._credentials = dict(credentials)
        self.grant_type = "password" if "password" in credentials else "client_credentials"
        self.token_lifetime_seconds: float | None = None
        sends_account = self.grant_type == "password" and account_token is not None
        self._params = {"account_token": account_token} if sends_account else {}
        self._timeout_seconds = timeout_seconds
        self._rate_limiter = rate_limiter
        self._monotonic = monotonic
        self._session_factory = session_factory
        self._access_token: str | None = None
        self._refresh_token: str | None = None
        self._renew_at = 0.0
        self._lock = threading.Lock()

    def auth_header(self) -> dict[str, str]:
        """Return the `Authorization` header, with a new token if there is none or it is about to expire.

        Raises:
            FatalAPIError: The API rejected the credentials, or knows no such account.
            RetriableAPIError: The server failed, or its response has no usable token.
            requests.RequestException: There was no response.
        """
        with self._lock:
            if self._access_token is None or self._monotonic() >= self._renew_at:
                self._renew()
            return {"Authorization": f"Bearer {self._access_token}"}

    def invalidate(self, response: requests.Response) -> None:
        """Drop the token that the API rejected in this response, unless another thread has replaced it already."""
        with self._lock:
            if response.request.headers.get("Authorization") == f"Bearer {self._access_token}":
                self._access_token = None

    def _renew(self) -> None:
        if self._refresh_token:  # Documented for the grant `password` only.
            form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
            self._refresh_token = None  # Single use: fall back to the credentials.
            with contextlib.suppress(FatalAPIError):
                self._request_token(form)
                return
        self._request_token({"grant_type": self.grant_type, **self._credentials})

    def _request_token(self, form: Mapping[str, str]) -> None:
        with self._rate_limiter.acquire(TOKEN_PATH):
            requested_at = self._monotonic()
            with self._session_factory() as session:
                response = session.post(
                    self.auth_endpoint,
                    params=self._params,
                    data=form,
                    headers=self.headers,
                    timeout=self._timeout_seconds,
                    allow_redirects=False,  # They would send the credentials to another host.
                )
            self._rate_limiter.update(TOKEN_PATH, response)
        self._raise_if_rejected(response)
        content = decode_response(response)
        token = content.get("access_token") if isinstance(content, dict) else None
        if not isinstance(token, str) or not _HEADER_VALUE.fullmatch(token):
            raise RetriableAPIError(f"The response of {TOKEN_PATH} has no usable access_token", response)
        self._access_token = token
        self._refresh_token = content.get("refresh_token")
        self.token_lifetime_seconds = _lifetime_seconds(content.get("expires_in"))
        lifetime = self.token_lifetime_seconds or _DEFAULT_LIFETIME_SECONDS
        self._renew_at = requested_at + lifetime - min(_RENEWAL_MARGIN_SECONDS, lifetime / 2)

    def _raise_if_rejected(self, response: requests.Response) -> None:
        source = f"{response.status_code} from {urlsplit(self.auth_endpoint).netloc}"
        region = next((name for name, url in API_URLS.items() if url == self._api_url), None)
        if response.status_code in _REJECTED_STATUSES:
            raise FatalAPIError(
                f"Wootric rejected the credentials ({source}{f', region {region}' if region else ''}): "
                f"check {' and '.join(self._credentials)}, and that {'region' if region else 'api_url'} matches the "
                "account"
            )
        if response.status_code == requests.codes.not_found:
            raise FatalAPIError(
                f"No such account, or not the Wootric API ({source}{urlsplit(self.auth_endpoint).path}): "
                "check account_token and api_url"
            )


def _lifetime_seconds(expires_in: object) -> float | None:
    """Return a token's lifetime, or None. `expires_in` is a number (documented); text is accepted, too."""
    try:
        seconds = float(str(expires_in))
    except (OverflowError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None
