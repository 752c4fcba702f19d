"""Requests to the Wootric API: the token, the pace, the retries, and the responses."""
