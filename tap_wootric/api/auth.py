"""A token: fetched, kept, renewed before it ends, replaced when it is refused."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from singer_sdk.authenticators import OAuthAuthenticator
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import decode_response

PATH = "/oauth/token"

_LIFETIME = 7200.0
"""Seconds that a token lives where its answer does not say (documented: two hours)."""
_MARGIN = 60.0
"""Seconds before a token's end at which it is renewed; half its life where that is less."""
_TOKEN = re.compile(r"[!-~]+")
"""What can stand in a header."""
_REFUSED = (requests.codes.bad_request, requests.codes.unauthorized, requests.codes.forbidden)


class WootricAuthenticator(OAuthAuthenticator):
    """Puts one token on the requests of all streams of a tap.

    Args:
        api_url: The API's base URL, without a slash at its end.
        credentials: The two settings that form the grant, by their names.
        account_token: Picks the account of a user who has several (documented for the password grant alone).
        user_agent: The User-Agent header of all requests.
        timeout_seconds: How long to wait for an answer.
        rate_limiter: Learns the server's time from the token's answer.

    Attributes:
        headers: What every request carries, besides the token.
    """

    def __init__(  # noqa: PLR0913 - All by keyword.
        self,
        *,
        api_url: str,
        credentials: Mapping[str, str],
        account_token: str | None,
        user_agent: str,
        timeout_seconds: float,
        rate_limiter: RateLimiter,
    ) -> None:
        super().__init__(auth_endpoint=f"{api_url}{PATH}")
        self._credentials = dict(credentials)
        self._grant = "password" if "password" in credentials else "client_credentials"
        has_account = self._grant == "password" and account_token is not None
        self._query = {"account_token": account_token} if has_account else {}
        self.headers = {"Accept": "application/json", "User-Agent": user_agent}
        self._timeout = timeout_seconds
        self._rate_limiter = rate_limiter
        self._renew_at = 0.0
        self._lock = threading.Lock()

    @property
    def oauth_request_body(self) -> dict[str, Any]:
        """The form that asks for a token with the credentials."""
        return {"grant_type": self._grant, **self._credentials}

    def is_token_valid(self) -> bool:
        """Return whether there is a token that need not be renewed yet."""
        return self.access_token is not None and time.monotonic() < self._renew_at

    def auth_header(self) -> dict[str, str]:
        """Return the header that lets a request pass, with a token that is fetched where there is none.

        Raises:
            FatalAPIError, RetriableAPIError, requests.RequestException: As with `update_access_token`.
        """
        with self._lock:
            if not self.is_token_valid():
                self.update_access_token()
            return {"Authorization": f"Bearer {self.access_token}"}

    def invalidate(self, response: requests.Response) -> None:
        """Take note that the API refused the token that an answer's request carried."""
        with self._lock:
            if response.request.headers.get("Authorization") == f"Bearer {self.access_token}":
                self.access_token = None

    def update_access_token(self) -> None:
        """Fetch a token, with the refresh token where there is one (documented for the password grant alone).

        Raises:
            FatalAPIError: The credentials are refused.
            RetriableAPIError: There is no token in the answer, or the server has a fault.
            requests.RequestException: There is no answer.
        """
        if self.refresh_token:
            form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
            self.refresh_token = None  # It serves once; whatever comes of it, the credentials are next.
            with contextlib.suppress(FatalAPIError):
                self._fetch(form)
                return
        self._fetch(self.oauth_request_body)

    def _fetch(self, form: Mapping[str, Any]) -> None:
        with self._rate_limiter.acquire(PATH):
            asked_at = time.monotonic()
            response = requests.post(
                self.auth_endpoint, params=self._query, data=form, headers=self.headers, timeout=self._timeout
            )
            self._rate_limiter.update(PATH, response)
        if response.status_code in _REFUSED:
            raise FatalAPIError(
                f"Wootric refuses the credentials ({response.status_code} for {PATH}): check "
                f"{' and '.join(self._credentials)}, and that the region is the account's"
            )
        if response.status_code == requests.codes.not_found:
            raise FatalAPIError(
                f"There is no such account, or no API (404 for {PATH}): check account_token and api_url"
            )
        answer = decode_response(response)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise RetriableAPIError(f"The answer of {PATH} holds no usable access_token", response)
        self.access_token = token
        self.refresh_token = answer.get("refresh_token")
        lifetime = _seconds(answer.get("expires_in"))
        self._renew_at = asked_at + lifetime - min(_MARGIN, lifetime / 2)


def _seconds(expires_in: object) -> float:
    """Return a token's lifetime, which may come as text or not at all."""
    try:
        seconds = float(str(expires_in))
    except (OverflowError, ValueError):
        return _LIFETIME
    return seconds if 0 < seconds < math.inf else _LIFETIME
