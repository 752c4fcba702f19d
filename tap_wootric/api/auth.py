"""Gets an access token, and keeps it valid."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.rate_limit import RateLimiter, is_busy
from tap_wootric.api.redact import hide
from tap_wootric.api.responses import decode_response
from tap_wootric.settings import API_URLS, Settings

TOKEN_PATH = "/oauth/token"  # noqa: S105 - A path, not a secret.

_DEFAULT_LIFETIME_SECONDS = 7_200.0
"""Lifetime of a token whose response does not give it (documented: two hours)."""
_RENEWAL_MARGIN_SECONDS = 60.0
"""A token is renewed this long before it expires, or at half its lifetime if that is later."""
_HEADER_VALUE = re.compile(r"[!-~]+")
"""Printable ASCII without spaces: anything else would break the header."""
_REJECTED_STATUSES = (requests.codes.bad_request, requests.codes.unauthorized, requests.codes.forbidden)


class WootricAuthenticator:
    """Provides one OAuth access token for all streams of a tap.

    The SDK's `OAuthAuthenticator` is not used: it uses a token up to the moment it expires, and does not recover from a
    revoked one. Refresh tokens, which come with the grant `password` only, are not used: the credentials do the same.

    Args:
        settings: The credentials, and the API that they belong to.
        rate_limiter: Told about each request.
        session: Sends the requests.
        timeout_seconds: How long to wait for the API to connect, and to send more of its response.
        monotonic: Returns seconds that never jump.

    Attributes:
        grant_type: The OAuth grant in use.
        token_lifetime_seconds: The lifetime of the last token, or None if the API did not give it.
    """

    def __init__(
        self,
        settings: Settings,
        rate_limiter: RateLimiter,
        session: requests.Session,
        timeout_seconds: tuple[float, float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grant_type = "password" if "password" in settings.credentials else "client_credentials"
        self.token_lifetime_seconds: float | None = None
        self._settings = settings
        self._rate_limiter = rate_limiter
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._access_token: str | None = None
        self._renew_at = 0.0

    def auth_header(self) -> dict[str, str]:
        """Return the `Authorization` header, with a new token if there is none or it is about to expire.

        Raises:
            FatalAPIError: The API rejected the credentials, or knows no such account.
            RetriableAPIError: The server failed, or its response has no usable token.
            requests.RequestException: There was no response.
        """
        if self._access_token is None or self._monotonic() >= self._renew_at:
            self._renew()
        return {"Authorization": f"Bearer {self._access_token}"}

    def invalidate(self) -> None:
        """Drop the token, because the API rejected it."""
        self._access_token = None

    def _renew(self) -> None:
        sends_account = self.grant_type == "password" and self._settings.account_token is not None
        self._rate_limiter.wait(TOKEN_PATH)
        self._rate_limiter.requests_sent += 1
        requested_at = self._monotonic()
        response = self._session.post(
            f"{self._settings.api_url}{TOKEN_PATH}",
            params={"account_token": self._settings.account_token} if sends_account else None,
            data={"grant_type": self.grant_type, **self._settings.credentials},
            timeout=self._timeout_seconds,
        )
        self._rate_limiter.learn(TOKEN_PATH, response)
        self._raise_if_rejected(response)
        content = decode_response(response)
        content = content if isinstance(content, dict) else {}
        hide(value for name in ("access_token", "refresh_token") if isinstance(value := content.get(name), str))
        token = content.get("access_token")
        if not isinstance(token, str) or not _HEADER_VALUE.fullmatch(token):
            raise RetriableAPIError(f"The response from {TOKEN_PATH} has no usable access_token", response)
        self._access_token = token
        self.token_lifetime_seconds = _lifetime_seconds(content.get("expires_in"))
        lifetime = self.token_lifetime_seconds or _DEFAULT_LIFETIME_SECONDS
        self._renew_at = requested_at + lifetime - min(_RENEWAL_MARGIN_SECONDS, lifetime / 2)

    def _raise_if_rejected(self, response: requests.Response) -> None:
        host = urlsplit(self._settings.api_url).netloc
        region = next((name for name, url in API_URLS.items() if url == self._settings.api_url), None)
        if response.status_code in _REJECTED_STATUSES and not is_busy(response):
            source = f"{response.status_code} from {host}{f', region {region}' if region else ''}"
            raise FatalAPIError(
                f"Wootric rejected the credentials ({source}): check {' and '.join(self._settings.credentials)}, and "
                f"that {'region' if region else 'api_url'} matches the account"
            )
        if response.status_code == requests.codes.not_found:
            raise FatalAPIError(
                f"No such account, or not the Wootric API ({response.status_code} from {host}{TOKEN_PATH}): "
                "check account_token and api_url"
            )


def _lifetime_seconds(expires_in: object) -> float | None:
    """Return a token's lifetime, or None. `expires_in` is a number (documented); text is accepted, too."""
    try:
        seconds = float(str(expires_in))
    except (OverflowError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None
