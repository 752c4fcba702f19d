"""Variants of the command `tap-wootric`, which `tests.tap` runs in its place."""
