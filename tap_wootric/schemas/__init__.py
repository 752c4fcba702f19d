"""One JSON schema a stream, every property described. A property may refer to a schema of its own."""
