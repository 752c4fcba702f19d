"""A fake Wootric API on localhost, for the tests and to try the tap without an account."""

from tests.sandbox.account import Account
from tests.sandbox.api import Api, Switches
from tests.sandbox.server import Sandbox

__all__ = ["Account", "Api", "Sandbox", "Switches"]
