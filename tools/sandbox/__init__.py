"""A fake Wootric API on localhost, for tests and for trying the tap without an account."""

from tools.sandbox.account import Account
from tools.sandbox.api import Api, Switches
from tools.sandbox.server import Sandbox

__all__ = ["Account", "Api", "Sandbox", "Switches"]
