"""Turns the API's rows into records. Pure functions: no HTTP, no SDK."""
