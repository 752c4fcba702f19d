"""Talks to the Wootric API: authentication, rate limits, retries, and decoding of responses."""
