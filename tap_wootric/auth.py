"""A token: fetched, kept, renewed before it ends, replaced when it is refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import requests
from singer_sdk.authenticators import OAuthAuthenticator
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.answers import read_answer
from tap_wootric.governor import Governor

PATH = "/oauth/token"

_LIFETIME = 7200.0
"""Seconds that a token lives where its answer does not say (documented: two hours)."""
_MARGIN = 60.0
"""Seconds before a token's end at which it is renewed; half its life where that is less."""
_REFUSED = (requests.codes.bad_request, requests.codes.unauthorized, requests.codes.forbidden)


class WootricAuthenticator(OAuthAuthenticator):
    """Puts one token, got with the client credentials, on the requests of all streams of a tap.

    Args:
        config: The tap's settings.
        governor: Learns the server's time from the token's answer.
    """

    def __init__(self, config: Mapping[str, Any], governor: Governor) -> None:
        super().__init__(
            auth_endpoint=f"{config['api_url']}{PATH}",
            client_id=config["client_id"],
            client_secret=config["client_secret"],
            oauth_headers={"Accept": "application/json", "User-Agent": config["user_agent"]},
        )
        self._timeout = config["request_timeout"]
        self._governor = governor
        self._renew_at = 0.0

    @property
    def oauth_request_body(self) -> dict[str, Any]:
        """The form that asks for a token."""
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }

    def is_token_valid(self) -> bool:
        """Return whether there is a token that need not be renewed yet."""
        return self.access_token is not None and time.monotonic() < self._renew_at

    def refuse(self, response: requests.Response) -> None:
        """Take note that the API refused the token that an answer's request carried."""
        if response.request.headers.get("Authorization") == f"Bearer {self.access_token}":
            self.access_token = None

    def update_access_token(self) -> None:
        """Fetch a token.

        Raises:
            FatalAPIError: The credentials are refused.
            RetriableAPIError: There is no token in the answer, or the server has a fault.
            requests.RequestException: There is no answer.
        """
        self._governor.wait(PATH)
        asked_at = time.monotonic()
        response = requests.post(
            self.auth_endpoint,
            data=self.oauth_request_body,
            headers=self._oauth_headers,
            timeout=self._timeout,
        )
        self._governor.observe(PATH, response)
        if response.status_code in _REFUSED:
            raise FatalAPIError(
                f"Wootric refuses the credentials ({response.status_code} for {PATH}): check client_id and "
                "client_secret, and that api_url is the account's region"
            )
        answer = read_answer(response)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise RetriableAPIError(f"The answer of {PATH} holds no access_token", response)
        try:
            lifetime = float(answer.get("expires_in") or _LIFETIME)
        except (TypeError, ValueError):
            lifetime = _LIFETIME
        self.access_token = token
        self._renew_at = asked_at + lifetime - min(_MARGIN, lifetime / 2)
