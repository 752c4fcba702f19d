"""Measures the tap against a floor and against singer-io's tap: `uv run python -m tools benchmark`."""
