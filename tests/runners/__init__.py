"""Variants of the command `tap-wootric`, which `tests.tap` can run instead of it."""
