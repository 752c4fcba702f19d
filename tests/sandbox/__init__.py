"""A fake Wootric API on localhost, for tests and for trying the tap without an account."""

from tests.sandbox.account import Account
from tests.sandbox.api import Api, Switches
from tests.sandbox.server import Sandbox

__all__ = ["Account", "Api", "Sandbox", "Switches"]
