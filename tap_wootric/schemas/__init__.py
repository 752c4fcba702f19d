"""One JSON schema a stream, every property described."""
